// ditq quantize: from a float model to a .ditq file, by ditq_quantize and ditq_model_save. Which layers and groups there can be is the
// library's to say. Warns on stderr of what a person should know of the result.

import ArgumentParser
import CDitq

/// Numbers that an option may be, as the command line spells them.
enum WeightBits: String, ExpressibleByArgument, CaseIterable { case eight = "8", four = "4" }
enum ActivationBits: String, ExpressibleByArgument, CaseIterable { case eight = "8", float = "32" }

/// How weights are rounded.
enum WeightMethod: String, ExpressibleByArgument, CaseIterable {
  case auto, round, mse, gptq

  /// DITQ_WEIGHT_….
  var number: Int32 {
    switch self {
    case .auto: Int32(DITQ_WEIGHT_AUTO)
    case .round: Int32(DITQ_WEIGHT_ROUND)
    case .mse: Int32(DITQ_WEIGHT_MSE)
    case .gptq: Int32(DITQ_WEIGHT_GPTQ)
    }
  }
}

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize", abstract: "Turn a float model into a .ditq file of 8- or 4-bit weights.",
    discussion: """
      The four large layers of every block are quantized; adaLN layers too, with float activations; the others stay float. A rule changes \
      that for the layers whose name matches its pattern, in which '*' stands for any run of characters; the last match wins. It is \
      PATTERN=BITS[:GROUP][aACT]: BITS is 4, 8 or float, GROUP a multiple of 16 or row, ACT 8 or 32.

      --decoder 8 is the rule 'vae.*=8': the decoder's convolutions of 3×3, in weights of 8 bits and exact sums of integers. It takes a third \
      of the time and a quarter of the memory. Other rules are not about the decoder, unless their pattern begins with vae. too.

      Static ranges, balance, GPTQ and error budgets look at sampling runs of the model. --recipe paper is the method of arXiv \
      2406.11100 as we read it: static ranges of the first step, 8-bit weights by row or 4-bit ones in groups of 128, rounded.

      Examples:
        ditq quantize emoji.safetensors -o emoji-w8a8.ditq
        ditq quantize emoji.safetensors -o w4.ditq --weights 4 --error-budget 36
        ditq quantize emoji.safetensors -o npu.ditq --balance \\
          --activation-mode static --calibration-steps 16
        ditq quantize emoji.safetensors -o paper.ditq --recipe paper
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
  @Option(
    help: """
      Rounding: to the nearest; with the clipping of least squared error; by the inputs' second moments; or what gives most, gptq for 4 bits \
      and round for 8. (default: auto)
      """) var method: WeightMethod?
  @Option(help: "Bits of the decoder's weights and pixels, where the model has one; 32 keeps it float.") var decoder = ActivationBits.float
  @Option(help: "Options under one name. Others that contradict them are refused.") var recipe: Recipe?
  @OptionGroup(title: "Activations and calibration") var calibration: CalibrationOptions
  @Option(
    name: .customLong("rule"), help: ArgumentHelp("How the layers of a pattern are quantized. Repeat it for more.", valueName: "rule"),
    transform: { try LayerRule($0) }) var rules: [LayerRule] = []
  @Option(help: "Threads to work with, 0 = every core.") var threads: Int32 = 0
  @OptionGroup var opening: OpenOptions
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard Output.isNamed(output, [".ditq", ".safetensors"]) else {
      throw ValidationError("-o: a name that ends in .ditq expected, '\(output)' found: what is written is a .ditq file.")
    }
    try recipe?.check(self)
    let isRounded = method == .round || method == .mse
    let othersCalibrate = recipe != nil || method == .gptq || !isRounded && (weights == .four || !rules.isEmpty)
    try calibration.check(activationsAreFloat: activations == .float, othersCalibrate: othersCalibrate)
  }

  func run() throws {
    try Output.check(output, sources: [model] + opening.sources)
    let source = try opening.open(model)
    let progress = Progress()
    let quantized = try progress.during { callback, context in
      var options = self.options
      (options.progress, options.progress_context) = (callback, context)
      return try Model(quantizing: source, options, rules: (decoder == .eight ? [try LayerRule.decoder] : []) + rules)
    }
    try quantized.save(to: output)
    let description = try JSON(reading: try quantized.json()), found = Calibration(of: description)
    let summary = QuantizeSummary(
      paths: (model, output), sizes: (source.info.weights_size, quantized.info.weights_size), fileSize: Output.size(of: output),
      formats: LayerFormats(description), calibration: found, seconds: progress.seconds)
    print(json ? summary.json.line : summary.text)
    for warning in found?.warnings(errorBudget: calibration.errorBudget) ?? [] { complain("ditq: warning: \(warning)") }
  }

  private var options: ditq_quantize_options {
    var options = ditq_quantize_options()
    ditq_quantize_options_init(&options)
    options.weight_bits = weights == .eight ? 8 : 4
    options.weight_group = group
    if let method { options.weight_method = method.number }
    if activations == .float { options.activation_mode = Int32(DITQ_ACTIVATION_NONE) }
    options.threads = threads
    calibration.apply(to: &options)
    recipe?.apply(to: &options)
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
  let calibration: Calibration?
  let seconds: Double

  private var ratio: Double { Double(sizes.source) / Double(max(1, sizes.result)) }

  var text: String {
    let rows = [
      ("source", "\(paths.source): \(size(sizes.source)) of weights"),
      ("result", "\(paths.result): \(size(sizes.result)) of weights, a file of \(size(fileSize))"),
      ("ratio", "\(fixed(ratio, digits: 2)) times smaller"), ("layers", formats.text), ("calibration", calibration?.provenance),
      ("clipped", calibration?.clipped), ("raised", calibration?.raised), ("output", calibration?.outputSQNR.map(decibels)),
      ("seconds", fixed(seconds, digits: 2)),
    ]
    return aligned(rows.compactMap { name, text in text.map { [name, $0] } })
  }

  /// ratio: the source's weights over the result's.
  var json: JSON {
    .object([
      ("source", .object([("path", .text(paths.source)), ("weights_size", JSON(sizes.source))])),
      ("result", .object([("path", .text(paths.result)), ("weights_size", JSON(sizes.result)), ("file_size", JSON(fileSize))])),
      ("ratio", JSON(ratio, digits: 4)), ("layers", formats.json),
      ("calibration", calibration?.json ?? .null), ("seconds", JSON(seconds, digits: 3)),
      ("version", .text(String(cString: ditq_version()))),
    ])
  }
}
