// What a command is told of a model beside its path: facts that its file does not say. Relies on the library to know and check the fields, and
// says on standard error which of them nobody told. Refuses nothing but what is no KEY=VALUE.

import ArgumentParser

struct OpenOptions: ParsableArguments {
  @Option(help: "Attention heads, 0 = what the file says, or the published sizes have.")
  var heads: Int32 = 0
  @Option(help: ArgumentHelp("What the network predicts: epsilon or velocity.", valueName: "name"))
  var prediction: String?
  @Option(help: ArgumentHelp("Classes; as many as the label table has rows where none of them is \"no class\".", valueName: "n"))
  var classCount: Int?
  @Option(
    help: ArgumentHelp("Any field of ditq.config that the file does not say: pixel_space=false. Repeat it.", valueName: "key=value"))
  var config: [String] = []

  func validate() throws {
    for pair in config where !(pair.firstIndex(of: "=").map { $0 != pair.startIndex } ?? false) {
      throw ValidationError("--config: KEY=VALUE expected, \(pair) found.")
    }
  }

  func open(_ path: String, tellsAssumptions: Bool = true) throws -> Model {
    let model = try Model(path: path, heads: heads, config: json)
    if tellsAssumptions, let line = try model.assumptions() {
      complain("ditq: \(path): assumed, as nobody said it: \(line); say it with --config KEY=VALUE")
    }
    return model
  }

  /// What is given, as the library takes it; nil where nothing is.
  private var json: String? {
    var members = config.map { pair in
      let equals = pair.firstIndex(of: "=") ?? pair.endIndex, value = String(pair[equals...].dropFirst())
      return (name: String(pair[..<equals]), value: (try? JSON(reading: value)) ?? .text(value))
    }
    if let prediction { members.append(("prediction", .text(prediction))) }
    if let classCount { members.append(("class_count", JSON(classCount))) }
    return members.isEmpty ? nil : JSON.object(members).line
  }
}
