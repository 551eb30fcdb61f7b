// ditq bench step: one denoising step of a whole model, against the peak of the instruction that its GEMMs are made of.
//
// Method: the model is written, quantized (rounded) and saved by this process, and measured by a fresh one of the same command, so that its
// peak of memory is that of opening, a session and steps alone. There, after opening and two steps, single steps and slices of the peak
// alternate; the ratio is that of their medians. StepMeasurement has the measuring.

import ArgumentParser
import CDitq

struct BenchStep: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step", abstract: "Measure a denoising step of a DiT of random weights, or of a model, against the peak.",
    discussion: """
      A step is one ditq_predict of the whole batch, each image with its own label and conditioning. A guided image is two of a batch: the \
      default, --batch 2 of DiT-XL/2, is the guided step of one image, 256 tokens each half, 237 GMAC. GMAC/s count every \
      multiply-accumulate of the transformer, those in float too, and are held against the peak of the integer instruction (with --float, \
      of the float one).

      The peak of resident memory holds this command too, and the pages of the model's file that were read. Opening comes from the system's \
      file cache. Times by kind of operation are those of ditq_compare, which runs each quantized layer by itself; "other" is what \
      is left: attention, norms, embedders, the final layer.

      Examples:
        ditq bench step --config DiT-XL/2 --weights 8 --threads 2
        ditq bench step --config DiT-S/2 --weights 4 --group 128 --json
        ditq bench step --config DiT-B/4 --float --batch 4 --steps 30
        ditq bench step --model xl-w4a8.ditq --no-kinds
      """)

  @OptionGroup(title: "The model") var shape: ShapeOptions
  @Option(help: ArgumentHelp("Measure this model instead of one of random weights.", valueName: "path")) var model: String?
  @Option(help: "Bits of a weight; activations have 8. (default: 8)") var weights: WeightBits?
  @Option(
    help: ArgumentHelp("Inputs that share a scale: a multiple of 16, row or auto. (default: auto)", valueName: "n|row|auto"),
    transform: { try WeightGroup.parse($0) }) var group: Int32?
  @Flag(help: "Weights and activations are floats.") var float = false
  @Option(help: "Images of a step; two for a guided one.") var batch = 2
  @Option(help: "Steps to measure.") var steps = 15
  @Option(help: "Threads, for both sides, 0 = every core.") var threads: Int32 = 0
  @Flag(inversion: .prefixedNo, help: "Measure times by kind of operation too.") var kinds = true
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard model == nil || weights == nil && group == nil && !float else {
      throw ValidationError("--weights, --group, --float: not with --model, which is measured as it is.")
    }
    guard !float || weights == nil && group == nil else {
      throw ValidationError("--weights, --group: not with --float, whose weights are not quantized.")
    }
    if !(1...64).contains(batch) { throw ValidationError("--batch: 1 to 64 expected, \(batch) found.") }
    if !(1...10_000).contains(steps) { throw ValidationError("--steps: 1 to 10000 expected, \(steps) found.") }
  }

  func run() throws {
    let answer = try model.map { try measured($0) } ?? ofRandomModel()
    print(json ? answer.line : stepText(answer))
  }

  private func measured(_ path: String) throws -> JSON {
    let found = try StepMeasurement(path: path, batch: batch, threads: threads, steps: steps)
    return .object([("model", .text(path))] + (try found.members(withKinds: kinds)))
  }

  private func ofRandomModel() throws -> JSON {
    let folder = try TemporaryFolder()
    let source = folder.path + "/model", file = folder.path + "/model.ditq"
    _ = try RandomModel(DiffusersLayout(shape: shape.shape), seed: shape.seed).write(to: source)
    if !float { try quantize(source, to: file) }
    let arguments = ["--model", float ? source : file, "--batch", "\(batch)", "--steps", "\(steps)", "--threads", "\(threads)"]
    let text = try OwnProcess.output(of: ["bench", "step", "--json", kinds ? "--kinds" : "--no-kinds"] + arguments)
    withExtendedLifetime(folder) {}
    return .object([("model", .text(shape.name)), ("seed", JSON(shape.seed))] + (try JSON(reading: text)).members.dropFirst())
  }

  private func quantize(_ source: String, to file: String) throws {
    let source = try Model(path: source)
    let quantized = try Progress().during { callback, context in
      var options = ditq_quantize_options()
      ditq_quantize_options_init(&options)
      options.weight_bits = weights == .four ? 4 : 8
      options.weight_group = group ?? WeightGroup.automatic
      (options.weight_method, options.threads) = (WeightMethod.round.number, threads)
      (options.progress, options.progress_context) = (callback, context)
      return try Model(quantizing: source, options, rules: [])
    }
    try quantized.save(to: file)
  }
}

/// What StepMeasurement answers, for people.
private func stepText(_ answer: JSON) -> String {
  func number(_ name: String) -> Double { answer[name]?.double ?? 0 }
  func word(_ name: String) -> String { answer[name].map { $0.string ?? $0.line } ?? "" }
  func milliseconds(_ seconds: Double) -> String { "\(fixed(seconds * 1e3, digits: 1)) ms" }
  func bytes(_ name: String) -> String { size(number(name)) }
  let group = word("weight_group"), bits = word("weight_bits")
  let rows = [
    ["model", word("model")], ["weights", bits + " bits" + (group == "0" ? "" : " in groups of \(group)") + ", \(bytes("weights_size"))"],
    ["batch", "\(word("batch")) images of \(word("tokens")) tokens, \(fixed(number("gmac_per_step"), digits: 1)) GMAC a step"],
    ["threads", word("threads")], ["instruction set", word("instruction_set")],
    [
      "step",
      "\(milliseconds(number("step_seconds"))) median, \(milliseconds(number("step_seconds_best"))) best of \(word("steps"))",
    ],
    ["ditq", "\(fixed(number("gmacs"), digits: 1)) GMAC/s median, \(fixed(number("gmacs_best"), digits: 1)) best"],
    [
      "peak",
      "\(fixed(number("peak_gmacs"), digits: 1)) GMAC/s median, \(fixed(number("peak_gmacs_best"), digits: 1)) best: \(word("instruction"))",
    ],
    ["ratio", "\(fixed(number("ratio"), digits: 3)) of peak, median / median"],
    ["open to step", "\(milliseconds(number("open_to_first_step_seconds"))) from opening to the end of the first step"],
    ["memory", "\(bytes("peak_resident")) peak resident, \(bytes("resident_before_open")) of it before opening"],
    ["a 2nd process", "adds \(bytes("private_added")) to that: its own memory, the session's \(bytes("session_memory")) in it"],
  ]
  let kinds = (answer["kinds"]?.members ?? []).map { name, kind in
    [
      name, milliseconds(kind["seconds"]?.double ?? 0), percent(kind["share"]?.double ?? 0),
      kind["gmacs"]?.double.map { "\(fixed($0, digits: 1)) GMAC/s" } ?? "",
    ]
  }
  return aligned(rows) + (kinds.isEmpty ? "" : "\n\n" + aligned(kinds, right: [1, 2, 3]))
}
