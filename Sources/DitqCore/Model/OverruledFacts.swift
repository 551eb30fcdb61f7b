// What a host says of a model that a diffusers directory describes: its word goes before the directory's, but for the shape of the network,
// which belongs to the weights. Relies on ModelFacts. Refuses another shape.

extension ModelFacts {
  func overrule(
    _ config: inout DiTConfig, _ sampling: inout SamplingSettings, _ names: inout [String]
  ) throws(DitqError) {
    guard !isEmpty else { return }
    try checkShape(config)
    if let compatibility = try settings.compatibility() { config.compatibility = compatibility }
    if config.compatibility == .official {
      config.secondNormEpsilon = DiTConfig.normEpsilon
    } else if settings.value("norm_eps") != nil {
      config.secondNormEpsilon = try settings.float("norm_eps", above: 0, below: 1, default: 1e-5)
    }
    if settings.value("class_names") != nil { names = try classNames(settings) }
    var all = self
    all.add(try Settings(text: "{" + sampling.jsonFields + "}", named: "scheduler/scheduler_config.json"), from: .metadata)
    sampling = try SamplingSettings(all.settings)
  }

  private func checkShape(_ config: DiTConfig) throws(DitqError) {
    for (field, known, range) in [
      ("head_count", config.headCount, Limit.heads), ("hidden_size", config.hiddenSize, Limit.hiddenSize),
      ("depth", config.depth, Limit.depth), ("patch_size", config.patchSize, Limit.patchSize),
      ("latent_channels", config.channels, Limit.channels), ("latent_size", config.latentSize, Limit.latentSize),
      ("class_count", config.classCount, Limit.classes),
    ] {
      try settings.require(field, known: known, in: range, by: "transformer/config.json has")
    }
    let isLearned = config.outputChannels == 2 * config.channels
    for (field, known) in [("learned_variance", isLearned), ("null_class", true), ("pixel_space", false)] {
      try settings.require(field, known, default: known)
    }
    try settings.requireNothing("decoder")
  }
}
