// SamplingSettings: what a file records of how its model was trained and is best sampled. Plain data, which the samplers give a meaning. Refuses
// a sampler that does not go by what is predicted.

/// What the network was trained to predict.
enum Prediction: NamedChoice {
  /// The noise ε of x = √ᾱ · x₀ + √(1 − ᾱ) · ε.
  case epsilon
  /// √ᾱ · ε − √(1 − ᾱ) · x₀ (Salimans & Ho 2022).
  case velocityOfDiffusion
  /// x₀.
  case sample
  /// The velocity dx/dt of the straight path from noise to image.
  case velocity

  var name: String {
    switch self {
    case .epsilon: "epsilon"
    case .velocityOfDiffusion: "v_prediction"
    case .sample: "sample"
    case .velocity: "velocity"
    }
  }
}

/// How β goes from `betaStart` to `betaEnd`.
enum BetaSchedule: NamedChoice {
  case linear
  /// √β is linear.
  case scaledLinear
  /// By the cosine of Nichol & Dhariwal 2021, whatever the ends are; β at most 0.999.
  case squaredCosine

  var name: String {
    switch self {
    case .linear: "linear"
    case .scaledLinear: "scaled_linear"
    case .squaredCosine: "squaredcos_cap_v2"
    }
  }
}

/// Which of the training's timesteps a run visits (Lin et al. 2023, table 2).
enum TimestepSpacing: NamedChoice {
  case leading
  case trailing
  case linspace

  var name: String {
    switch self {
    case .leading: "leading"
    case .trailing: "trailing"
    case .linspace: "linspace"
    }
  }
}

/// The variance of DDPM's steps, whatever the network says of it: the posterior's, or β.
enum FixedVariance: NamedChoice {
  case small
  case large

  var name: String { self == .small ? "fixed_small" : "fixed_large" }
}

struct SamplingSettings {
  /// Betas from `betaStart` to `betaEnd` over `trainSteps` steps, or those of the training where there are; of no meaning, like all down to
  /// `fixedVariance`, to a model that predicts velocity.
  var trainSteps = 1000
  var betaStart = 1e-4
  var betaEnd = 0.02
  var betaSchedule = BetaSchedule.linear
  var trainedBetas: [Double]?
  /// So that nothing is left of the image at the last timestep.
  var rescalesToZeroSNR = false
  /// DDIM's last step ends where ᾱ is 1, else at the first timestep.
  var endsInImage = true
  /// nil: each sampler's own.
  var spacing: TimestepSpacing?
  /// What is added to timesteps of leading spacing.
  var stepsOffset = 0
  /// DDIM, DDPM and Heun's method clip what they take the image for to ± this.
  var clipRange: Double?
  /// nil: DDPM takes the variance that the network learned, else what its code base has.
  var fixedVariance: FixedVariance?
  var prediction = Prediction.epsilon
  /// Of a model that predicts velocity: the t of pure noise, 0 or 1, and what t is multiplied by before the network is told it.
  var noiseTimestep = 0.0
  var timestepScale = 1.0
  /// The sampler, and the steps and guidance scale it is best used with, where the file says.
  var sampler = Sampler.ddim
  var steps: Int?
  var guidanceScale: Double?

  init() {}

  /// What is said of it, the rest as it usually is.
  init(_ settings: Settings) throws(DitqError) {
    try readPrediction(settings)
    if prediction == .velocity {
      noiseTimestep = Double(try settings.integer("noise_timestep", in: 0...1, default: 0))
      timestepScale = try settings.number("timestep_scale", above: 0, below: 100_001, default: 1)
    } else {
      for field in ["noise_timestep", "timestep_scale"] { try settings.requireNothing(field) }
    }
    steps = try settings.optionalInteger("steps", in: 1...1000)
    if settings.value("guidance_scale") != nil {
      guidanceScale = try settings.number("guidance_scale", above: -0.5, below: 1001, default: 1)
    }
    trainSteps = try settings.integer("train_steps", in: 1...100_000, default: 1000)
    betaStart = try settings.number("beta_start", above: 0, below: 1, default: 1e-4)
    betaEnd = try settings.number("beta_end", above: 0, below: 1, default: 0.02)
    try readUnusualFields(settings)
  }

  /// What is predicted, and the sampler, which has to fit it: but one that a less trusted source names is then not the one to use.
  private mutating func readPrediction(_ settings: Settings) throws(DitqError) {
    var said = try settings.choice("sampler", among: Sampler.allCases.map { $0.name }).map { Sampler.allCases[$0] }
    let predicted = try settings.choice("prediction", among: Prediction.allCases.map { $0.name }).map { Prediction.allCases[$0] }
    prediction = predicted ?? said?.row.prediction ?? .epsilon
    if let named = said, !named.goes(by: prediction) {
      guard settings.source(of: "prediction")?.rawValue ?? 0 < settings.source(of: "sampler")?.rawValue ?? 0 else {
        let needed = named.row.prediction.name + ", as the sampler " + named.name + " needs it,"
        throw settings.wrong("prediction", needed, settings.value("prediction"), .malformed)
      }
      said = nil
    }
    sampler = said ?? (prediction == .velocity ? .flowEuler : .ddim)
  }

  /// The fields of a JSON object, as a ditq.config has them.
  var jsonFields: String {
    var text = "\"sampler\": \"" + sampler.name + "\", \"prediction\": \"" + prediction.name + "\""
    func add(_ field: String, _ value: String) { text += ", \"" + field + "\": " + value }
    add("train_steps", String(trainSteps))
    add("beta_start", String(betaStart))
    add("beta_end", String(betaEnd))
    text += unusualFields
    if prediction == .velocity {
      add("noise_timestep", String(Int(noiseTimestep)))
      add("timestep_scale", String(timestepScale))
    }
    if let steps { add("steps", String(steps)) }
    if let scale = guidanceScale { add("guidance_scale", String(scale)) }
    return text
  }
}
