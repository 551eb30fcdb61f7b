// Rows of floats to 8 bits, and 4-bit weights to 8: q = clamp(round(x / scale + zero), 0, 255), x ≈ scale · (q − zero). The range of a row
// always includes 0, so that 0 is exact; a row of zeros has scale 0 and every q equal to its zero point 0.

import CKernels

extension KernelSet {
  /// Two rows side by side, so that neither waits for itself; a row alone is both.
  @inlinable @inline(__always)
  public static func rowRanges(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ scales: UnsafeMutablePointer<Float>,
    _ zeros: UnsafeMutablePointer<Float>, isSigned: Bool
  ) {
    var row = 0
    while row < count {
      let last = row + 1 < count ? row + 1 : row, a = rows[row]!, b = rows[last]!, next = 2 * (b - a)
      var lowOfA = Lanes.zero, highOfA = Lanes.zero, lowOfB = Lanes.zero, highOfB = Lanes.zero
      forEachLanes(depth) { i, lanes in
        // Rows are read for the first time here, and the hardware does not look beyond a page.
        ditqk_prefetch_later(a + i + next)
        ditqk_prefetch_later(b + i + next)
        let x = load(a, at: i, lanes), y = load(b, at: i, lanes)
        (lowOfA, highOfA) = (smaller(lowOfA, x), larger(highOfA, x))
        (lowOfB, highOfB) = (smaller(lowOfB, y), larger(highOfB, y))
      }
      let ends = ditqk_largest_of_four(highOfA, Lanes.zero - lowOfA, highOfB, Lanes.zero - lowOfB)
      (scales[last], zeros[last]) = range(top: ends[2], bottom: -ends[3], isSigned)
      (scales[row], zeros[row]) = range(top: ends[0], bottom: -ends[1], isSigned)
      row += 2
    }
  }

  /// The scale and zero point of 255 steps from bottom to top, or of 127 to the farther of them on either side.
  @inlinable @inline(__always)
  static func range(top: Float, bottom: Float, _ isSigned: Bool) -> (scale: Float, zero: Float) {
    let step = isSigned ? (top < -bottom ? -bottom : top) / 127 : (top - bottom) / 255
    // A range so small that its inverse is infinite is a range of 0.
    let scale = step < Float.leastNormalMagnitude ? 0 : step
    return (scale, isSigned ? 128 : scale > 0 ? rounded(-bottom / scale) : 0)
  }

  @inlinable @inline(__always)
  public static func quantizeRows(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ scales: UnsafePointer<Float>,
    _ zeros: UnsafePointer<Float>, _ place: UnsafeMutablePointer<UInt8>, _ tileRows: Int
  ) {
    quantize(rows, count, depth, scales, zeros, UnsafeMutableRawPointer(place), tileRows, layout)
  }

  /// Columns of a panel are rows of the tile that it is.
  @inlinable @inline(__always)
  public static func quantizeKeys(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ scales: UnsafePointer<Float>,
    _ zeros: UnsafePointer<Float>, _ first: Int, _ panel: UnsafeMutablePointer<Int8>
  ) {
    let place = UnsafeMutableRawPointer(panel) + panelLayout.place(row: first, input: 0, rows: 32)
    quantize(rows, count, depth, scales, zeros, place, 32, panelLayout)
  }

  /// Four rows side by side; fewer, and the last of them again. Meanwhile the rows behind them are asked for. Long: called, not inlined.
  @inlinable @inline(never)
  static func quantize(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ scales: UnsafePointer<Float>,
    _ zeros: UnsafePointer<Float>, _ place: UnsafeMutableRawPointer, _ tileRows: Int, _ layout: TileLayout
  ) {
    let last = count - 1, second = count > 1 ? 1 : 0, third = count > 2 ? 2 : last
    let a = rows[0]!, b = rows[second]!, c = rows[third]!, d = rows[last]!
    let scaleA = inverse(scales[0]), scaleB = inverse(scales[second]), scaleC = inverse(scales[third]), scaleD = inverse(scales[last])
    let zeroA = Lanes(repeating: zeros[0]), zeroB = Lanes(repeating: zeros[second])
    let zeroC = Lanes(repeating: zeros[third]), zeroD = Lanes(repeating: zeros[last])
    let stride = b - a, mask = UInt32(layout.sign) &* 0x0101_0101
    var next = d + stride
    var target = place
    forEachLanes(depth) { i, lanes in
      for row in 0..<4 { ditqk_prefetch_read(next + row * stride) }
      next += 16
      let words =
        ditqk_rounded_words(
          zeroA.addingProduct(load(a, at: i, lanes), scaleA), zeroB.addingProduct(load(b, at: i, lanes), scaleB),
          zeroC.addingProduct(load(c, at: i, lanes), scaleC), zeroD.addingProduct(load(d, at: i, lanes), scaleD))
      // Where a set's own tiles have steps of 4, all have.
      if Self.layout.step == 4 || layout.step == 4 {
        ditqk_put_words(words, mask, count, lanes, target, tileRows * 4)
        target += tileRows * 16
      } else {
        ditqk_put_pieces(words, mask, count, target, Int(layout.step))
        target += layout.advance(from: i, rows: tileRows)
      }
    }
  }

