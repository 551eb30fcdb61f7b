// SQNR, the measure of quantization: 10 · log10(Σ ref² / Σ (ref − out)²) in dB, of values that come in pieces.

struct SignalAndNoise {
  private(set) var signal = 0.0
  private(set) var noise = 0.0

  /// What is answered where nothing differs; no measured value comes near it.
  static let most = 300.0

  mutating func add(_ reference: UnsafePointer<Float>, _ output: UnsafePointer<Float>, count: Int, weight: Double = 1) {
    for i in 0..<count {
      let wanted = Double(reference[i]), difference = wanted - Double(output[i])
      signal += wanted * wanted * weight
      noise += difference * difference * weight
    }
  }

  mutating func add(_ other: SignalAndNoise) {
    signal += other.signal
    noise += other.noise
  }

  /// In dB, at most `most`; the negative of it where there is noise and no signal, or either is no number.
  var decibels: Double {
    guard signal.isFinite && noise.isFinite else { return -SignalAndNoise.most }
    guard noise > 0 else { return SignalAndNoise.most }
    guard signal > 0 else { return -SignalAndNoise.most }
    return max(-SignalAndNoise.most, min(SignalAndNoise.most, 10 * logarithm(signal / noise) / 2.302_585_092_994_046))
  }
}
