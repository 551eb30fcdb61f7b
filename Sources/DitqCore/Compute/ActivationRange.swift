// ActivationRange: what an 8-bit number of an activation stands for. Refuses scales and zero points that no range has.

/// x ≈ scale · (q − zero), the same for many rows.
struct ActivationRange {
  let scale: Float
  let zero: Float

  /// The range from `low` to `high`, widened to include 0, in 255 steps.
  init(low: Float, high: Float) {
    let low = min(low, 0), high = max(high, 0)
    let step = (high - low) / 255
    scale = step < Float.leastNormalMagnitude ? 0 : step
    zero = scale > 0 ? (-low / scale).rounded(.toNearestOrEven) : 0
  }

  /// As a file has it, to be checked: see PackedConditions.swift.
  init(unchecked scale: Float, _ zero: Float) { (self.scale, self.zero) = (scale, zero) }

  /// nil where these cannot be a range's.
  init?(scale: Float, zero: Float) {
    guard scale.isFinite && scale >= 0 && zero >= 0 && zero <= 255 && zero.rounded() == zero else { return nil }
    (self.scale, self.zero) = (scale, zero)
  }

  /// Whether a value is more than half a step outside.
  func clips(_ value: Float) -> Bool {
    guard scale > 0 else { return value != 0 }
    let level = value / scale + zero
    return !(level >= -0.5 && level <= 255.5)
  }
}
