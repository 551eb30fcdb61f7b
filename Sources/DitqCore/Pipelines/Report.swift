// Report: what a comparison measured, as JSON and as CSV. Decibels are SQNR; 300 where nothing differs.

package final class Report {
  /// Of the predicted noise, by step.
  var predictions: [SignalAndNoise]
  var referenceSeconds = 0.0
  var modelSeconds = 0.0
  /// Over all batches.
  var takenSteps = 0
  private let options: CompareOptions
  private let timesteps: [Int]
  private let layers: [ReportedLayer]
  /// [step][layer], layers in the order of `layers`.
  private var inputs: [[SignalAndNoise]]
  private var outputs: [[SignalAndNoise]]
  private let sizes: (reference: Int, model: Int)
  /// Made when the comparison is finished, and alive as long as the report.
  private var texts: [UnsafeMutablePointer<CChar>] = []

  init(_ reference: Model, _ model: Model, _ options: CompareOptions, timesteps: UnsafePointer<Int32>) {
    self.options = options
    self.timesteps = (0..<options.steps).map { Int(timesteps[$0]) }
    var layers: [ReportedLayer] = []
    for (block, (one, other)) in zip(reference.dit.blocks, model.dit.blocks).enumerated() {
      for layer in BlockLayer.allCases {
        guard let quantized = other.linear(layer).weights.integers else { continue }
        layers.append(
          ReportedLayer(
            block: block, layer: layer, weights: quantized, rows: layer == .modulation ? 1 : model.config.tokenCount,
            activationBits: other.linear(layer).weights.activationBits, referenceBytes: one.linear(layer).weights.byteCount))
      }
    }
    self.layers = layers
    let none = [SignalAndNoise](repeating: SignalAndNoise(), count: layers.count)
    predictions = [SignalAndNoise](repeating: SignalAndNoise(), count: options.steps)
    inputs = [[SignalAndNoise]](repeating: none, count: options.steps)
    outputs = inputs
    sizes = (reference.weightsByteCount, model.weightsByteCount)
  }

  deinit { for text in texts { text.deallocate() } }

  func add(step: Int, block: Int, _ layer: BlockLayer, input: SignalAndNoise, output: SignalAndNoise) {
    guard let index = layers.firstIndex(where: { $0.block == block && $0.layer == layer }) else { return }
    inputs[step][index].add(input)
    outputs[step][index].add(output)
  }

  /// Of one step, or of all together where `step` is negative; NaN for a step that was not taken.
  @export(interface)
  package func sqnr(step: Int) -> Double {
    guard step < predictions.count else { return .nan }
    return step < 0 ? total(predictions).decibels : predictions[step].decibels
  }

  private func total(_ parts: [SignalAndNoise]) -> SignalAndNoise {
    var sum = SignalAndNoise()
    for part in parts { sum.add(part) }
    return sum
  }

  // MARK: - Texts

  /// The two texts as C strings that live as long as the report.
  @export(interface)
  package func cStrings() -> (json: UnsafePointer<CChar>, csv: UnsafePointer<CChar>) {
    if texts.isEmpty { texts = [copied(json), copied(csv)] }
    return (UnsafePointer(texts[0]), UnsafePointer(texts[1]))
  }

  private func copied(_ text: String) -> UnsafeMutablePointer<CChar> {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.utf8.count + 1)
    for (index, byte) in text.utf8.enumerated() { copy[index] = CChar(bitPattern: byte) }
    copy[text.utf8.count] = 0
    return copy
  }

  private var json: String {
    let steps = Double(max(1, takenSteps))
    var text = "{\"steps\": \(options.steps), \"samples\": \(options.samples), \"seed\": \(options.seed)"
    text += ", \"guidance_scale\": \(CompareOptions.guidanceScale), \"free_running\": \(options.isFreeRunning)"
    text += ", \"sqnr_db\": \(sqnr(step: -1)), \"sqnr_db_by_step\": \(list(predictions.map { $0.decibels }))"
    text += ", \"timesteps\": \(list(timesteps))"
    text += ", \"reference\": {\"weights_size\": \(sizes.reference), \"seconds_per_step\": \(referenceSeconds / steps)}"
    text += ", \"model\": {\"weights_size\": \(sizes.model), \"seconds_per_step\": \(modelSeconds / steps)}, \"layers\": ["
    for (index, layer) in layers.enumerated() {
      text += (index == 0 ? "{" : ", {") + layer.json
      text +=
        ", \"input_sqnr_db\": \(list(inputs.map { $0[index].decibels })), \"output_sqnr_db\": \(list(outputs.map { $0[index].decibels }))"
      text += ", \"input_sqnr_db_all\": \(total(inputs.map { $0[index] }).decibels)"
      text += ", \"output_sqnr_db_all\": \(total(outputs.map { $0[index] }).decibels)}"
    }
    return text + "]}"
  }

  private var csv: String {
    var text = "step,timestep,layer,input_sqnr_db,output_sqnr_db,clipped,bytes,macs\n"
    for step in 0..<options.steps {
      for (index, layer) in layers.enumerated() {
        text += "\(step),\(timesteps[step]),\(layer.name),\(inputs[step][index].decibels),\(outputs[step][index].decibels)"
        text += ",0,\(layer.weights.byteCount),\(layer.macs)\n"
      }
    }
    return text
  }

  private func list<T: CustomStringConvertible>(_ values: [T]) -> String {
    var text = "["
    for (index, value) in values.enumerated() { text += (index == 0 ? "" : ", ") + value.description }
    return text + "]"
  }
}

/// A quantized layer of a report.
private struct ReportedLayer {
  let block: Int
  let layer: BlockLayer
  let weights: IntegerWeights
  /// Of one image.
  let rows: Int
  let activationBits: Int
  let referenceBytes: Int

  var name: String { "blocks.\(block).\(layer.name)" }
  var macs: Int { rows * weights.inputs * weights.outputs }

  /// Ranges are measured as the layer runs, so nothing is clipped.
  var json: String {
    "\"name\": \"\(name)\", \"weight_bits\": \(weights.bits), \"weight_group\": \(weights.group), \"activation_bits\": \(activationBits)"
      + ", \"bytes\": \(weights.byteCount), \"reference_bytes\": \(referenceBytes), \"macs\": \(macs), \"clipped\": 0"
  }
}

extension DiTBlock {
  fileprivate func linear(_ layer: BlockLayer) -> Linear {
    switch layer {
    case .modulation: modulation
    case .qkv: qkv
    case .proj: proj
    case .fc1: fc1
    case .fc2: fc2
    }
  }
}

extension Linear.Weights {
  /// nil for floats.
  fileprivate var integers: IntegerWeights? {
    switch self {
    case .integers(let weights), .weightOnly(let weights): weights
    case .stored, .packed: nil
    }
  }

  fileprivate var activationBits: Int { if case .integers = self { 8 } else { 32 } }
}
