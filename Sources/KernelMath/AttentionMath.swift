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

  /// Two rows side by side, so that neither waits for itself; a row alone is both.
  @inlinable @inline(__always)
  public static func softmaxRows(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ factor: Float, _ scales: UnsafeMutablePointer<Float>,
    _ place: UnsafeMutablePointer<UInt8>, _ tileRows: Int
  ) {
    let a = rows[0]!, b = rows[count - 1]!
    let highestOfA = highest(a, depth), highestOfB = highest(b, depth)
    let factors = Lanes(repeating: factor), steps = Lanes(repeating: 255)
    var sumOfA = Lanes.zero, sumOfB = Lanes.zero
    var target = UnsafeMutableRawPointer(place)
    forEachLanesOnce(depth) { i, lanes in
      var x = exponential((load(a, at: i, lanes) - highestOfA) * factors), y = exponential((load(b, at: i, lanes) - highestOfB) * factors)
      if lanes < 16 {
        let isPast = SIMD16<Int32>(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) .>= SIMD16(repeating: Int32(lanes))
        x.replace(with: 0, where: isPast)
        y.replace(with: 0, where: isPast)
      }
      sumOfA += x
      sumOfB += y
      let numbers = words(x * steps, y * steps, x * steps, y * steps) ^ SIMD16(repeating: tileMask)
      // Tiles are a multiple of eight deep.
      for word in 0..<((lanes + 7) & ~7) / 4 {
        if count == 2 {
          target.storeBytes(of: SIMD2(numbers[4 * word], numbers[4 * word + 1]), as: SIMD2<UInt32>.self)
        } else {
          target.storeBytes(of: numbers[4 * word], as: UInt32.self)
        }
        target += tileRows * 4
      }
    }
    scales[count - 1] = 1 / (255 * total(sumOfB))
    scales[0] = 1 / (255 * total(sumOfA))
  }
}
