// The two embeddings that are computed, not learned: positions on a grid and timesteps (facts from the public DiT code).

/// table [grid · grid, width]: the first half of a row encodes the column, the second the row; each half is [sines | cosines] of
/// position · 10000^(−k / (width / 4)), in double precision.
func fillPositions(_ table: UnsafeMutablePointer<Float>, grid: Int, width: Int) {
  let quarter = width / 4
  for token in 0..<grid * grid {
    for (half, position) in [token % grid, token / grid].enumerated() {
      let target = table + token * width + half * 2 * quarter
      for k in 0..<quarter {
        let frequency = exponential(-9.210_340_371_976_184 * Double(k) / Double(quarter))
        let (sine, cosine) = sineAndCosine(Double(position) * frequency)
        target[k] = Float(sine)
        target[quarter + k] = Float(cosine)
      }
    }
  }
}

/// features [256] = [cosines | sines] of timestep · exp(−ln(10000) · i / divisor). Rounded to float at each step as the public code does,
/// because an error of one ulp in a frequency is a thousand of them in the angle.
func fillTimestepFeatures(_ features: UnsafeMutablePointer<Float>, timestep: Float, divisor: Float) {
  let half = DiTConfig.timestepFeatures / 2
  for i in 0..<half {
    let exponent = Float(-9.210_340_371_976_184) * Float(i) / divisor
    let frequency = Float(exponential(Double(exponent)))
    let (sine, cosine) = sineAndCosine(Double(timestep * frequency))
    features[i] = Float(cosine)
    features[half + i] = Float(sine)
  }
}
