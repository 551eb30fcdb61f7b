// SamplingRun: the options of a run, settled once for a model: what generating, runs, calibrating and comparing all go by. It knows the timesteps,
// guidance, noise and sampler, and no network: for each prediction of a step it says what the network is told, and takes the images on by what it
// answers. Allocates nothing. Refuses numbers out of their ranges and a sampler that does not go by what the model predicts.

struct SamplingRun {
  let sampler: Sampler
  let steps: Int
  let random: RandomNumbers
  let guidance: Guidance
  let eta: Double
  let model: SampledModel
  let timesteps: Timesteps
  private let row: SamplerRow

  init(_ options: SamplingOptions, _ model: SampledModel) throws(DitqError) {
    sampler = try SamplingRun.sampler(options, model)
    row = sampler.row
    (self.model, steps, random, eta) = (model, options.steps, options.random, options.eta)
    let isOff = model.compatibility == .official ? options.guidanceScale == 1 : options.guidanceScale <= 1
    guidance = Guidance(
      scale: options.guidanceScale, begin: options.guidanceBegin, end: options.guidanceEnd,
      channels: options.guidanceChannels ?? model.guidedChannels, isOff: isOff)
    timesteps = row.timesteps(max(1, options.steps), model.settings, model.compatibility)
    try check()
  }

  private static func sampler(_ options: SamplingOptions, _ model: SampledModel) throws(DitqError) -> Sampler {
    let sampler = options.sampler ?? model.settings.sampler, predicted = model.settings.prediction
    guard sampler.goes(by: predicted) else {
      var fitting = "0 (what the model records)"
      for other in Sampler.allCases where other.goes(by: predicted) { fitting += ", " + String(other.rawValue) + " (" + other.name + ")" }
      fitting += ", which go by " + predicted.name
      fitting +=
        model.assumesPrediction ? ", taken for what is predicted, as nobody said (give prediction)," : " as this model predicts it,"
      throw DitqError(.unsupported, "sampler", expected: fitting, found: String(sampler.rawValue))
    }
    return sampler
  }

  private func check() throws(DitqError) {
    func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws(DitqError) {
      guard range.contains(value) else {
        throw DitqError(
          .invalidArgument, name, expected: String(range.lowerBound) + " to " + String(range.upperBound), found: String(value))
      }
    }
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(DitqError) {
      guard range.contains(value) else {
        throw DitqError(
          .invalidArgument, name, expected: String(range.lowerBound) + " to " + String(range.upperBound), found: String(value))
      }
    }
    try check("steps", steps, 1...timesteps.largestCount)
    if let problem = timesteps.problem {
      throw DitqError(.invalidArgument, "steps", expected: "timesteps of the training", found: problem)
    }
    try check("guidance_scale", guidance.scale, 0...1000)
    guard model.hasNullClass || guidance.scale == 1 else {
      throw DitqError(
        .unsupported, "guidance_scale", expected: "1 (none), as this model has no \"no class\" to be guided away from,",
        found: String(guidance.scale))
    }
    try check("guidance_begin", guidance.begin, 0...1)
    try check("guidance_end", guidance.end, 0...1)
    try check("guidance_channels", guidance.channels, 0...max(model.channels, model.guidedChannels))
    try check("eta", eta, 0...1)
    guard eta == 0 || row.noise == .byEta else {
      throw DitqError(.invalidArgument, "eta", expected: "0 with the sampler " + sampler.name, found: String(eta))
    }
  }

  /// The same, asked for explicitly.
  var options: SamplingOptions {
    var options = SamplingOptions()
    (options.sampler, options.steps, options.random, options.eta) = (sampler, steps, random, eta)
    (options.guidanceScale, options.guidanceBegin, options.guidanceEnd) = (guidance.scale, guidance.begin, guidance.end)
    options.guidanceChannels = guidance.channels
    return options
  }

  var settings: SamplingSettings { model.settings }
  var compatibility: Compatibility { model.compatibility }
  var drawsNoise: Bool { row.noise == .always || eta > 0 }
  var hasHistory: Bool { row.hasHistory }

  // MARK: - A step

  /// How often the network predicts in a step.
  func predictions(of step: Int) -> Int { step == steps - 1 ? 1 : row.predictions }

  /// Halves of the batch in a step.
  func branches(of step: Int) -> Int { guidance.isActive(step: step, of: steps) ? 2 : 1 }

  /// What the network is told as the timestep of a step's prediction.
  func timestep(_ step: Int, prediction: Int = 0) -> Float { Float(timesteps[step + prediction] * settings.timestepScale) }

  /// What noise is multiplied by to be the latents before the first step.
  var firstScale: Double {
    guard row.beginsAtSpread, case .spaced(let spacing) = timesteps.choice, spacing != .leading else { return 1 }
    return (1 - alphaBar(timesteps[0])).squareRoot()
  }

  /// How an image is read out of the prediction at a place, or at another noise level.
  func reading(at place: StepPlace, alphaBar: Double? = nil) -> PredictionReading {
    PredictionReading(settings.prediction, alphaBar: alphaBar ?? place.alphaBar, clipRange: row.clips ? settings.clipRange : nil)
  }

  func place(_ step: Int, prediction: Int = 0) -> StepPlace {
    let timestep = timesteps[step]
    guard !timesteps.isFlow else {
      return StepPlace(
        step: step, steps: steps, prediction: prediction, timestep: timestep, earlierAlphaBar: 1, previousAlphaBar: 1, alphaBar: 1,
        nextAlphaBar: 1, precision: model.schedule.precision)
    }
    var next = step + 1 < steps ? timesteps[step + 1] : -1
    if row.ending == .recorded && timesteps.isSpaced { next = timestep - Double(settings.trainSteps / steps) }
    let end = row.ending == .recorded ? model.schedule.lastAlphaBar : 1
    return StepPlace(
      step: step, steps: steps, prediction: prediction, timestep: timestep, earlierAlphaBar: alphaBar(timesteps[max(0, step - 2)]),
      previousAlphaBar: alphaBar(timesteps[max(0, step - 1)]), alphaBar: alphaBar(timestep), nextAlphaBar: next >= 0 ? alphaBar(next) : end,
      precision: model.schedule.precision)
  }

  private func alphaBar(_ timestep: Double) -> Double { model.schedule.alphaBar(timestep, isDivisor: row.dividesByAlphaBar) }

  func apply(_ image: SampledImage, at place: StepPlace) { row.apply(image, place, self) }
}
