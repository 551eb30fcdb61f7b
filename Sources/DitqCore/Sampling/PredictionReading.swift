// What a network's prediction says of an image at a noise level: the image x₀ it is taken for, and the noise ε in it. Relies on
// x = √ᾱ · x₀ + √(1 − ᾱ) · ε.

struct PredictionReading {
  private let kind: Prediction
  /// √ᾱ and √(1 − ᾱ).
  let signal: Double
  let spread: Double
  private let clipRange: Double?

  init(_ kind: Prediction, alphaBar: Double, clipRange: Double?) {
    (self.kind, self.clipRange) = (kind, clipRange)
    (signal, spread) = (alphaBar.squareRoot(), (1 - alphaBar).squareRoot())
  }

  /// x₀, clipped where that is asked for.
  @inline(__always)
  func origin(_ x: Double, _ prediction: Double) -> Double {
    let origin: Double
    switch kind {
    case .epsilon, .velocity: origin = (x - spread * prediction) / signal
    case .sample: origin = prediction
    case .velocityOfDiffusion: origin = signal * x - spread * prediction
    }
    guard let clipRange else { return origin }
    return min(max(origin, -clipRange), clipRange)
  }

  /// ε, of the prediction itself whatever is clipped.
  @inline(__always)
  func epsilon(_ x: Double, _ prediction: Double) -> Double {
    switch kind {
    case .epsilon, .velocity: prediction
    case .sample: (x - signal * prediction) / spread
    case .velocityOfDiffusion: signal * prediction + spread * x
    }
  }
}
