// DPM-Solver++ (2M) (Lu et al. 2022, algorithm 2) as diffusers runs it: predicting x₀, midpoint, the first and the last step of first order.
// The last step's x₀ is the history that the second order needs.

extension SamplerRow {
  static var dpmpp2M: SamplerRow { solver("dpmpp_2m") { image, place, run in DPMSolverStep(place, run.reading(at: place)).apply(image) } }

  /// Timesteps are spaced with one more, which is left out: the last step goes from the one before it to the image.
  static func solver(
    _ name: StaticString, hasHistory: Bool = false, apply: @escaping (SampledImage, StepPlace, SamplingRun) -> Void
  ) -> SamplerRow {
    SamplerRow(
      name: name, kinds: .ofDiffusion, prediction: .epsilon, hasHistory: hasHistory, dividesByAlphaBar: true,
      timesteps: { steps, settings, _ in Timesteps(.spaced(settings.spacing ?? .linspace), steps, settings, leavesLast: true) },
      apply: apply)
  }
}

/// λ = ln(√ᾱ / √(1 − ᾱ)).
func logarithmicSignalToNoise(_ alphaBar: Double) -> Double { logarithm(alphaBar / (1 - alphaBar)) / 2 }

struct DPMSolverStep {
  private let reading: PredictionReading
  private let nextAlphaBar: Double
  /// ½ · h / h₀, by which the change of x₀ since the last step is carried on; 0 in a step of first order.
  private let carry: Double

  init(_ place: StepPlace, _ reading: PredictionReading) {
    (self.reading, nextAlphaBar) = (reading, place.nextAlphaBar)
    let lambda = logarithmicSignalToNoise, isFirstOrder = place.isFirst || place.isLast
    carry =
      isFirstOrder
      ? 0 : (lambda(nextAlphaBar) - lambda(place.alphaBar)) / (lambda(place.alphaBar) - lambda(place.previousAlphaBar)) / 2
  }

  /// x ← (σ' / σ) · x − √ᾱ' · (e^−h − 1) · (x₀ + ½ · h / h₀ · (x₀ − last x₀)), with σ = √(1 − ᾱ) and e^−h = √ᾱ σ' / (σ √ᾱ').
  func apply(_ image: SampledImage) {
    let ratio = (1 - nextAlphaBar).squareRoot() / reading.spread, gain = nextAlphaBar.squareRoot() - reading.signal * ratio
    for i in 0..<image.count {
      let x = Double(image.x[i]), origin = reading.origin(x, Double(image.prediction[i]))
      let carried = carry == 0 ? origin : origin + carry * (origin - Double(image.origin[i]))
      image.origin[i] = Float(origin)
      image.x[i] = Float(ratio * x + gain * carried)
    }
  }
}
