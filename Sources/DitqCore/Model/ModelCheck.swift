// What has to be so of a model whatever it was made of: that its parts, each right by itself, are of one another's sizes, and packed
// numbers what they may be. Every model is made by way of this check, whichever reader or pipeline has its parts; what stands behind it
// (sessions, decoding, saving) relies on it. Refuses what disagrees, naming both sides.

/// The parts of a model that have to fit.
struct ModelParts {
  let config: DiTConfig
  let sampling: SamplingSettings
  let classNames: ClassNames
  let transformer: DiTWeights
  let decoder: VAEDecoder?

  func check() throws(DitqError) {
    try config.check()
    try transformer.check(config)
    guard classNames.count <= config.classCount else {
      throw DitqError(.malformed, "class names", expected: "at most " + String(config.classCount), found: String(classNames.count))
    }
    guard sampling.sampler.goes(by: sampling.prediction) else {
      throw DitqError(
        .malformed, "prediction",
        expected: sampling.sampler.row.prediction.name + ", as the sampler " + sampling.sampler.name + " needs it,",
        found: sampling.prediction.name)
    }
    guard let decoder else { return }
    guard !config.isPixelSpace else {
      throw DitqError(.malformed, "decoder: none expected of a model whose pixel_space is true, one found")
    }
    try decoder.check(latentChannels: config.channels, latentSize: config.latentSize)
  }
}

extension DiTWeights {
  /// Whether these are the parameters of such a transformer.
  fileprivate func check(_ config: DiTConfig) throws(DitqError) {
    let width = config.hiddenSize
    try require("depth", [config.depth], [blocks.count])
    try require("pos_embed", [config.tokenCount, width], [positions.count / width, width])
    guard embedders.count == 1 || embedders.count == config.depth else {
      throw DitqError(.malformed, "embedders", expected: "1 or " + String(config.depth), found: String(embedders.count))
    }
    for (index, embedder) in embedders.enumerated() {
      let name = ConditionEmbedder.prefix(index), first = embedder.timestepIn, second = embedder.timestepOut, labels = embedder.labels
      try require(name + ConditionEmbedder.timestepIn, [width, DiTConfig.timestepFeatures], [first.outputs, first.inputs])
      try require(name + ConditionEmbedder.timestepOut, [width, width], [second.outputs, second.inputs])
      try require(name + ConditionEmbedder.labels, [config.labelCount, width], [labels.outputs, labels.inputs])
    }
    for (index, block) in blocks.enumerated() {
      for layer in BlockLayer.allCases {
        let linear = block[layer], expected = [config.outputs(of: layer), config.inputs(of: layer)]
        if expected != [linear.outputs, linear.inputs] {
          try require("blocks.\(index).\(layer.name)", expected, [linear.outputs, linear.inputs])
        }
      }
    }
    let patches = patchEmbedding, last = finalLinear, modulation = finalModulation
    try require("x_embedder.proj", [width, config.patchInputs], [patches.outputs, patches.inputs])
    try require("final_layer.adaLN_modulation.1", [2 * width, width], [modulation.outputs, modulation.inputs])
    try require("final_layer.linear", [config.patchOutputs, width], [last.outputs, last.inputs])
    guard bins.isValid else { throw DitqError(.malformed, "bins: 1 to 1000 timesteps expected, others found") }
    for number in 0..<linearCount {
      let linear = self[number]
      try checkCall()
      try linear.integers?.check(name(ofLinear: number))
      try linear.checkInputs(name(ofLinear: number))
      if let ranges = linear.ranges, ranges.count != bins.timesteps.count {
        try require(name(ofLinear: number) + ".input_ranges", [bins.timesteps.count, 2], [ranges.count, 2])
      }
    }
  }

  private func require(_ name: String, _ expected: [Int], _ found: [Int]) throws(DitqError) {
    guard expected == found else {
      throw DitqError(.malformed, name, expected: text(ofShape: expected), found: text(ofShape: found))
    }
  }
}

extension VAEDecoder {
  /// Whether this one decodes such latents. Their number bounds the work that a few bytes of a file ask for: attention takes its square.
  fileprivate func check(latentChannels: Int, latentSize: Int) throws(DitqError) {
    guard config.latentChannels == latentChannels else {
      throw DitqError(
        .malformed, "decoder: latent_channels", expected: String(latentChannels) + ", as the transformer has,",
        found: String(config.latentChannels))
    }
    let first = convolutions[postQuant].convolution, last = convolutions[convOut].convolution
    guard first.inputs == latentChannels && last.outputs == config.imageChannels && (last.outputs == 1 || last.outputs == 3) else {
      throw DitqError(
        .malformed, "decoder", expected: "\(latentChannels) channels of latents and 1 or 3 of an image",
        found: "\(first.inputs) and \(last.outputs)")
    }
    for layer in convolutions { try layer.convolution.integers?.check(RecordedConfig.decoderPrefix + layer.name) }
    let tokens = latentSize * latentSize
    guard Limit.decoderTokens.contains(tokens) else {
      throw DitqError(.unsupported, "decoder: tokens", expected: "1 to " + String(Limit.decoderTokens.upperBound), found: String(tokens))
    }
  }
}
