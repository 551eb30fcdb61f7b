// ditq quantize: from a float model to a .ditq file, by ditq_quantize and ditq_model_save. Which layers and groups there can be is the
// library's to say; what this version of it does not do has no option here.

import ArgumentParser
import CDitq

/// Numbers that an option may be, as the command line spells them.
enum WeightBits: String, ExpressibleByArgument, CaseIterable { case eight = "8", four = "4" }
enum ActivationBits: String, ExpressibleByArgument, CaseIterable { case eight = "8", float = "32" }
enum WeightMethod: String, ExpressibleByArgument, CaseIterable { case round, mse }

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize", abstract: "Turn a float model into a .ditq file of 8- or 4-bit weights.",
    discussion: """
      The four large layers of every block are quantized; adaLN layers too, with float activations; the others stay float. A rule changes \
      that for the layers whose name matches its pattern, in which '*' stands for any run of characters; the last match wins. It is \
      PATTERN=BITS[:GROUP][aACT]: BITS is 4, 8 or float, GROUP a multiple of 16 or row, ACT 8 or 32.

      Examples:
        ditq quantize emoji.safetensors -o emoji-w8a8.ditq
        ditq quantize emoji.safetensors -o w4.ditq --weights 4 --method mse
        ditq quantize DiT-XL-2-256/ -o xl.ditq --weights 4 --group 64 \\
          --rule '*.mlp.fc2=8' --rule '*.attn.proj=4:128a32' --rule 'blocks.0.*=float'
      """)

  @Argument(help: "A float model: a safetensors or .pt file, or a diffusers directory.") var model: String
  @Option(name: .short, help: ArgumentHelp("Where the quantized model goes.", valueName: "out.ditq")) var output: String
  @Option(help: "Bits of a weight.") var weights = WeightBits.eight
  @Option(
    help: ArgumentHelp(
      "Inputs that share a scale: a multiple of 16, row, or auto, which is the row for 8 bits and 128 for 4. (default: auto)",
      valueName: "n|row|auto"), transform: { try WeightGroup.parse($0) }) var group = WeightGroup.automatic
  @Option(help: "Bits of an activation; 32 keeps them float.") var activations = ActivationBits.eight
  @Option(help: "Rounding: to the nearest, or with the clipping of least squared error.") var method = WeightMethod.round
  @Option(
    name: .customLong("rule"), help: ArgumentHelp("How the layers of a pattern are quantized. Repeat it for more.", valueName: "rule"),
    transform: { try LayerRule($0) }) var rules: [LayerRule] = []
  @Option(help: "Threads to work with, 0 = every core.") var threads: Int32 = 0
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    try Output.check(output)
    let source = try Model(path: model)
    let progress = Progress()
    let quantized = try progress.during { callback, context in
      var options = self.options
      (options.progress, options.progress_context) = (callback, context)
      return try Model(quantizing: source, options, rules: rules)
    }
    try quantized.save(to: output)
    let summary = QuantizeSummary(
      paths: (model, output), sizes: (source.info.weights_size, quantized.info.weights_size), fileSize: Output.size(of: output),
      formats: LayerFormats(try JSON(reading: try quantized.json())), seconds: progress.seconds)
    print(json ? summary.json.line : summary.text)
  }

  private var options: ditq_quantize_options {
    var options = ditq_quantize_options()
    ditq_quantize_options_init(&options)
    options.weight_bits = weights == .eight ? 8 : 4
    options.weight_group = group
    options.weight_method = Int32(method == .mse ? DITQ_WEIGHT_MSE : DITQ_WEIGHT_ROUND)
    options.activation_mode = Int32(activations == .float ? DITQ_ACTIVATION_NONE : DITQ_ACTIVATION_AUTO)
    options.threads = threads
    return options
  }
}

/// What was made of what.
private struct QuantizeSummary {
  let paths: (source: String, result: String)
  /// Bytes of the weights.
  let sizes: (source: UInt64, result: UInt64)
  let fileSize: UInt64
  let formats: LayerFormats
  let seconds: Double

  private var ratio: Double { Double(sizes.source) / Double(max(1, sizes.result)) }

  var text: String {
    aligned([
      ["source", "\(paths.source): \(size(sizes.source)) of weights"],
      ["result", "\(paths.result): \(size(sizes.result)) of weights, a file of \(size(fileSize))"],
      ["ratio", "\(fixed(ratio, digits: 2)) times smaller"],
      ["layers", formats.text],
      ["seconds", fixed(seconds, digits: 2)],
    ])
  }

  /// ratio: the source's weights over the result's.
  var json: JSON {
    .object([
      ("source", .object([("path", .text(paths.source)), ("weights_size", JSON(sizes.source))])),
      ("result", .object([("path", .text(paths.result)), ("weights_size", JSON(sizes.result)), ("file_size", JSON(fileSize))])),
      ("ratio", JSON(ratio, digits: 4)), ("layers", formats.json), ("seconds", JSON(seconds, digits: 3)),
      ("version", .text(String(cString: ditq_version()))),
    ])
  }
}
