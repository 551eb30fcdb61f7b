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
