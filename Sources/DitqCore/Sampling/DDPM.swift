// DDPM: ancestral sampling (Ho, Jain & Abbeel 2020) over the timesteps that are visited, with β̃ = 1 − ᾱ / ᾱ' between two of them, and with
// the learned variance where the network has one (Nichol & Dhariwal 2021, equation 15).

extension SamplerRow {
  static var ddpm: SamplerRow {
    SamplerRow(
      name: "ddpm", kinds: .ofDiffusion, prediction: .epsilon, noise: .always, clips: true,
      timesteps: { steps, settings, compatibility in
        let isRespaced = compatibility == .official && settings.spacing == nil
        return Timesteps(isRespaced ? .respaced : .spaced(settings.spacing ?? .leading), steps, settings)
      },
      apply: { image, place, run in
        DDPMStep(place, run.reading(at: place), DDPMVariance(run.settings, run.compatibility)).apply(image)
      })
  }
}

extension StepPlace {
  /// The public code's last step adds no noise, diffusers' where its timestep is 0.
  fileprivate var addsNoise: Bool { precision == .single ? timestep > 0 : !isLast }
}

/// Which variance a step has.
enum DDPMVariance {
  /// The network's, or where it has none β̃ or the posterior's.
  case learned(elseLarge: Bool)
  /// β̃, or the posterior's.
  case fixed(isLarge: Bool)

  /// Where nobody says: without a learned one the public code takes β̃, and diffusers the posterior's.
  init(_ settings: SamplingSettings, _ compatibility: Compatibility) {
    self = settings.fixedVariance.map { .fixed(isLarge: $0 == .large) } ?? .learned(elseLarge: compatibility == .official)
  }
}

struct DDPMStep {
  private let place: StepPlace
  private let reading: PredictionReading
  private let variance: DDPMVariance

  init(_ place: StepPlace, _ reading: PredictionReading, _ variance: DDPMVariance) {
    (self.place, self.reading, self.variance) = (place, reading, variance)
  }

  /// x ← (β̃ √ᾱ' · x₀ + (1 − ᾱ') √(ᾱ / ᾱ') · x) / (1 − ᾱ) + σ · noise.
  func apply(_ image: SampledImage) {
    let alphaBar = place.alphaBar, nextAlphaBar = place.nextAlphaBar, beta = 1 - place.ratio
    let ofOrigin = beta * nextAlphaBar.squareRoot() / (1 - alphaBar)
    let ofX = (1 - nextAlphaBar) * place.ratio.squareRoot() / (1 - alphaBar)
    // After a step to the image itself nothing is left of the posterior's variance; diffusers bounds it like this.
    let largest = logarithm(beta), smallest = logarithm(max(beta * (1 - nextAlphaBar) / (1 - alphaBar), 1e-20))
    let isLarge: Bool, learned: UnsafePointer<Float>?
    switch variance {
    case .learned(let elseLarge): (isLarge, learned) = (elseLarge, image.variance)
    case .fixed(let large): (isLarge, learned) = (large, nil)
    }
    let fixed = DDPMStep.deviation(logVariance: isLarge ? largest : smallest)
    for i in 0..<image.count {
      let x = Double(image.x[i]), origin = reading.origin(x, Double(image.prediction[i]))
      var next = ofOrigin * origin + ofX * x
      if let noise = image.noise, place.addsNoise {
        let share = learned.map { (Double($0[i]) + 1) / 2 }
        let sigma = share.map { DDPMStep.deviation(logVariance: $0 * largest + (1 - $0) * smallest) } ?? fixed
        next += sigma * Double(noise[i])
      }
      image.origin[i] = Float(origin)
      image.x[i] = Float(next)
    }
  }

  /// √exp(log variance). Careful: the network's share is not clamped, so that it may be anything, and exp has bounds. NaN stays what it is, for
  /// whoever looks at the latents.
  private static func deviation(logVariance: Double) -> Double {
    let half = logVariance / 2
    guard !half.isNaN else { return half }
    return half > -700 ? exponential(half < 700 ? half : 700) : 0
  }
}
