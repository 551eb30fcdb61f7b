// ditq bench write: a model of random weights as a float diffusers directory, for the peers and the loaders: no download, no licence.
// Relies on DiffusersLayout and RandomWeights; what was written is opened by the library once, which tells whether it is a model.

import ArgumentParser
import CDitq

struct BenchWrite: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write", abstract: "Write a DiT of random weights as a float diffusers directory.",
    discussion: """
      Weights are F16, normally distributed with standard deviation 0.02, and the same for the same seed. The VAE is a decoder of few \
      channels; its pictures are noise. DiT-XL/2 takes 1.5 GB of disk and little memory.

      Examples:
        ditq bench write --config DiT-S/2 -o /tmp/dit-s2
        ditq bench write --config DiT-XL/2 --seed 1 -o /tmp/dit-xl2 --json
      """)

  @OptionGroup(title: "The model") var model: ShapeOptions
  @Option(name: .short, help: ArgumentHelp("The directory to make; there may be none yet.", valueName: "dir")) var output: String
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let progress = Progress()
    let bytes = try RandomModel(DiffusersLayout(shape: model.shape), seed: model.seed).write(to: output)
    let seconds = progress.seconds
    let info = try Model(path: output).info
    print(json ? answer(info, bytes, seconds).line : text(info, bytes, seconds))
  }

  private func text(_ info: ditq_model_info, _ bytes: UInt64, _ seconds: Double) -> String {
    aligned([
      ["model", "\(output): \(model.name), seed \(model.seed)"],
      ["transformer", "\(info.depth) blocks of \(info.hidden_size), \(info.head_count) heads, patch \(info.patch_size)"],
      ["parameters", grouped(info.parameter_count)], ["size", size(bytes)], ["seconds", fixed(seconds, digits: 2)],
    ])
  }

  private func answer(_ info: ditq_model_info, _ bytes: UInt64, _ seconds: Double) -> JSON {
    .object([
      ("path", .text(output)), ("config", .text(model.name)), ("seed", JSON(model.seed)), ("depth", JSON(info.depth)),
      ("hidden_size", JSON(info.hidden_size)), ("head_count", JSON(info.head_count)), ("patch_size", JSON(info.patch_size)),
      ("parameter_count", JSON(info.parameter_count)), ("macs_per_forward", JSON(info.macs_per_forward)), ("file_size", JSON(bytes)),
      ("seconds", JSON(seconds, digits: 3)), ("version", .text(String(cString: ditq_version()))),
    ])
  }
}

/// All files of a model of random weights.
struct RandomModel {
  private let layout: DiffusersLayout
  private let weights: RandomWeights

  init(_ layout: DiffusersLayout, seed: UInt64) { (self.layout, weights) = (layout, RandomWeights(seed: seed)) }

  /// Makes the directory, whole or not at all; the answer is how many bytes it holds.
  func write(to path: String) throws -> UInt64 {
    try Output.makeFolder(path) { folder in
      for name in DiffusersLayout.folders { try Output.makeFolder("\(folder)/\(name)") { _ in } }
      for file in layout.texts { try Output.write(file.json.line + "\n", to: "\(folder)/\(file.path)") }
      for file in layout.weights { try weights.write(file.tensors, to: "\(folder)/\(file.path)") }
    }
    return (layout.texts.map(\.path) + layout.weights.map(\.path)).reduce(0) { $0 + Output.size(of: "\(path)/\($1)") }
  }
}
