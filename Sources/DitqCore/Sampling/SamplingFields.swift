// The fields of a ditq.config that few models need, by diffusers' names where it has them: how a diffusion differs from linear betas, whose
// x₀ is never clipped, and from its sampler's own choice of timesteps. A .ditq file that has one of them is of the format's third version,
// so that an older library does not pass over it. Refuses betas that are no variances.

extension SamplingSettings {
  /// What is not as usual, each as `, "field": value`; empty for most models.
  var unusualFields: String {
    var text = ""
    func add(_ field: String, _ value: String) { text += ", \"" + field + "\": " + value }
    if betaSchedule != .linear { add("beta_schedule", "\"" + betaSchedule.name + "\"") }
    if let trainedBetas {
      var list = ""
      for beta in trainedBetas { list += (list.isEmpty ? "" : ", ") + String(beta) }
      add("trained_betas", "[" + list + "]")
    }
    if rescalesToZeroSNR { add("rescale_betas_zero_snr", "true") }
    if !endsInImage { add("set_alpha_to_one", "false") }
    if let spacing { add("timestep_spacing", "\"" + spacing.name + "\"") }
    if stepsOffset != 0 { add("steps_offset", String(stepsOffset)) }
    if let clipRange { add("clip_sample_range", String(clipRange)) }
    if let fixedVariance { add("variance_type", "\"" + fixedVariance.name + "\"") }
    return text
  }

  /// Whether a library that knows none of this would take it for something else.
  var isUnusual: Bool { predictsAnother || !unusualFields.isEmpty }

  /// Neither noise nor the velocity of a flow.
  var predictsAnother: Bool { prediction != .epsilon && prediction != .velocity }

  mutating func readUnusualFields(_ settings: Settings) throws(DitqError) {
    betaSchedule = try settings.choice("beta_schedule", of: BetaSchedule.self) ?? .linear
    trainedBetas = try settings.betas("trained_betas", count: trainSteps)
    rescalesToZeroSNR = try settings.bool("rescale_betas_zero_snr", default: false)
    endsInImage = try settings.bool("set_alpha_to_one", default: true)
    spacing = try settings.choice("timestep_spacing", of: TimestepSpacing.self)
    stepsOffset = try settings.integer("steps_offset", in: 0...1000, default: 0)
    clipRange = try settings.value("clip_sample_range") == nil ? nil : settings.clipRange()
    fixedVariance = try settings.choice("variance_type", of: FixedVariance.self)
  }
}

extension Settings {
  /// As many betas as there are training steps; nil where there are none.
  func betas(_ field: String, count: Int) throws(DitqError) -> [Double]? {
    guard let value = value(field) else { return nil }
    // They are kept, and written into other files, as text.
    guard count <= 10_000 else { throw wrong(field, "those of at most 10000 training steps", .number(Double(count))) }
    guard let list = value.array, list.count == count else {
      throw wrong(field, "\(count) numbers, one of each training step,", value, .malformed)
    }
    var betas: [Double] = []
    for item in list {
      try checkCall()
      guard let beta = item.number, (0...1).contains(beta) else { throw wrong(field, "numbers from 0 to 1", item, .malformed) }
      betas.append(beta)
    }
    return betas
  }

  func clipRange() throws(DitqError) -> Double { try number("clip_sample_range", above: 0, below: 1e6, default: 1) }
}
