// ditq compare: what quantizing cost, by ditq_compare: decibels of SQNR, 10·log10(Σ ref² / Σ (ref − out)²), of the predicted noise and of each
// quantized layer. The figures are the report's.

import ArgumentParser
import CDitq

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Measure a quantized model against its float reference.",
    discussion: """
      Both models run on the same noise. SQNR is the power of the reference over that of the difference, in dB: 20 dB more is a tenth of the \
      difference. Unless --free-running is given, both see the reference's latents at each step, so that steps can be judged one by one.

      Examples:
        ditq compare emoji.safetensors emoji-w4a8.ditq
        ditq compare emoji.safetensors emoji-w4a8.ditq --steps 20 --csv report.csv
      """)

  @Argument(help: "The float model.") var reference: String
  @Argument(help: "The model to measure.") var model: String
  @Option(help: "Sampling steps.") var steps: Int32 = 50
  @Option(help: "Images.") var samples: Int32 = 8
  @Option(help: "Seed of the first image; the others take the next numbers.") var seed: UInt64 = 0
  @Option(help: "Threads to work with, 0 = every core.") var threads: Int32 = 0
  @Flag(help: "Let each model follow its own latents.") var freeRunning = false
  @Option(help: ArgumentHelp("Write the report as CSV, a row for each layer and step.", valueName: "file.csv")) var csv: String?
  @OptionGroup var opening: OpenOptions
  @Flag(help: "Print the report, one JSON object.") var json = false

  /// 0 would be the library's default.
  func validate() throws {
    if steps < 1 { throw ValidationError("--steps: 1 or more expected, \(steps) found.") }
    if samples < 1 { throw ValidationError("--samples: 1 or more expected, \(samples) found.") }
  }

  func run() throws {
    if let csv { try Output.check(csv, sources: [reference, model] + opening.sources) }
    let models = (reference: try opening.open(reference), model: try opening.open(model))
    let report = try Progress().during { callback, context in
      var options = ditq_compare_options()
      options.struct_size = UInt32(MemoryLayout<ditq_compare_options>.size)
      (options.steps, options.samples, options.threads, options.seed) = (steps, samples, threads, seed)
      options.free_running = freeRunning ? 1 : 0
      (options.progress, options.progress_context) = (callback, context)
      return try Report(models.reference, models.model, options)
    }
    if let csv { try Output.write(report.csv, to: csv) }
    print(json ? report.json : try report.text(paths: [reference, model], steps: steps))
  }
}

/// ditq_report, owned.
final class Report {
  private static let layersShown = 5

  private let handle: OpaquePointer

  init(_ reference: Model, _ model: Model, _ options: ditq_compare_options) throws {
    var options = options
    handle = try made { ditq_compare(reference.handle, model.handle, &options, $0, $1) }
  }

  deinit { ditq_report_destroy(handle) }

  var json: String { String(cString: ditq_report_json(handle)) }
  var csv: String { String(cString: ditq_report_csv(handle)) }

  /// Of the predicted noise; step -1: all together.
  private func output(_ step: Int32) -> String { decibels(ditq_report_sqnr_db(handle, step)) }

  /// `paths` are the reference's and the model's.
  func text(paths: [String], steps: Int32) throws -> String {
    let report = try JSON(reading: json)
    let models = zip(["reference", "model"], paths).map { key, path in
      [key, path, report[key]?["weights_size"]?.double.map(size) ?? ""]
    }
    let sqnr = [
      ["output, all steps", output(-1)], ["output, first step", output(0)], ["output, step \(steps / 2 + 1)", output(steps / 2)],
      ["output, last step", output(steps - 1)],
    ]
    let decoder = report["decoder_sqnr_db"]?.double.map { [["decoder, an image", decibels($0)]] } ?? []
    let layers = report["layers"]?.elements ?? []
    return [aligned(models, right: [2]), aligned(sqnr + decoder, right: [1]), worst(layers), clipped(layers)]
      .filter { !$0.isEmpty }.joined(separator: "\n\n")
  }

  /// The layers whose outputs differ most, over all steps.
  private func worst(_ layers: [JSON]) -> String {
    let ordered = layers.compactMap { layer in layer["output_sqnr_db_all"]?.double.map { (layer: layer, output: $0) } }
      .sorted { $0.output < $1.output }.prefix(Report.layersShown)
    guard !ordered.isEmpty else { return "" }
    let rows = ordered.map { layer, output in
      [layer["name"]?.string ?? "", decibels(output), layer["input_sqnr_db_all"]?.double.map(decibels) ?? "", format(layer)]
    }
    return aligned([["worst layers", "output", "input", "format"]] + rows, right: [1, 2])
  }

  /// The layers whose ranges clip most of their inputs, over all steps and at the worst one.
  private func clipped(_ layers: [JSON]) -> String {
    let shares = layers.map { (name: $0["name"]?.string ?? "", share: $0["clipped"]?.double ?? 0) }
    let rows = mostClipped(shares).prefix(Report.layersShown).map { name, share in
      let byStep = (layers.first { $0["name"]?.string == name }?["clipped_by_step"]?.elements ?? []).compactMap(\.double)
      return [name, percent(share), percent(byStep.max() ?? 0)]
    }
    return rows.isEmpty ? "" : aligned([["most clipped", "all steps", "worst step"]] + rows, right: [1, 2])
  }

  private func format(_ layer: JSON) -> String {
    let activations = layer["activation_bits"]?.literal ?? ""
    let group = layer["weight_group"]?.literal ?? "0"
    return "W\(layer["weight_bits"]?.literal ?? "")" + (activations == "8" ? "A8" : "") + (group == "0" ? "" : " in groups of \(group)")
  }
}
