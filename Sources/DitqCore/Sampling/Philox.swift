// Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011), and normals from it that depend on nothing but the seed, the draw and the place:
//
//   key      low and high 32 bits of the seed
//   counter  low and high 32 bits of the block, low and high 32 bits of the draw: 0 for the first latents, 1 + s for the noise of step s
//   values   block b gives r₀ … r₃ and from them the values 4b … 4b + 3 of an image [C, S, S]: with ρ = √(−2 ln((r₀ + 1) · 2⁻³²)) and
//            θ = 2π · r₁ · 2⁻³² the first two are ρ cos θ and ρ sin θ (Box & Muller 1958), and r₂, r₃ give the other two likewise;
//            in double precision, with the logarithm, sine and cosine of Compute/ScalarMath.swift, then rounded to a float

enum Philox {
  /// Ten rounds.
  static func block(_ counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var c = counter, k = key
    for _ in 0..<10 {
      let even = UInt64(c[0]) * 0xd251_1f53, odd = UInt64(c[2]) * 0xcd9e_8d57
      c = [high(odd) ^ c[1] ^ k[0], low(odd), high(even) ^ c[3] ^ k[1], low(even)]
      k = [k[0] &+ 0x9e37_79b9, k[1] &+ 0xbb67_ae85]
    }
    return c
  }

  /// Left undone where the call is cancelled.
  static func fillNormal(
    _ values: UnsafeMutablePointer<Float>, count: Int, seed: UInt64, draw: Int, _ cancellation: Cancellation? = nil
  ) {
    for start in stride(from: 0, to: count, by: 4) {
      if cancellation?.isAsked == true { return }
      let block = UInt64(start / 4), draw = UInt64(draw)
      let bits = Philox.block([low(block), high(block), low(draw), high(draw)], key: [low(seed), high(seed)])
      for pair in 0..<2 where start + 2 * pair < count {
        let radius = (-2 * logarithm((Double(bits[2 * pair]) + 1) * 0x1p-32)).squareRoot()
        let (sine, cosine) = sineAndCosine(2 * Double.pi * (Double(bits[2 * pair + 1]) * 0x1p-32))
        values[start + 2 * pair] = Float(radius * cosine)
        if start + 2 * pair + 1 < count { values[start + 2 * pair + 1] = Float(radius * sine) }
      }
    }
  }

  private static func low(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word) }
  private static func high(_ word: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: word >> 32) }
}
