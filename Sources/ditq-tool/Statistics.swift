// What is made of repeated measurements — median and best — and how figures are written. Relies on nothing but the standard library.

/// Rates measured several times: more is better.
struct Rates {
  private var sorted: [Double] = []

  var count: Int { sorted.count }
  var best: Double { sorted.last ?? 0 }

  /// The middle one, or the mean of the middle two; 0 where nothing was measured.
  var median: Double {
    guard !sorted.isEmpty else { return 0 }
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }

  mutating func add(_ rate: Double) {
    sorted.insert(rate, at: sorted.firstIndex { $0 > rate } ?? sorted.endIndex)
  }
}

/// The same numbers every time: splitmix64 (Steele, Lea, Flood 2014); `next` is its 24 high bits, in [−1, 1).
struct FixedRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func bits() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func next() -> Float { Float(bits() >> 40) * 0x1p-23 - 1 }

  mutating func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

/// A figure that is not negative, with so many digits after the point: a valid JSON number in any locale. One that is none, or that has more digits
/// than it can vouch for, as files may hold, is shown as it is.
func fixed(_ value: Double, digits: Int) -> String {
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  guard let whole = Int64(exactly: (value * scale).rounded()) else { return value.description }
  let text = String(whole)
  let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
  return digits == 0 ? padded : "\(padded.dropLast(digits)).\(padded.suffix(digits))"
}

extension Duration {
  var seconds: Double { Double(components.seconds) + 1e-18 * Double(components.attoseconds) }
}
