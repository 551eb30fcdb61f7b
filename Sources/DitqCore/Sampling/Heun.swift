// Heun's method: two predictions a step, the second where Euler's method leads, and then the mean of both; the last step is Euler's. For noise
// (and v, and x₀) as diffusers' HeunDiscreteScheduler (Karras et al. 2022, algorithm 2): x / √ᾱ moves with σ = √(1 − ᾱ) / √ᾱ, along the predicted
// noise. For a flow x moves with t, along the predicted velocity, over the timesteps of Euler's method.

extension SamplerRow {
  static var heun: SamplerRow {
    SamplerRow(
      name: "heun", kinds: .ofBoth, prediction: .epsilon, predictions: 2, hasHistory: true, clips: true, dividesByAlphaBar: true,
      beginsAtSpread: true,
      timesteps: { steps, settings, _ in
        settings.prediction == .velocity
          ? Timesteps(.flow, steps, settings) : Timesteps(.spaced(settings.spacing ?? .linspace), steps, settings, isWhole: false)
      },
      apply: { image, place, run in HeunStep(place, run).apply(image) })
  }
}

struct HeunStep {
  private let isFlow: Bool
  private let isSecond: Bool
  private let reading: PredictionReading
  /// √ᾱ of the noise level that the step leads to; 1 of a flow.
  private let nextSignal: Double
  /// What σ, or t, goes in this step.
  private let advance: Double
  /// What t still has to go from where the prediction was made.
  private let rest: Double

  init(_ place: StepPlace, _ run: SamplingRun) {
    (isFlow, isSecond) = (run.settings.prediction == .velocity, place.prediction == 1)
    func sigma(_ alphaBar: Double) -> Double { ((1 - alphaBar) / alphaBar).squareRoot() }
    reading = run.reading(at: place, alphaBar: isSecond ? place.nextAlphaBar : place.alphaBar)
    guard isFlow else {
      (nextSignal, rest) = (place.nextAlphaBar.squareRoot(), 0)
      advance = sigma(place.nextAlphaBar) - sigma(place.alphaBar)
      return
    }
    let begin = run.settings.noiseTimestep
    let next = Timesteps.flow(place.step + 1, of: place.steps, noiseTimestep: begin),
      now = Timesteps.flow(place.step, of: place.steps, noiseTimestep: begin)
    (nextSignal, advance, rest) = (1, next - now, 1 - begin - (isSecond ? next : now))
  }

  /// First x ← x + d · h and d is kept, then x ← x + (d' − d) · h / 2, with d = dx/dσ, which is ε, or dx/dt.
  func apply(_ image: SampledImage) {
    for i in 0..<image.count {
      let x = Double(image.x[i]), prediction = Double(image.prediction[i])
      let origin = isFlow ? x + prediction * rest : reading.origin(x, prediction)
      // Of the clipped x₀, as diffusers has it.
      let slope = isFlow ? prediction : (x - reading.signal * origin) / reading.spread
      let scaled = isFlow ? x : x / reading.signal
      let moved = isSecond ? scaled + (slope - Double(image.history[i])) * advance / 2 : scaled + slope * advance
      image.origin[i] = Float(origin)
      image.history[i] = Float(slope)
      image.x[i] = Float(moved * nextSignal)
    }
  }
}
