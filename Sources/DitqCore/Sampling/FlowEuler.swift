// Euler's method on the straight paths of flow matching (Lipman et al. 2023; SiT, Ma et al. 2024): n equal steps of t from the noise, which is
// at 0 or at 1, to the image at the other end. The network predicts dx/dt.

extension SamplerRow {
  static var flowEuler: SamplerRow {
    SamplerRow(
      name: "flow_euler", kinds: .ofFlow, prediction: .velocity, timesteps: { steps, settings, _ in Timesteps(.flow, steps, settings) },
      apply: { image, place, run in FlowEulerStep(place, noiseTimestep: run.settings.noiseTimestep).apply(image) })
  }
}

struct FlowEulerStep {
  /// What t still has to go, and what it goes in this step.
  private let rest: Double
  private let advance: Double

  init(_ place: StepPlace, noiseTimestep: Double) {
    rest = 1 - noiseTimestep - place.timestep
    advance = Timesteps.flow(place.step + 1, of: place.steps, noiseTimestep: noiseTimestep) - place.timestep
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
