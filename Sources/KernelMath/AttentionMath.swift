// What attention on integers needs beside the GEMM: magnitudes of rows, values quantized by column, and the terms of softmax. exp is at most 1,
// so 255 steps of it have one scale for all rows; what softmax divides by is the sum of the floats, and becomes part of the row's scale.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func rowMagnitude(_ x: UnsafePointer<Float>, _ depth: Int) -> Float {
    var high = Lanes.zero
    forEachLanes(depth) { i, lanes in
      let values = load(x, at: i, lanes)
      high = larger(high, larger(values, Lanes.zero - values))
    }
    return largest(high)
  }

  @inlinable @inline(__always)
  public static func quantizeColumns(
    _ source: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ depth: Int, _ panel: UnsafeMutablePointer<Int8>,
    _ scales: UnsafeMutablePointer<Float>
  ) {
    for half in 0..<2 {
      let columns = count - half * 16 < 16 ? (count - half * 16 < 0 ? 0 : count - half * 16) : 16
      let first = source + half * 16
      var high = Lanes.zero
      for row in 0..<depth {
        let values = load(first + row * stride, at: 0, columns)
        high = larger(high, larger(values, Lanes.zero - values))
      }
      // As with rows, a range so small that its inverse is infinite is a range of 0.
      var scale = high / Lanes(repeating: 127)
      scale = scale.replacing(with: 0, where: scale .< Lanes(repeating: Float.leastNormalMagnitude))
      store(scale, scales + half * 16)
      let inverse = Lanes.zero.replacing(with: Lanes(repeating: 1) / scale, where: scale .> Lanes.zero)
      var row = 0
      while row < (depth + 7) & ~7 {
        var words = SIMD16<Int32>.zero
        for i in 0..<4 where row + i < depth {
          let p = load(first + (row + i) * stride, at: 0, columns) * inverse
          let integers = unsafeBitCast(p + Lanes(repeating: 12_582_912), to: SIMD16<Int32>.self) & SIMD16(repeating: 0xff)
          words |= integers &<< SIMD16(repeating: Int32(8 * i))
        }
        UnsafeMutableRawPointer(panel + row * 32 + half * 64).storeBytes(of: words, as: SIMD16<Int32>.self)
        row += 4
      }
    }
  }

  @inlinable @inline(__always)
  public static func softmaxTerms(_ x: UnsafeMutablePointer<Float>, _ factor: Float, _ count: Int, _ scale: UnsafeMutablePointer<Float>) {
    scale.pointee = 1 / (255 * exponentials(x, factor, count))
  }
}
