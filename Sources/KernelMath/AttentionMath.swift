// What attention on integers needs beside the GEMM: magnitudes of rows, values quantized by column, and softmax straight to 8 bits. exp is at
// most 1, so 255 steps of it have one scale for all rows; what softmax divides by is the sum of the floats, and becomes part of the row's scale.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func rowMagnitude(_ x: UnsafePointer<Float>, _ depth: Int) -> Float {
    var high = Lanes.zero
    forEachLanes(depth) { i, lanes in
      let values = load(x, at: i, lanes)
      high = larger(high, larger(values, Lanes.zero - values))
    }
    return ditqk_largest(high)
  }

  @inlinable @inline(__always)
  public static func quantizeColumns(
    _ source: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ depth: Int, _ panel: UnsafeMutablePointer<Int8>,
    _ scales: UnsafeMutablePointer<Float>
  ) {
    let left = count < 16 ? count : 16, right = count - left
    var highOfLeft = Lanes.zero, highOfRight = Lanes.zero
    for row in 0..<depth {
      let x = load(source + row * stride, at: 0, left), y = load(source + row * stride, at: 16, right)
      highOfLeft = larger(highOfLeft, larger(x, Lanes.zero - x))
      highOfRight = larger(highOfRight, larger(y, Lanes.zero - y))
    }
    let inversesOfLeft = putColumnScales(highOfLeft, scales), inversesOfRight = putColumnScales(highOfRight, scales + 16)
    var row = 0
    while row < (depth + 7) & ~7 {
      var x = SIMD16<Int32>.zero, y = SIMD16<Int32>.zero
      for i in 0..<4 where row + i < depth {
        let p = source + (row + i) * stride
        x |= signedByte(load(p, at: 0, left) * inversesOfLeft, i)
        y |= signedByte(load(p, at: 16, right) * inversesOfRight, i)
      }
      let target = UnsafeMutableRawPointer(panel + row * 32)
      target.storeBytes(of: x, as: SIMD16<Int32>.self)
      (target + 64).storeBytes(of: y, as: SIMD16<Int32>.self)
      row += 4
    }
  }

  /// The scales of columns by their largest magnitudes; answers with their inverses. As with rows, a range so small that its inverse is infinite
  /// is a range of 0.
  @inlinable @inline(__always)
  static func putColumnScales(_ high: Lanes, _ scales: UnsafeMutablePointer<Float>) -> Lanes {
    var scale = high / Lanes(repeating: 127)
    scale = scale.replacing(with: 0, where: scale .< Lanes(repeating: Float.leastNormalMagnitude))
    store(scale, scales)
    return Lanes.zero.replacing(with: Lanes(repeating: 1) / scale, where: scale .> Lanes.zero)
  }

  /// Rounded, as byte `place` of the lanes.
  @inlinable @inline(__always)
  static func signedByte(_ x: Lanes, _ place: Int) -> SIMD16<Int32> {
    let integers = unsafeBitCast(x + Lanes(repeating: 12_582_912), to: SIMD16<Int32>.self) & SIMD16(repeating: 0xff)
    return integers &<< SIMD16(repeating: Int32(8 * place))
  }

  /// Two rows side by side, so that neither waits for itself; a row alone is both. What is past the end is e^−87 of nothing: 0 beside a sum of
  /// at least 1.
  @inlinable @inline(__always)
  public static func softmaxRows(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ factor: Float, _ scales: UnsafeMutablePointer<Float>,
    _ place: UnsafeMutablePointer<UInt8>, _ tileRows: Int
  ) {
    let a = rows[0]!, b = rows[count - 1]!
    let (highestOfA, highestOfB) = highest(a, b, depth)
    let factors = Lanes(repeating: factor), steps = Lanes(repeating: 255)
    var sumOfA = Lanes.zero, sumOfB = Lanes.zero
    var target = UnsafeMutableRawPointer(place)
    var i = 0
    while i < depth {
      let lanes = depth - i < 16 ? depth - i : 16
      let x = exponential((load(a, at: i, lanes, filling: -.infinity) - highestOfA) * factors)
      let y = exponential((load(b, at: i, lanes, filling: -.infinity) - highestOfB) * factors)
      sumOfA += x
      sumOfB += y
      put(ditqk_rounded_words(x * steps, y * steps, x * steps, y * steps), of: count, lanes, target, tileRows)
      target += layout.step == 4 ? tileRows * 16 : layout.advance(from: i, rows: tileRows)
      i += 16
    }
    scales[count - 1] = 1 / (255 * ditqk_total(sumOfB))
    scales[0] = 1 / (255 * ditqk_total(sumOfA))
  }
}
