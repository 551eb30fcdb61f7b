// exp, SiLU and GELU on Lanes, from + − × ÷ and fused multiply-add alone: libm differs between systems, these do not.
//
// exp(x) = 2ⁿ · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2. ln 2 is subtracted in two parts, the first short enough for n · part to be
// exact. e^r is the Taylor polynomial of degree 7, whose remainder r⁸/8! is below 6e-9, a twentieth of an ulp.

extension KernelSet {
  @inlinable @inline(__always) static func polynomial(_ r: Lanes) -> Lanes {
    var p = Lanes(repeating: 1 / 5040)
    p = Lanes(repeating: 1 / 720).addingProduct(p, r)
    p = Lanes(repeating: 1 / 120).addingProduct(p, r)
    p = Lanes(repeating: 1 / 24).addingProduct(p, r)
    p = Lanes(repeating: 1 / 6).addingProduct(p, r)
    p = Lanes(repeating: 1 / 2).addingProduct(p, r)
    p = Lanes(repeating: 1).addingProduct(p, r)
    return Lanes(repeating: 1).addingProduct(p, r)
  }

  /// e to the x for −87 ≤ x ≤ 88; beyond, the value at the nearer end, so that no result is subnormal or infinite. NaN stays NaN.
  @inlinable @inline(__always) public static func powerOfE(_ argument: Lanes) -> Lanes {
    var x = argument
    x = x.replacing(with: Lanes(repeating: -87), where: x .< Lanes(repeating: -87))
    x = x.replacing(with: Lanes(repeating: 88), where: x .> Lanes(repeating: 88))
    // Adding 1.5·2²³ rounds to the nearest integer, which is then in the low bits of the sum.
    let shifter = Lanes(repeating: 12_582_912)
    let shifted = shifter.addingProduct(x, Lanes(repeating: 1.442_695_04))
    let n = shifted - shifter
    var r = x.addingProduct(n, Lanes(repeating: -0.693_359_375))
    r = r.addingProduct(n, Lanes(repeating: 2.121_944_4e-4))
    let exponent = (unsafeBitCast(shifted, to: SIMD16<Int32>.self) &- SIMD16(repeating: 0x4B40_0000 - 127)) &<< SIMD16(repeating: 23)
    return polynomial(r) * unsafeBitCast(exponent, to: Lanes.self)
  }

  /// Careful: a constant decides, not a method of the set. The compiler inlines no such method that is longer than this, and a call passes sixteen
  /// floats in four pieces. Look for calls in the assembly of a kernel after any change.
  @inlinable @inline(__always) static func exponential(_ x: Lanes) -> Lanes { callsExponential ? powerOfECalled(x) : powerOfE(x) }

  @inlinable @inline(never) static func powerOfECalled(_ x: Lanes) -> Lanes { powerOfE(x) }

  /// x / (1 + e^−x).
  @inlinable @inline(__always) public static func silu(_ x: Lanes) -> Lanes {
    x / (Lanes(repeating: 1) + exponential(Lanes.zero - x))
  }

  /// ½x(1 + tanh u) with u = √(2/π)(x + 0.044715x³), written as x / (1 + e^−2u).
  @inlinable @inline(__always) public static func gelu(_ x: Lanes) -> Lanes {
    let cubic = Lanes(repeating: -1.595_769_1).addingProduct(x * x, Lanes(repeating: -0.071_354_81))
    return x / (Lanes(repeating: 1) + exponential(x * cubic))
  }
}
