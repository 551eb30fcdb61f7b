// Models and sessions as JSON, for people and bindings.

extension Model {
  @export(interface)
  package func json() throws(DitqError) -> String {
    let c = config
    var text = "{\"source\": \(jsonLiteral(source)), \"compatibility\": \"\(c.compatibility.name)\", \"assumed\": ["
    for (index, field) in assumed.enumerated() { text += (index == 0 ? "\"" : ", \"") + field + "\"" }
    text += "]"
    text += ", \"architecture\": {\"hidden_size\": \(c.hiddenSize), \"depth\": \(c.depth), \"head_count\": \(c.headCount)"
    text += ", \"mlp_size\": \(c.mlpSize), \"patch_size\": \(c.patchSize), \"token_count\": \(c.tokenCount)"
    text += ", \"latent_channels\": \(c.channels), \"output_channels\": \(c.outputChannels)"
    text += ", \"learned_variance\": \(c.outputChannels == 2 * c.channels ? "true" : "false"), \"latent_size\": \(c.latentSize)"
    text += ", \"pixel_space\": \(c.isPixelSpace ? "true" : "false"), \"class_count\": \(c.classCount)"
    text += ", \"null_class\": \(c.hasNullClass ? "true" : "false")}"
    text += ", \"parameter_count\": \(parameterCount), \"weights_size\": \(weightsByteCount), \"macs_per_forward\": \(c.macsPerForward)"
    text += ", \"sampling\": {\(sampling.jsonFields)"
    text += "}, \"decoder\": \(decoder?.json(latentSize: c.latentSize) ?? "null")"
    text += ", \"calibration\": \(calibration ?? "null"), \"layers\": \(try layersJSON()), \"class_names\": ["
    for label in 0..<classNames.count {
      try checkMemory()
      text += (label == 0 ? "" : ", ") + jsonLiteral(classNames[label] ?? "")
    }
    return text + "]}"
  }

  /// {"blocks.0.attn.qkv": {"outputs": 768, "inputs": 256, "weights": "F16"}, …}: the linear layers of the transformer.
  private func layersJSON() throws(DitqError) -> String {
    var text = "{"
    for layer in dit.linears {
      try checkMemory()
      let linear = layer.linear
      text += "\(text.utf8.count == 1 ? "" : ", ")\"\(layer.name)\": {\"outputs\": \(linear.outputs), \"inputs\": \(linear.inputs)"
      text += ", \"weights\": \"\(linear.formatName)\"}"
    }
    return text + "}"
  }
}

extension VAEDecoder {
  /// With the convolutions that may run on integers: {"decoder.conv_out": {"outputs": 3, "inputs": 1152, "weights": "W8A8"}, …}.
  fileprivate func json(latentSize: Int) -> String {
    var text =
      "{\"macs\": \(macs(latentSize: latentSize)), \"scaling_factor\": \(config.scalingFactor), \"upscaling\": \(config.upscaling), \"layers\": {"
    for (index, number) in quantizable.enumerated() {
      let c = convolutions[number].convolution
      text += "\(index == 0 ? "" : ", ")\"\(convolutions[number].name)\": {\"outputs\": \(c.outputs), \"inputs\": \(c.depth)"
      text += ", \"weights\": \"\(c.integers == nil ? "F32" : "W8A8")\"}"
    }
    return text + "}}"
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
