// Models and sessions as JSON, for people and bindings.

extension Model {
  @export(interface)
  package func json() throws(DitqError) -> String {
    let c = config
    var text = "{\"source\": \(jsonLiteral(source)), \"compatibility\": \"\(c.compatibility.name)\", \"assumed\": ["
    for (index, field) in assumed.enumerated() { text += (index == 0 ? "\"" : ", \"") + field + "\"" }
    text += "], \"files\": ["
    for (index, file) in files.enumerated() { text += (index == 0 ? "" : ", ") + jsonLiteral(file) }
    text += "]"
    text += ", \"architecture\": {\"hidden_size\": \(c.hiddenSize), \"depth\": \(c.depth), \"head_count\": \(c.headCount)"
    text += ", \"mlp_size\": \(c.mlpSize), \"patch_size\": \(c.patchSize), \"token_count\": \(c.tokenCount)"
    text += ", \"latent_channels\": \(c.channels), \"output_channels\": \(c.outputChannels)"
    text += ", \"learned_variance\": \(c.outputChannels == 2 * c.channels ? "true" : "false"), \"latent_size\": \(c.latentSize)"
    text += ", \"pixel_space\": \(c.isPixelSpace ? "true" : "false"), \"class_count\": \(c.classCount)"
    text += ", \"null_class\": \(c.hasNullClass ? "true" : "false")}"
    text += ", \"parameter_count\": \(parameterCount), \"weights_size\": \(weightsByteCount), \"macs_per_forward\": \(macsPerForward)"
    text += ", \"sampling\": {\(sampling.jsonFields)"
    text += "}, \"decoder\": "
    var whole = LongText()
    try whole.add(text)
    if let decoder { try decoder.addJSON(to: &whole, latentSize: c.latentSize) } else { try whole.add("null") }
    try whole.add(", \"calibration\": ")
    try whole.addJSON(calibration ?? "null")
    try whole.add(", \"layers\": {")
    try addLayers(to: &whole)
    try whole.add("}, ")
    try whole.add(classNames)
    try whole.add("}")
    return try whole.text()
  }

  /// "blocks.0.attn.qkv": {"outputs": 768, "inputs": 256, "weights": "F16"}, …: the linear layers of the transformer.
  private func addLayers(to text: inout LongText) throws(DitqError) {
    for number in 0..<dit.linearCount {
      let linear = dit[number]
      try text.add("\(number == 0 ? "" : ", ")\"\(dit.name(ofLinear: number))\": {\"outputs\": \(linear.outputs)")
      try text.add(", \"inputs\": \(linear.inputs), \"weights\": \"\(linear.formatName)\"}")
    }
  }
}

extension LongText {
  /// "class_names": ["red apple", …]
  mutating func add(_ names: ClassNames) throws(DitqError) {
    try add("\"class_names\": [")
    for label in 0..<names.count {
      if label > 0 { try add(", ") }
      try addLiteral(names[label] ?? "")
    }
    try add("]")
  }
}

extension VAEDecoder {
  /// With the convolutions that may run on integers: {"decoder.conv_out": {"outputs": 3, "inputs": 1152, "weights": "W8A8"}, …}.
  fileprivate func addJSON(to text: inout LongText, latentSize: Int) throws(DitqError) {
    try text.add(
      "{\"macs\": \(macs(latentSize: latentSize)), \"scaling_factor\": \(config.scalingFactor), \"upscaling\": \(config.upscaling)")
    try text.add(", \"layers\": {")
    for (index, number) in try quantizable().enumerated() {
      let c = convolutions[number].convolution
      try text.add("\(index == 0 ? "" : ", ")\"\(convolutions[number].name)\": {\"outputs\": \(c.outputs), \"inputs\": \(c.depth)")
      try text.add(", \"weights\": \"\(c.integers == nil ? "F32" : "W8A8")\"}")
    }
    try text.add("}}")
  }
}

extension Linear {
  fileprivate var formatName: String {
    switch weights {
    case .packed: "F32"
    case .integers(let weights): "W\(weights.bits)" + (activationBits == 8 ? "A8" : "")
    case .stored(let matrix): matrix.type.name
    }
  }
}

extension Session {
  @export(interface)
  package func json() -> String {
    let t = timings
    var text = "{\"instruction_set\": \(jsonLiteral(instructionSet.name)), \"isa\": \(instructionSet.number)"
    text += ", \"threads\": \(executor.pool.threads), \"batch_limit\": \(batchLimit), \"memory\": \(byteCount)"
    text += ", \"last_call\": {\"steps\": \(t.steps), \"denoise_seconds\": \(t.denoising)"
    text += ", \"mean_step_seconds\": \(t.steps == 0 ? 0 : t.denoising / Double(t.steps)), \"best_step_seconds\": \(t.fastestStep)"
    return text + ", \"decode_seconds\": \(t.decoding)}}"
  }
}
