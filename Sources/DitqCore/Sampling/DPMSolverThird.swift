// DPM-Solver++ (3M) (Lu et al. 2022) as diffusers runs it with solver_order 3: predicting x₀, by that of three predictions; the first and the last
// step are of first order, the second, and in runs of fewer than 15 steps the last but one, of second.

extension SamplerRow {
  static var dpmpp3M: SamplerRow {
    solver("dpmpp_3m", hasHistory: true) { image, place, run in DPMSolverThirdStep(place, run.reading(at: place)).apply(image) }
  }
}

struct DPMSolverThirdStep {
  private let reading: PredictionReading
  private let nextAlphaBar: Double
  /// What x₀'s first and second divided difference are taken with; 0 in steps of lower order.
  private let ofFirst: Double
  private let ofSecond: Double
  /// h₀ / h and h₁ / h: the steps before in proportion to this one.
  private let last: Double
  private let lastButOne: Double
  private let isThirdOrder: Bool

  private static let fewSteps = 15

  init(_ place: StepPlace, _ reading: PredictionReading) {
    (self.reading, nextAlphaBar) = (reading, place.nextAlphaBar)
    let lambda = logarithmicSignalToNoise, now = lambda(place.alphaBar), previous = lambda(place.previousAlphaBar)
    let isFirstOrder = place.isFirst || place.isLast
    let isSecondOrder = place.step == 1 || (place.step == place.steps - 2 && place.steps < DPMSolverThirdStep.fewSteps)
    isThirdOrder = !isFirstOrder && !isSecondOrder
    guard !isFirstOrder else {
      (ofFirst, ofSecond, last, lastButOne) = (0, 0, 1, 1)
      return
    }
    let h = lambda(place.nextAlphaBar) - now, signal = place.nextAlphaBar.squareRoot()
    last = (now - previous) / h
    lastButOne = isThirdOrder ? (previous - lambda(place.earlierAlphaBar)) / h : 1
    // e^−h − 1
    let shrinking = (place.alphaBar / place.nextAlphaBar * (1 - place.nextAlphaBar) / (1 - place.alphaBar)).squareRoot() - 1
    ofFirst = isThirdOrder ? signal * (shrinking / h + 1) : -signal * shrinking / 2
    ofSecond = isThirdOrder ? -signal * ((shrinking + h) / (h * h) - 0.5) : 0
  }

  /// x ← (σ' / σ) · x − √ᾱ' · (e^−h − 1) · x₀ + a · D₁ + b · D₂, with the divided differences of x₀ over the last predictions.
  func apply(_ image: SampledImage) {
    let ratio = (1 - nextAlphaBar).squareRoot() / reading.spread, gain = nextAlphaBar.squareRoot() - reading.signal * ratio
    for i in 0..<image.count {
      let x = Double(image.x[i]), origin = reading.origin(x, Double(image.prediction[i])), before = Double(image.origin[i])
      var next = ratio * x + gain * origin
      if ofFirst != 0 {
        let difference = (origin - before) / last
        var first = difference
        if isThirdOrder {
          let change = difference - (before - Double(image.history[i])) / lastButOne
          first += last / (last + lastButOne) * change
          next += ofSecond * (change / (last + lastButOne))
        }
        next += ofFirst * first
      }
      image.history[i] = image.origin[i]
      image.origin[i] = Float(origin)
      image.x[i] = Float(next)
    }
  }
}
