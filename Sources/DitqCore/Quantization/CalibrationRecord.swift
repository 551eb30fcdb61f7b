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

  mutating func raise(_ name: String, to bits: Int) {
    raised.removeAll { $0.name == name }
    raised.append((name, bits))
  }

  var json: String {
    var text = "{\"activations\": \"\(activations)\", \"weights\": \"\(weights)\""
    if let decoderWeights { text += ", \"decoder_weights\": \"\(decoderWeights)\"" }
    if !timesteps.isEmpty {
      text +=
        ", \"balanced\": \(isBalanced), \"timesteps\": \(list(timesteps.map(number))), \"total_steps\": \(totalSteps), \"samples\": \(samples)"
      text += ", \"seed\": \(seed), \"guidance_scale\": \(guidanceScale), \"with_no_class\": \(hasNullClass)"
    }
    if !observer.isEmpty { text += ", \"observer\": \"\(observer)\"" }
    if !bins.isEmpty { text += ", \"bins\": \(list(bins.map(number)))" }
    if !checkedTimesteps.isEmpty {
      text += ", \"checked_timesteps\": \(list(checkedTimesteps.map(number))), \"clipped\": \(list(clipped)), \"clipped_by_layer\": {"
      for (index, layer) in clippedByLayer.enumerated() { text += (index == 0 ? "" : ", ") + "\"\(layer.name)\": \(layer.share)" }
      text += "}"
    }
    if let outputSQNR { text += ", \"output_sqnr_db\": \(outputSQNR)" }
    if !raised.isEmpty {
      text += ", \"raised\": {"
      for (index, layer) in raised.enumerated() { text += (index == 0 ? "" : ", ") + "\"\(layer.name)\": \(layer.bits)" }
      text += "}"
    }
    return text + "}"
  }
}
