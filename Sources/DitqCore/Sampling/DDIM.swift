// DDIM (Song, Meng & Ermon 2021), equations 12 and 16; η adds the noise.

extension SamplerRow {
  static var ddim: SamplerRow {
    SamplerRow(
      name: "ddim", kinds: .ofDiffusion, prediction: .epsilon, noise: .byEta, ending: .recorded, clips: true,
      timesteps: { steps, settings, compatibility in
        let isRespaced = compatibility == .official && settings.spacing == nil && settings.trainSteps % steps != 0
        return Timesteps(isRespaced ? .respaced : .spaced(settings.spacing ?? .leading), steps, settings)
      },
      apply: { image, place, run in DDIMStep(place, run.reading(at: place), eta: run.eta).apply(image) })
  }
}

struct DDIMStep {
  private let reading: PredictionReading
  private let nextAlphaBar: Double
  /// σ = η · √((1 − ᾱ') / (1 − ᾱ)) · √(1 − ᾱ / ᾱ').
  let sigma: Double

  init(_ place: StepPlace, _ reading: PredictionReading, eta: Double) {
    (self.reading, nextAlphaBar) = (reading, place.nextAlphaBar)
    sigma = eta * ((1 - place.nextAlphaBar) / (1 - place.alphaBar)).squareRoot() * (1 - place.ratio).squareRoot()
  }

  /// x ← √ᾱ' · x₀ + √(1 − ᾱ' − σ²) · ε + σ · noise.
  func apply(_ image: SampledImage) {
    let direction = max(0, 1 - nextAlphaBar - sigma * sigma).squareRoot(), nextSignal = nextAlphaBar.squareRoot()
    for i in 0..<image.count {
      let x = Double(image.x[i]), prediction = Double(image.prediction[i])
      let origin = reading.origin(x, prediction)
      var next = nextSignal * origin + direction * reading.epsilon(x, prediction)
      if let noise = image.noise { next += sigma * Double(noise[i]) }
      image.origin[i] = Float(origin)
      image.x[i] = Float(next)
    }
  }
}
