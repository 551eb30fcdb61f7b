// sin, cos, exp and log in double precision, from + − × ÷ and fused multiply-add: for embeddings and random numbers, where a few thousand
// values decide everything that follows and libm differs between systems. Good to about 1e-15, relative for exp and log, absolute for
// sin and cos; arguments of sin and cos to 1e6 in magnitude.

/// Σ coefficients[i] · xⁱ by Horner's rule; the last coefficient is the first to enter.
@inline(__always)
private func polynomial<let N: Int>(_ x: Double, _ coefficients: InlineArray<N, Double>) -> Double {
  var sum = coefficients[N - 1]
  for i in 1..<N { sum = coefficients[N - 1 - i].addingProduct(sum, x) }
  return sum
}

/// sin and cos: the argument less a multiple of π/2, subtracted in three parts, then Taylor to x¹⁷ and x¹⁶ on |r| ≤ π/4.
func sineAndCosine(_ x: Double) -> (sine: Double, cosine: Double) {
  let quarter = (x * 0.636_619_772_367_581_4).rounded(.toNearestOrEven)
  // The first two parts of π/2 have 33 bits each: their products with quarter are exact.
  var r = x.addingProduct(-quarter, 1.570_796_326_734_125_6)
  r = r.addingProduct(-quarter, 6.077_100_506_303_966e-11)
  r = r.addingProduct(-quarter, 2.022_266_248_795_950_6e-21)
  let s = r * r
  let sine =
    r
    * polynomial(
      s, [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362_880, -1 / 39_916_800, 1 / 6_227_020_800, -1 / 1_307_674_368_000, 1 / 355_687_428_096_000])
  let cosine = polynomial(
    s, [1, -1 / 2, 1 / 24, -1 / 720, 1 / 40_320, -1 / 3_628_800, 1 / 479_001_600, -1 / 87_178_291_200, 1 / 20_922_789_888_000])
  switch Int(quarter) & 3 {
  case 0: return (sine, cosine)
  case 1: return (cosine, -sine)
  case 2: return (-sine, -cosine)
  default: return (-cosine, sine)
  }
}

/// e to the x for |x| ≤ 700: Taylor to r¹³ on |r| ≤ ln 2 / 2.
func exponential(_ x: Double) -> Double {
  let n = (x * 1.442_695_040_888_963_4).rounded(.toNearestOrEven)
  let r = x.addingProduct(-n, 0.693_147_180_369_123_8).addingProduct(-n, 1.908_214_929_270_587_7e-10)
  let power = polynomial(
    r,
    [
      1, 1, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40_320, 1 / 362_880, 1 / 3_628_800, 1 / 39_916_800, 1 / 479_001_600,
      1 / 6_227_020_800,
    ])
  return power * Double(sign: .plus, exponent: Int(n), significand: 1)
}

/// ln x for normal x > 0: x = 2ᵉ · m with √½ ≤ m < √2, ln m = 2 artanh s with s = (m − 1) / (m + 1).
func logarithm(_ x: Double) -> Double {
  var exponent = Double(x.exponent), m = x.significand
  if m > 1.414_213_562_373_095_1 { (m, exponent) = (m / 2, exponent + 1) }
  let s = (m - 1) / (m + 1)
  let odd = polynomial(s * s, [1, 1 / 3, 1 / 5, 1 / 7, 1 / 9, 1 / 11, 1 / 13, 1 / 15, 1 / 17, 1 / 19, 1 / 21])
  return (2 * s * odd + exponent * 1.908_214_929_270_587_7e-10) + exponent * 0.693_147_180_369_123_8
}
