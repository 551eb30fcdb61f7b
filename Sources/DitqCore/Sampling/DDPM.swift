// DDPM: ancestral sampling (Ho, Jain & Abbeel 2020) over the timesteps that are visited, with β̃ = 1 − ᾱ / ᾱ' between two of them, and with
// the learned variance where the network has one (Nichol & Dhariwal 2021, equation 15).

struct DDPMStep {
  private let alphaBar: Double
  private let nextAlphaBar: Double
  private let isLast: Bool
  /// Where no variance was learned: β̃, as the official code has it, instead of the posterior's, as diffusers has it.
  private let hasLargeVariance: Bool

  init(_ place: StepPlace, hasLargeVariance: Bool) {
    (alphaBar, nextAlphaBar, isLast) = (place.alphaBar, place.nextAlphaBar, place.isLast)
    self.hasLargeVariance = hasLargeVariance
  }

  /// x ← (β̃ √ᾱ' · x₀ + (1 − ᾱ') √(ᾱ / ᾱ') · x) / (1 − ᾱ) + σ · noise, no noise in the last step, with x₀ = (x − √(1 − ᾱ) · ε) / √ᾱ.
  func apply(_ image: SampledImage) {
    let signal = alphaBar.squareRoot(), spread = (1 - alphaBar).squareRoot(), beta = 1 - alphaBar / nextAlphaBar
    let ofOrigin = beta * nextAlphaBar.squareRoot() / (1 - alphaBar)
    let ofX = (1 - nextAlphaBar) * (alphaBar / nextAlphaBar).squareRoot() / (1 - alphaBar)
    let largest = logarithm(beta), smallest = isLast ? largest : logarithm(beta * (1 - nextAlphaBar) / (1 - alphaBar))
    let fixed = DDPMStep.deviation(logVariance: hasLargeVariance ? largest : smallest)
    for i in 0..<image.count {
      let x = Double(image.x[i]), origin = (x - spread * Double(image.prediction[i])) / signal
      var next = ofOrigin * origin + ofX * x
      if let noise = image.noise, !isLast {
        let share = image.variance.map { (Double($0[i]) + 1) / 2 }
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
