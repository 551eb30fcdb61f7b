// DDIM (Song, Meng & Ermon 2021), equations 12 and 16; η adds the noise.

struct DDIMStep {
  /// ᾱ of this timestep and of the next one to come, which is 1 after the last.
  let alphaBar: Double
  let nextAlphaBar: Double
  let eta: Double

  /// σ = η · √((1 − ᾱ') / (1 − ᾱ)) · √(1 − ᾱ / ᾱ').
  var sigma: Double { eta * ((1 - nextAlphaBar) / (1 - alphaBar)).squareRoot() * (1 - alphaBar / nextAlphaBar).squareRoot() }

  /// x ← √ᾱ' · x₀ + √(1 − ᾱ' − σ²) · ε + σ · noise, with x₀ = (x − √(1 − ᾱ) · ε) / √ᾱ.
  func apply(_ image: SampledImage) {
    let sigma = self.sigma
    let direction = max(0, 1 - nextAlphaBar - sigma * sigma).squareRoot()
    let signal = alphaBar.squareRoot(), spread = (1 - alphaBar).squareRoot(), nextSignal = nextAlphaBar.squareRoot()
    for i in 0..<image.count {
      let epsilon = Double(image.prediction[i])
      let origin = (Double(image.x[i]) - spread * epsilon) / signal
      var next = nextSignal * origin + direction * epsilon
      if let noise = image.noise { next += sigma * Double(noise[i]) }
      image.origin[i] = Float(origin)
      image.x[i] = Float(next)
    }
  }
}
