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
  private let guidanceScale: Double
  private let sizes: (reference: Int, model: Int)
  /// Both texts with their NULs, made when the comparison is finished and alive as long as the report.
  private var texts: (json: Block, csv: Block)?

  /// A convenience initializer, as memory may not be there: see Block.
  convenience init(_ reference: Model, _ model: Model, _ options: CompareOptions, timesteps: [Float]) throws(DitqError) {
    var layers: [ReportedLayer] = []
    for number in 0..<model.dit.linearCount {
      let linear = model.dit[number], name = model.dit.name(ofLinear: number)
      guard let weights = linear.integers else { continue }
      let isOfImages = ConditionEmbedder.isLinear(name) || name.ends(withBytesOf: ".adaLN_modulation.1")
      try layers.add(
        ReportedLayer(
          number: number, name: name, weights: weights, rows: isOfImages ? 1 : model.config.tokenCount,
          activationBits: linear.activationBits, referenceBytes: reference.dit[number].byteCount))
    }
    var measures: [[LayerMeasure]] = []
    for _ in 0..<options.steps { try measures.add(try [LayerMeasure](repeating: LayerMeasure(), room: layers.count)) }
    self.init(
      options, try timesteps.mapped(number), layers, measures, try [SignalAndNoise](repeating: SignalAndNoise(), room: options.steps),
      guidanceScale: reference.measuredGuidance, (reference.weightsByteCount, model.weightsByteCount))
  }

  private init(
    _ options: CompareOptions, _ timesteps: [String], _ layers: [ReportedLayer], _ measures: [[LayerMeasure]],
    _ predictions: [SignalAndNoise], guidanceScale: Double, _ sizes: (reference: Int, model: Int)
  ) {
    (self.options, self.timesteps, self.layers, self.measures) = (options, timesteps, layers, measures)
    (self.predictions, self.guidanceScale, self.sizes) = (predictions, guidanceScale, sizes)
  }

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

  package var json: UnsafePointer<CChar> { cString(texts!.json) }
  package var csv: UnsafePointer<CChar> { cString(texts!.csv) }

  /// Makes the texts: nothing is added any more.
  func finish() throws(DitqError) { texts = (try kept(jsonText()), try kept(csvText())) }

  private func cString(_ text: Block) -> UnsafePointer<CChar> { UnsafePointer(text.start.assumingMemoryBound(to: CChar.self)) }

  private func kept(_ text: LongText) throws(DitqError) -> Block {
    let count = text.bytes.count, copy = try Block(byteCount: count + 1, from: .system, for: "report")
    text.bytes.withUnsafeBytes { copy.start.copyMemory(from: $0.baseAddress!, byteCount: count) }
    copy.start.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
    return copy
  }

  private func jsonText() throws(DitqError) -> LongText {
    let steps = Double(max(1, takenSteps))
    var text = LongText()
    try text.add("{\"steps\": \(options.steps), \"samples\": \(options.samples), \"seed\": \(options.seed)")
    try text.add(", \"guidance_scale\": \(guidanceScale), \"free_running\": \(options.isFreeRunning)")
    try text.add(", \"sqnr_db\": \(sqnr(step: -1)), \"sqnr_db_by_step\": ")
    try text.addList(predictions) { $0.decibels.description }
    try text.add(", \"decoder_sqnr_db\": \(decoder.map { "\($0.decibels)" } ?? "null"), \"timesteps\": ")
    try text.addList(timesteps) { $0 }
    try text.add(", \"reference\": {\"weights_size\": \(sizes.reference), \"seconds_per_step\": \(referenceSeconds / steps)}")
    try text.add(", \"model\": {\"weights_size\": \(sizes.model), \"seconds_per_step\": \(modelSeconds / steps)}, \"layers\": [")
    for (index, layer) in layers.enumerated() {
      try text.add((index == 0 ? "{" : ", {") + layer.json)
      let all = total(index)
      try text.add(", \"input_sqnr_db\": ")
      try text.addList(measures) { $0[index].input.decibels.description }
      try text.add(", \"output_sqnr_db\": ")
      try text.addList(measures) { $0[index].output.decibels.description }
      try text.add(", \"clipped_by_step\": ")
      try text.addList(measures) { $0[index].clipped.share.description }
      try text.add(", \"clipped\": \(all.clipped.share)")
      try text.add(", \"input_sqnr_db_all\": \(all.input.decibels), \"output_sqnr_db_all\": \(all.output.decibels)")
      try text.add(", \"seconds_per_step\": \(all.seconds / steps)}")
    }
    try text.add("]}")
    return text
  }

  /// A row for each quantized layer of each step.
  private func csvText() throws(DitqError) -> LongText {
    var text = LongText()
    try text.add("step,timestep,layer,input_sqnr_db,output_sqnr_db,clipped,bytes,macs,seconds,prediction_sqnr_db\n")
    let batches = Double(max(1, takenSteps / options.steps))
    for step in 0..<options.steps {
      for (index, layer) in layers.enumerated() {
        let measure = measures[step][index]
        try text.add("\(step),\(timesteps[step]),\(layer.name),\(measure.input.decibels),\(measure.output.decibels)")
        try text.add(",\(measure.clipped.share),\(layer.weights.byteCount),\(layer.macs),\(measure.seconds / batches)")
        try text.add(",\(predictions[step].decibels)\n")
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
