// Classifier-free guidance (Ho & Salimans 2021): ε = ε_none + scale · (ε_class − ε_none), on the first channels only where the model's code
// base does so; the other channels stay the class's own.

struct Guidance {
  let scale: Double
  /// Steps guided: those whose progress i / n is in this range.
  let begin: Double
  let end: Double
  let channels: Int
  /// diffusers runs one branch for every scale ≤ 1, the official code for 1 alone.
  let isOff: Bool

  func isActive(step: Int, of steps: Int) -> Bool {
    let progress = Double(step) / Double(steps)
    return !isOff && begin <= progress && progress < end
  }

  /// Mixes `none` into `prediction`, the class's own, over the guided channels of `area` values each.
  func mix(_ prediction: UnsafeMutablePointer<Float>, none: UnsafePointer<Float>, area: Int) {
    let scale = Float(self.scale)
    for i in 0..<channels * area { prediction[i] = none[i] + scale * (prediction[i] - none[i]) }
  }
}