  /// Words of up to sixteen inputs of some of four rows into their place in a tile.
  @inlinable @inline(__always)
  static func put(_ words: SIMD16<UInt32>, of rows: Int, _ inputs: Int, _ place: UnsafeMutableRawPointer, _ tileRows: Int) {
    let mask = UInt32(layout.sign) &* 0x0101_0101
    if layout.step == 4 {
      ditqk_put_words(words, mask, rows, inputs, place, tileRows * 4)
    } else {
      ditqk_put_pieces(words, mask, rows, place, Int(layout.step))
    }
  }

  @inlinable @inline(__always) static func inverse(_ scale: Float) -> Lanes { Lanes(repeating: scale > 0 ? 1 / scale : 0) }

  /// To the nearest integer, half to even, for magnitudes below 2²².
  @inlinable @inline(__always) static func rounded(_ x: Float) -> Float { (x + 12_582_912) - 12_582_912 }

  @inlinable
  public static func expandPanel(
    _ nibbles: UnsafePointer<UInt8>, _ zeros: UnsafePointer<UInt8>, _ depth: Int, _ group: Int, _ panel: UnsafeMutablePointer<Int8>
  ) {
    var start = 0
    var zero = zeros
    while start < depth {
      let end = depth - start < group ? depth : start + group
      let left = unsafeBitCast(ditqk_four_times(zero), to: SIMD64<UInt8>.self)
      let right = unsafeBitCast(ditqk_four_times(zero + 16), to: SIMD64<UInt8>.self)
      var k = start
      while k < end {
        let source = UnsafeRawPointer(nibbles + k * 16), target = UnsafeMutableRawPointer(panel + k * 32)
        // A panel comes straight from memory.
        ditqk_prefetch_read(source + 4096)
        ditqk_prefetch_read(source + 4160)
        let pairs = source.loadUnaligned(as: SIMD16<UInt32>.self), others = (source + 64).loadUnaligned(as: SIMD16<UInt32>.self)
        target.storeBytes(of: lowNibbles(pairs) &- left, as: SIMD64<UInt8>.self)
        (target + 64).storeBytes(of: lowNibbles(others) &- right, as: SIMD64<UInt8>.self)
        (target + 128).storeBytes(of: lowNibbles(pairs &>> SIMD16(repeating: 4)) &- left, as: SIMD64<UInt8>.self)
        (target + 192).storeBytes(of: lowNibbles(others &>> SIMD16(repeating: 4)) &- right, as: SIMD64<UInt8>.self)
        k += 8
      }
      start = end
      zero += 32
    }
  }

  @inlinable @inline(__always)
  public static func dequantizePanel(
    _ numbers: UnsafePointer<Int8>, _ scales: UnsafePointer<Float>, _ depth: Int, _ group: Int, _ panel: UnsafeMutablePointer<Float>
  ) {
    for k in 0..<depth / 4 {
      let scale = scales + k * 4 / group * 32
      for half in 0..<2 {
        let words = UnsafeRawPointer(numbers + k * 128 + half * 64).loadUnaligned(as: SIMD16<Int32>.self)
        for i in 0..<4 {
          let values = (words &<< SIMD16(repeating: Int32(24 - 8 * i))) &>> SIMD16(repeating: 24)
          store(ditqk_floats(values) * load(scale + half * 16), panel + (k * 4 + i) * 32 + half * 16)
        }
      }
    }
  }

  @inlinable @inline(__always) static func lowNibbles(_ x: SIMD16<UInt32>) -> SIMD64<UInt8> {
    unsafeBitCast(x & SIMD16(repeating: 0x0f0f_0f0f), to: SIMD64<UInt8>.self)
  }
}
