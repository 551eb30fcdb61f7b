// What a file tells of how its model was quantized: a JSON object, in the metadata of a .ditq file and in descriptions of the model.

struct CalibrationRecord {
  var activations = ""
  var weights = ""
  /// Of the decoder, where it is quantized.
  var decoderWeights: String?
  var observer = ""
  var isBalanced = false
  var totalSteps = 0
  var samples = 0
  var seed: UInt64 = 0
  /// Of the steps that were calibrated on; empty where nothing was.
  var timesteps: [Float] = []
  /// Timesteps that have ranges of their own.
  var bins: [Float] = []
  /// Share of all inputs of layers with static ranges that are clipped at some other steps, for other images; and each layer's largest.
  var checkedTimesteps: [Float] = []
  var clipped: [Double] = []
  var clippedByLayer: [(name: String, share: Double)] = []
  /// Layers that were given more bits to meet an error budget, and how many: 8, or 32 for float.
  private var raised: [(name: String, bits: Int)] = []
  /// In dB, as it was measured against the budget.
  var outputSQNR: Double?

  var guidanceScale = 0.0
  /// Both halves of a guided batch are observed.
  var hasNullClass = true

  mutating func raise(_ name: String, to bits: Int) throws(DitqError) {
    raised.removeAll { $0.name == name }
    try raised.add((name, bits))
  }

  func json() throws(DitqError) -> String {
    var text = LongText()
    try text.add("{\"activations\": \"\(activations)\", \"weights\": \"\(weights)\"")
    if let decoderWeights { try text.add(", \"decoder_weights\": \"\(decoderWeights)\"") }
    if !timesteps.isEmpty {
      try text.add(", \"balanced\": \(isBalanced), \"timesteps\": ")
      try text.addList(timesteps, number)
      try text.add(", \"total_steps\": \(totalSteps), \"samples\": \(samples)")
      try text.add(", \"seed\": \(seed), \"guidance_scale\": \(guidanceScale), \"with_no_class\": \(hasNullClass)")
    }
    if !observer.isEmpty { try text.add(", \"observer\": \"\(observer)\"") }
    if !bins.isEmpty {
      try text.add(", \"bins\": ")
      try text.addList(bins, number)
    }
    if !checkedTimesteps.isEmpty {
      try text.add(", \"checked_timesteps\": ")
      try text.addList(checkedTimesteps, number)
      try text.add(", \"clipped\": ")
      try text.addList(clipped) { $0.description }
      try text.add(", \"clipped_by_layer\": {")
      for (index, layer) in clippedByLayer.enumerated() { try text.add((index == 0 ? "" : ", ") + "\"\(layer.name)\": \(layer.share)") }
      try text.add("}")
    }
    if let outputSQNR { try text.add(", \"output_sqnr_db\": \(outputSQNR)") }
    if !raised.isEmpty {
      try text.add(", \"raised\": {")
      for (index, layer) in raised.enumerated() { try text.add((index == 0 ? "" : ", ") + "\"\(layer.name)\": \(layer.bits)") }
      try text.add("}")
    }
    try text.add("}")
    return try text.text()
  }
}
