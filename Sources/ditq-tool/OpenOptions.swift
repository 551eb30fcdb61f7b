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

  @Option(
    help: ArgumentHelp("The decoder, in place of the model's own: a directory that AutoencoderKL saved, or a pipeline's.", valueName: "dir")
  )
  var vae: String?
  @Option(help: ArgumentHelp("Which weights of a directory: fp16.", valueName: "name"))
  var variant: String?

  /// Beside the model's: files that an output may not replace.
  var sources: [String] { vae.map { [$0] } ?? [] }

  /// What was given, as a picture's texts have it beside the model's name.
  var texts: [(String, String)] {
    let heads = heads == 0 ? [] : [("head_count", JSON(Int(heads)))], facts = heads + facts
    return [("Config", facts.isEmpty ? nil : JSON.object(facts).line), ("Decoder", vae.map(Output.name(of:))), ("Variant", variant)]
      .compactMap { key, text in text.map { (key, shown($0)) } }
  }

  func validate() throws {
    for pair in config where !(pair.firstIndex(of: "=").map { $0 != pair.startIndex } ?? false) {
      throw ValidationError("--config: KEY=VALUE expected, \(pair) found.")
    }
  }

  func open(_ path: String, tellsAssumptions: Bool = true) throws -> Model {
    let model = try Model(path: path, heads: heads, config: json, decoder: vae, variant: variant)
    if tellsAssumptions, let line = try model.assumptions() {
      complain("ditq: \(path): assumed, as nobody said it: \(line); say it with --config KEY=VALUE")
    }
    return model
  }

  /// What is given, as the library takes it; nil where nothing is.
  private var json: String? { facts.isEmpty ? nil : JSON.object(facts).line }

  private var facts: [(String, JSON)] {
    var facts = config.map { pair in
      let equals = pair.firstIndex(of: "=") ?? pair.endIndex, value = String(pair[equals...].dropFirst())
      return (String(pair[..<equals]), (try? JSON(reading: value)) ?? .text(value))
    }
    if let prediction { facts.append(("prediction", .text(prediction))) }
    if let classCount { facts.append(("class_count", JSON(classCount))) }
    return facts
  }
}
