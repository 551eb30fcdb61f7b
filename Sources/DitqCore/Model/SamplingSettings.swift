// SamplingSettings: what a file records of how its model was trained and is best sampled. Plain data: the Sampling floor gives it meaning.
// A new sampler has its number, name and kind of prediction here, and its steps in a file of that floor.

/// What the network was trained to predict.
enum Prediction: CaseIterable {
  /// The noise ε of x = √ᾱ · x₀ + √(1 − ᾱ) · ε.
  case epsilon
  /// The velocity dx/dt of the straight path from noise to image.
  case velocity

  var name: String { self == .epsilon ? "epsilon" : "velocity" }
}

/// Numbers are those of ditq.h, names those of model files.
enum Sampler: Int32, CaseIterable {
  case ddim = 1
  case ddpm = 2
  case dpmpp2M = 3
  case flowEuler = 4

  var name: String {
    switch self {
    case .ddim: "ddim"
    case .ddpm: "ddpm"
    case .dpmpp2M: "dpmpp_2m"
    case .flowEuler: "flow_euler"
    }
  }

  /// What it takes a network's output for.
  var prediction: Prediction { self == .flowEuler ? .velocity : .epsilon }
}

struct SamplingSettings {
  /// Linear betas from `betaStart` to `betaEnd` over `trainSteps` steps; of no meaning to a model that predicts velocity.
  var trainSteps = 1000
  var betaStart = 1e-4
  var betaEnd = 0.02
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
  }

  /// What is predicted, and the sampler, which has to fit it: but one that a less trusted source names is then not the one to use.
  private mutating func readPrediction(_ settings: Settings) throws(DitqError) {
    var said = try settings.choice("sampler", among: Sampler.allCases.map { $0.name }).map { Sampler.allCases[$0] }
    let predicted = try settings.choice("prediction", among: Prediction.allCases.map { $0.name }).map { Prediction.allCases[$0] }
    prediction = predicted ?? said?.prediction ?? .epsilon
    if let named = said, named.prediction != prediction {
      guard settings.source(of: "prediction")?.rawValue ?? 0 < settings.source(of: "sampler")?.rawValue ?? 0 else {
        let needed = named.prediction.name + ", as the sampler " + named.name + " needs it,"
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
    if prediction == .velocity {
      add("noise_timestep", String(Int(noiseTimestep)))
      add("timestep_scale", String(timestepScale))
    }
    if let steps { add("steps", String(steps)) }
    if let scale = guidanceScale { add("guidance_scale", String(scale)) }
    return text
  }
}
