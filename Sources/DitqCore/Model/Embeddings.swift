// The two embeddings that are computed, not learned: positions on a grid and timesteps (facts from the public DiT code).

/// table [grid · grid, width]: the first half of a row encodes the column, the second the row; each half is [sines | cosines] of
/// position · 10000^(−k / (width / 4)), in double precision.
func fillPositions(_ table: UnsafeMutablePointer<Float>, grid: Int, width: Int) {
  let quarter = width / 4
  for token in 0..<grid * grid {
    for (half, position) in [token % grid, token / grid].enumerated() {
      let target = table + token * width + half * 2 * quarter
      for k in 0..<quarter {
        let (sine, cosine) = sineAndCosine(Double(position) * positionFrequency(k, of: quarter))
        target[k] = Float(sine)
        target[quarter + k] = Float(cosine)
      }
    }
  }
}

/// 10000^(−k / count).
func positionFrequency(_ k: Int, of count: Int) -> Double { exponential(-9.210_340_371_976_184 * Double(k) / Double(count)) }

/// features [256] = [cosines | sines] of timestep · exp(−ln(10000) · i / divisor). Rounded to float at each step as the public code does,
/// because an error of one ulp in a frequency is a thousand of them in the angle.
func fillTimestepFeatures(_ features: UnsafeMutablePointer<Float>, timestep: Float, divisor: Float) {
  let half = DiTConfig.timestepFeatures / 2
  for i in 0..<half {
    let exponent = Float(-9.210_340_371_976_184) * Float(i) / divisor
    var frequency = Float(exponential(Double(exponent)))
    if timestep.magnitude > mostTrainedTimestep { frequency = asTorchRounds(frequency, i, divisor) }
    let (sine, cosine) = sineAndCosine(Double(timestep * frequency))
    features[i] = Float(cosine)
    features[half + i] = Float(sine)
  }
}

/// Up to here an ulp of a frequency is within the rounding of its angle, and timesteps keep the features that they always had.
private let mostTrainedTimestep: Float = 1000

/// torch.exp rounds three of these 256 frequencies to the neighbour of the nearest float (2.13, x86-64): by a timestep of 20,000 the features
/// are off by 0.001 for that.
private func asTorchRounds(_ frequency: Float, _ i: Int, _ divisor: Float) -> Float {
  switch (divisor, i) {
  case (128, 12), (128, 106): frequency.nextUp
  case (127, 4): frequency.nextDown
  default: frequency
  }
}
