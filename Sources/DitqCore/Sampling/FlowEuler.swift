// Euler's method on the straight paths of flow matching (Lipman et al. 2023; SiT, Ma et al. 2024): n equal steps of t from the noise, which is
// at 0 or at 1, to the image at the other end. The network predicts dx/dt.

struct FlowEulerStep {
  /// What t still has to go, and what it goes in this step.
  private let rest: Double
  private let advance: Double

  init(_ place: StepPlace, noiseTimestep: Double) {
    let now = FlowEulerStep.timestep(place.step, of: place.steps, noiseTimestep: noiseTimestep)
    rest = 1 - noiseTimestep - now
    advance = FlowEulerStep.timestep(place.step + 1, of: place.steps, noiseTimestep: noiseTimestep) - now
  }

  /// t at the beginning of a step.
  static func timestep(_ step: Int, of steps: Int, noiseTimestep: Double) -> Double {
    let progress = Double(step) / Double(steps)
    return noiseTimestep == 0 ? progress : 1 - progress
  }

  /// x ← x + v · Δt; x₀ = x + v · (what is left of t).
  func apply(_ image: SampledImage) {
    for i in 0..<image.count {
      let x = Double(image.x[i]), velocity = Double(image.prediction[i])
      image.origin[i] = Float(x + velocity * rest)
      image.x[i] = Float(x + velocity * advance)
    }
  }
}
