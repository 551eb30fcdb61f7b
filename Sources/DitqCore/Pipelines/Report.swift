// Report: what a comparison measured, as JSON and as CSV. Decibels are SQNR; 300 where nothing differs.

package final class Report {
  /// Of the predicted noise, by step.
  var predictions: [SignalAndNoise]
  /// Of a decoded image, where the decoder is quantized.
  var decoder: SignalAndNoise?
  var referenceSeconds = 0.0
  var modelSeconds = 0.0
  /// Over all batches.
  var takenSteps = 0
  private let options: CompareOptions
  private let timesteps: [String]
  private let layers: [ReportedLayer]
  /// [step][layer], layers in the order of `layers`.
  private var measures: [[LayerMeasure]]
  private let sizes: (reference: Int, model: Int)
  /// C strings, made when the comparison is finished and alive as long as the report.
  private var texts: [UnsafeMutablePointer<CChar>] = []

  init(_ reference: Model, _ model: Model, _ options: CompareOptions, timesteps: [Float]) {
    self.options = options
    self.timesteps = timesteps.map(number)
    var layers: [ReportedLayer] = []
    for (number, (one, other)) in zip(reference.dit.linears, model.dit.linears).enumerated() {
      guard let weights = other.linear.integers else { continue }
      let isOfImages = number == 1 || number == 2 || other.name.ends(withBytesOf: ".adaLN_modulation.1")
      layers.append(
        ReportedLayer(
          number: number, name: other.name, weights: weights, rows: isOfImages ? 1 : model.config.tokenCount,
          activationBits: other.linear.activationBits, referenceBytes: one.linear.byteCount))
    }
    self.layers = layers
    measures = [[LayerMeasure]](
      repeating: [LayerMeasure](repeating: LayerMeasure(), count: layers.count), count: options.steps)
    predictions = [SignalAndNoise](repeating: SignalAndNoise(), count: options.steps)
    sizes = (reference.weightsByteCount, model.weightsByteCount)
  }

  deinit { for text in texts { text.deallocate() } }

  func tells(of number: Int) -> Bool { layers.contains { $0.number == number } }

  func add(step: Int, _ number: Int, _ measure: LayerMeasure) {
    guard let index = layers.firstIndex(where: { $0.number == number }) else { return }
    measures[step][index].add(measure)
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

  private func total(_ index: Int) -> LayerMeasure {
    var sum = LayerMeasure()
    for step in measures { sum.add(step[index]) }
    return sum
  }

  // MARK: - Texts

  package var json: UnsafePointer<CChar> { UnsafePointer(texts[0]) }
  package var csv: UnsafePointer<CChar> { UnsafePointer(texts[1]) }

  /// Makes the texts: nothing is added any more.
  func finish() { texts = [copied(jsonText), copied(csvText)] }

  private func copied(_ text: String) -> UnsafeMutablePointer<CChar> {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.utf8.count + 1)
    for (index, byte) in text.utf8.enumerated() { copy[index] = CChar(bitPattern: byte) }
    copy[text.utf8.count] = 0
    return copy
  }

  private var jsonText: String {
    let steps = Double(max(1, takenSteps))
    var text = "{\"steps\": \(options.steps), \"samples\": \(options.samples), \"seed\": \(options.seed)"
    text += ", \"guidance_scale\": \(GenerateOptions.measuredGuidance), \"free_running\": \(options.isFreeRunning)"
    text += ", \"sqnr_db\": \(sqnr(step: -1)), \"sqnr_db_by_step\": \(list(predictions.map { $0.decibels }))"
    text += ", \"decoder_sqnr_db\": \(decoder.map { "\($0.decibels)" } ?? "null"), \"timesteps\": \(list(timesteps))"
    text += ", \"reference\": {\"weights_size\": \(sizes.reference), \"seconds_per_step\": \(referenceSeconds / steps)}"
    text += ", \"model\": {\"weights_size\": \(sizes.model), \"seconds_per_step\": \(modelSeconds / steps)}, \"layers\": ["
    for (index, layer) in layers.enumerated() {
      text += (index == 0 ? "{" : ", {") + layer.json
      let all = total(index), byStep = measures.map { $0[index] }
      text +=
        ", \"input_sqnr_db\": \(list(byStep.map { $0.input.decibels })), \"output_sqnr_db\": \(list(byStep.map { $0.output.decibels }))"
      text += ", \"clipped_by_step\": \(list(byStep.map { $0.clipped.share })), \"clipped\": \(all.clipped.share)"
      text += ", \"input_sqnr_db_all\": \(all.input.decibels), \"output_sqnr_db_all\": \(all.output.decibels)"
      text += ", \"seconds_per_step\": \(all.seconds / steps)}"
    }
    return text + "]}"
  }

  /// A row for each quantized layer of each step.
  private var csvText: String {
    var text = "step,timestep,layer,input_sqnr_db,output_sqnr_db,clipped,bytes,macs,seconds,prediction_sqnr_db\n"
    let batches = Double(max(1, takenSteps / options.steps))
    for step in 0..<options.steps {
      for (index, layer) in layers.enumerated() {
        let measure = measures[step][index]
        text += "\(step),\(timesteps[step]),\(layer.name),\(measure.input.decibels),\(measure.output.decibels)"
        text += ",\(measure.clipped.share),\(layer.weights.byteCount),\(layer.macs),\(measure.seconds / batches)"
        text += ",\(predictions[step].decibels)\n"
      }
    }
    return text
  }
}

/// A quantized layer of a report.
private struct ReportedLayer {
  let number: Int
  let name: String
  let weights: IntegerWeights
  /// Of one image.
  let rows: Int
  let activationBits: Int
  let referenceBytes: Int

  var macs: Int { rows * weights.inputs * weights.outputs }

  var json: String {
    "\"name\": \"\(name)\", \"weight_bits\": \(weights.bits), \"weight_group\": \(weights.recordedGroup), \"activation_bits\": \(activationBits)"
      + ", \"bytes\": \(weights.byteCount), \"reference_bytes\": \(referenceBytes), \"macs\": \(macs)"
  }
}
