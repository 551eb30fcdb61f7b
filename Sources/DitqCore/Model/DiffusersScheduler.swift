// The scheduler of a diffusers pipeline as the settings of a sampler. model_index.json names its class, which reads scheduler_config.json as
// diffusers 0.42 does: its own fields alone, each with a default of its own where it is missing.
// What it would do otherwise than the library is refused, with the field; fields that it does not read may hold anything.

func schedulerSettings(_ settings: Settings, _ index: Settings) throws(DitqError) -> SamplingSettings {
  let scheduler = try DiffusersScheduler(settings, index)
  var sampling = SamplingSettings()
  try scheduler.readSchedule(into: &sampling)
  try scheduler.readRun(into: &sampling)
  return sampling
}

/// The classes that the library has samplers for.
private enum SchedulerClass: NamedChoice {
  case ddim
  case ddpm
  case solver

  var name: String {
    switch self {
    case .ddim: "DDIMScheduler"
    case .ddpm: "DDPMScheduler"
    case .solver: "DPMSolverMultistepScheduler"
    }
  }

  /// What is left to the sampler where files say it.
  var ownSpacing: TimestepSpacing { self == .solver ? .linspace : .leading }
}

private struct DiffusersScheduler {
  private let settings: Settings
  private let kind: SchedulerClass

  init(_ settings: Settings, _ index: Settings) throws(DitqError) {
    // Where model_index.json names none, the class that the file itself names.
    let classes = Array(SchedulerClass.allCases)
    if let number = try index.className("scheduler", among: classes.mapped { $0.name }) {
      kind = classes[number]
    } else {
      guard let found = try settings.choice("_class_name", of: SchedulerClass.self) else {
        throw settings.wrong("_class_name", "the class of a scheduler", nil, .malformed)
      }
      kind = found
    }
    self.settings = settings
  }

  /// A field that Python asks only whether it is true: null is not.
  private func flag(_ field: String, default missing: Bool) throws(DitqError) -> Bool {
    guard let value = settings.json.member(field) else { return missing }
    return value.isNull ? false : try settings.bool(field, default: missing)
  }

  private func refuse(_ fields: String...) throws(DitqError) {
    for field in fields where try flag(field, default: false) { throw settings.wrong(field, "false", settings.value(field)) }
  }

  /// The noise of each training step.
  func readSchedule(into sampling: inout SamplingSettings) throws(DitqError) {
    sampling.trainSteps = try settings.integer("num_train_timesteps", in: 1...100_000, default: 1000)
    sampling.trainedBetas = try settings.betas("trained_betas", count: sampling.trainSteps)
    if sampling.trainedBetas == nil {
      sampling.betaSchedule = try settings.choice("beta_schedule", of: BetaSchedule.self) ?? .linear
      if sampling.betaSchedule != .squaredCosine {
        sampling.betaStart = try settings.number("beta_start", above: 0, below: 1, default: 1e-4)
        sampling.betaEnd = try settings.number("beta_end", above: 0, below: 1, default: 0.02)
      }
    }
    sampling.rescalesToZeroSNR = try flag("rescale_betas_zero_snr", default: false)
  }

  /// How it is sampled.
  func readRun(into sampling: inout SamplingSettings) throws(DitqError) {
    let predictions = [Prediction.epsilon, .velocityOfDiffusion, .sample]
    let predicted = try settings.choice("prediction_type", among: predictions.map { $0.name })
    sampling.prediction = predicted.map { predictions[$0] } ?? .epsilon
    try refuse("thresholding")
    let spacing = try settings.choice("timestep_spacing", of: TimestepSpacing.self) ?? kind.ownSpacing
    sampling.spacing = spacing == kind.ownSpacing ? nil : spacing
    sampling.stepsOffset = try settings.integer("steps_offset", in: 0...1000, default: 0)
    if kind == .solver {
      readForOthers(into: &sampling)
    } else if try flag("clip_sample", default: true) {
      sampling.clipRange = try settings.clipRange()
    }
    switch kind {
    case .ddim:
      sampling.sampler = .ddim
      sampling.endsInImage = try flag("set_alpha_to_one", default: true)
      sampling.fixedVariance = varianceForOthers
    case .ddpm:
      sampling.sampler = .ddpm
      // The pipeline gives the scheduler no learned variance, on which those that want one fail.
      let names = ["fixed_small", "fixed_small_log", "fixed_large"]
      sampling.fixedVariance = try settings.choice("variance_type", among: names) == 2 ? .large : .small
    case .solver:
      sampling.sampler = try solver()
      sampling.fixedVariance = varianceForOthers
    }
  }

  /// What DDPM would take over; the others do not look at it.
  private var varianceForOthers: FixedVariance? {
    let named = settings.value("variance_type")?.string ?? ""
    return FixedVariance.allCases.first { $0.name == named }
  }

  /// What the solver does not read, but another sampler in its place: nothing to be refused, and not diffusers' default of clipping.
  private func readForOthers(into sampling: inout SamplingSettings) {
    sampling.endsInImage = settings.value("set_alpha_to_one")?.bool ?? true
    guard settings.value("clip_sample")?.bool == true else { return }
    let range = settings.value("clip_sample_range")?.number ?? 1
    sampling.clipRange = range > 0 && range < 1e6 ? range : 1
  }

  /// Only the second and third order by data, ending without noise, are run: so in the second it does not matter whether the last steps of few
  /// are of lower order.
  private func solver() throws(DitqError) -> Sampler {
    let order = try settings.integer("solver_order", in: 1...3, default: 2)
    guard order > 1 else { throw settings.wrong("solver_order", "2 or 3", settings.value("solver_order")) }
    if order == 3 { try settings.require("lower_order_final", true, default: true) }
    try settings.require("algorithm_type", "dpmsolver++", default: "dpmsolver++")
    // diffusers takes the others for the first.
    try settings.require("solver_type", "midpoint", "logrho", "bh1", "bh2", default: "midpoint")
    try settings.require("final_sigmas_type", "zero", default: "zero")
    try refuse("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
    if let clipped = settings.value("lambda_min_clipped"), clipped.number != -.infinity {
      throw settings.wrong("lambda_min_clipped", "-Infinity", clipped)
    }
    for name in ["learned", "learned_range"] where settings.value("variance_type")?.string ?? "" == name {
      throw settings.wrong("variance_type", "null", settings.value("variance_type"))
    }
    return order == 3 ? .dpmpp3M : .dpmpp2M
  }
}
