// Weights to 8 or 4 bits: a scale and zero point for some that share them, and the numbers that these make of them.
//
//   p = clamp(round(w / scale), low − zero, high − zero), w ≈ scale · p;  with low = 0 there is a zero point, else it is 0
//   error of a scale = Σ (w / scale − p)² · scale², a sum of floats in sixteen chains, element i in chain i mod 16, added up by halves

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func fitWeights(
    _ x: UnsafePointer<Float>, _ count: Int, _ low: Float, _ high: Float, _ clips: Int, _ scale: UnsafeMutablePointer<Float>,
    _ zero: UnsafeMutablePointer<Float>
  ) {
    var bottoms = Lanes.zero, tops = Lanes.zero
    var i = 0
    while i < count {
      let values = load(x + i)
      (bottoms, tops) = (smaller(bottoms, values), larger(tops, values))
      i += 16
    }
    let top = ditqk_largest(tops), bottom = ditqk_largest(Lanes.zero - bottoms), hasZero = low == 0
    (scale.pointee, zero.pointee) = (0, 0)
    var least = Double.infinity
    for step in 0..<clips {
      let clip = 1 - 0.01 * Float(step)
      let size = (hasZero ? top + bottom : top < bottom ? bottom : top) * clip / high, square = Double(size) * Double(size)
      guard size > 0 else { break }
      // Of both ends beyond the levels, or the further one. It grows from clip to clip; once it alone costs more than the least error, so does
      // every range to come. A thousandth is for rounding.
      let over = top / size - high, under = bottom / size + low
      let beyond = hasZero ? (over + under) * 0.7071 : over < under ? under : over
      if beyond > 0 && Double(beyond * beyond) * square > least * 1.001 { break }
      var middle = hasZero ? rounded(bottom * clip / size) : 0
      if middle > high { middle = high }  // of subnormals
      let error = Double(squares(x, clips > 1 ? count : 0, size, low - middle, high - middle)) * square
      if error < least { (least, scale.pointee, zero.pointee) = (error, size, middle) }
    }
  }

  @inlinable @inline(__always)
  static func squares(_ x: UnsafePointer<Float>, _ count: Int, _ scale: Float, _ lowest: Float, _ highest: Float) -> Float {
    var sums = Lanes.zero
    var i = 0
    while i < count {
      let quotient = load(x + i) / Lanes(repeating: scale), difference = quotient - level(quotient, lowest, highest)
      sums += difference * difference
      i += 16
    }
    return ditqk_total(sums)
  }

  @inlinable @inline(__always)
  public static func quantizeWeights(
    _ x: UnsafePointer<Float>, _ depth: Int, _ scale: Float, _ lowest: Float, _ highest: Float, _ offset: Float, isHalved: Bool,
    _ place: UnsafeMutableRawPointer
  ) -> Float {
    let divisor = Lanes(repeating: scale > 0 ? scale : .infinity), shifter = Lanes(repeating: 12_582_912 + offset)
    var sums = Lanes.zero
    var target = place
    var i = 0
    while i < depth {
      let p = level(load(x + i) / divisor, lowest, highest), isWhole = i + 16 <= depth
      sums += p
      let words = unsafeBitCast(ditqk_narrow(unsafeBitCast(p + shifter, to: SIMD16<Int32>.self)), to: SIMD4<UInt32>.self)
      if isHalved {
        target.storeBytes(of: words[0] | words[1] &<< 4, as: UInt32.self)
        if isWhole { (target + 128).storeBytes(of: words[2] | words[3] &<< 4, as: UInt32.self) }
        target += 256
      } else {
        target.storeBytes(of: words[0], as: UInt32.self)
        (target + 128).storeBytes(of: words[1], as: UInt32.self)
        if isWhole {
          (target + 256).storeBytes(of: words[2], as: UInt32.self)
          (target + 384).storeBytes(of: words[3], as: UInt32.self)
        }
        target += 512
      }
      i += 16
    }
    return ditqk_total(sums)
  }

  @inlinable @inline(__always) static func level(_ quotient: Lanes, _ lowest: Float, _ highest: Float) -> Lanes {
    let shifter = Lanes(repeating: 12_582_912), top = Lanes(repeating: highest), bottom = Lanes(repeating: lowest)
    var level = (quotient + shifter) - shifter
    level = level.replacing(with: top, where: level .> top)
    return level.replacing(with: bottom, where: level .< bottom)
  }
}
