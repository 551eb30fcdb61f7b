// Winograd's F(2×2, 3×3) on integers: two by two outputs of a 3×3 convolution from four by four inputs d and the taps g by sixteen products a
// channel instead of thirty-six,
//
//   Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A,   Bᵀ = 1  0 −1  0    G · 2 = 2  0  0    Aᵀ = 1  1  1  0
//                                           0  1  1  0            1  1  1         0  1 −1 −1
//                                           0 −1  1  0            1 −1  1
//                                           0  1  0 −1            0  0  2
//
// Everything is integers: 2G is used, so that sums come out four times too large. Inputs of up to 8191 become four times as large, which 16 bits
// hold. In between, sums wrap; the outputs are right where they fit 32 bits, because addition modulo 2³² does not mind.

import CKernels

/// Two 16-bit numbers of sixteen words.
public typealias Pairs = SIMD32<Int16>

extension KernelSet {
  @inlinable @inline(__always) static func pairs(_ p: UnsafeRawPointer) -> Pairs { p.loadUnaligned(as: Pairs.self) }

  /// Bᵀ applied to four.
  @inlinable @inline(__always)
  static func spread(_ a: Pairs, _ b: Pairs, _ c: Pairs, _ d: Pairs) -> (Pairs, Pairs, Pairs, Pairs) { (a &- c, b &+ c, c &- b, b &- d) }

  @inlinable @inline(__always)
  public static func winogradTiles(_ w: UnsafePointer<ditqk_winograd>) {
    let half = w.pointee.half * 4, row = 2 * half, plane = w.pointee.plane * 4
    for step in 0..<w.pointee.steps {
      for y in 0..<w.pointee.down {
        let source = UnsafeRawPointer(w.pointee.pixels!) + (step * (2 * w.pointee.down + 2) + 2 * y) * row
        let target = UnsafeMutableRawPointer(w.pointee.tiles!) + (step * w.pointee.pitch + y * w.pointee.across) * 4
        var x = 0
        while x < w.pointee.across * 4 {
          let p = source + x
          // The columns of four rows, each with Bᵀ from the left; what is past the last tile is overwritten by the next row or step.
          let a = spread(pairs(p), pairs(p + row), pairs(p + 2 * row), pairs(p + 3 * row))
          let b = spread(pairs(p + half), pairs(p + half + row), pairs(p + half + 2 * row), pairs(p + half + 3 * row))
          let c = spread(pairs(p + 4), pairs(p + 4 + row), pairs(p + 4 + 2 * row), pairs(p + 4 + 3 * row))
          let q = p + half + 4
          let d = spread(pairs(q), pairs(q + row), pairs(q + 2 * row), pairs(q + 3 * row))
          put(spread(a.0, b.0, c.0, d.0), target + x, plane)
          put(spread(a.1, b.1, c.1, d.1), target + x + 4 * plane, plane)
          put(spread(a.2, b.2, c.2, d.2), target + x + 8 * plane, plane)
          put(spread(a.3, b.3, c.3, d.3), target + x + 12 * plane, plane)
          x += 64
        }
      }
    }
  }

  /// Four vectors, so many bytes apart.
  @inlinable @inline(__always)
  static func put(_ x: (Pairs, Pairs, Pairs, Pairs), _ p: UnsafeMutableRawPointer, _ apart: Int) {
    p.storeBytes(of: x.0, as: Pairs.self)
    (p + apart).storeBytes(of: x.1, as: Pairs.self)
    (p + 2 * apart).storeBytes(of: x.2, as: Pairs.self)
    (p + 3 * apart).storeBytes(of: x.3, as: Pairs.self)
  }

  @inlinable @inline(__always)
  public static func winogradSums(_ w: UnsafePointer<ditqk_winograd>) {
    let count = w.pointee.down * w.pointee.across, steps = w.pointee.steps
    for position in 0..<16 where w.pointee.positions >> UInt32(position) & 1 != 0 {
      let tiles = UnsafeRawPointer(w.pointee.tiles!) + position * w.pointee.plane * 4
      let panel = UnsafeRawPointer(w.pointee.panel!) + position * (steps + 1) * 128
      prefetchOutput(w, position)
      let sums = w.pointee.sums! + position * (count + Int(DITQK_LARGEST_TILE_ROWS)) * 32
      var first = 0
      while first < count {
        let rows = count - first < tileRows ? count - first : tileRows
        chooseAtLeast(
          rows, WordProduct<Self>(tiles: tiles + first * 4, step: w.pointee.pitch * 4, panel: panel, steps: steps, sums: sums + first * 32))
        first += rows
      }
    }
  }

  /// Asks for a sixteenth of the output, which will be written when the sums are there.
  @inlinable @inline(__always)
  static func prefetchOutput(_ w: UnsafePointer<ditqk_winograd>, _ part: Int) {
    let pixels = w.pointee.rows * w.pointee.width
    for pixel in part * pixels / 16..<(part + 1) * pixels / 16 {
      let p = w.pointee.output + pixel / w.pointee.width * w.pointee.line + pixel % w.pointee.width * w.pointee.stride
      ditqk_prefetch_write(p)
      ditqk_prefetch_write(p + 16)
    }
  }

  @inlinable @inline(__always)
  public static func winogradOutput(_ w: UnsafePointer<ditqk_winograd>) {
    let plane = (w.pointee.down * w.pointee.across + Int(DITQK_LARGEST_TILE_ROWS)) * 32
    for y in 0..<w.pointee.down {
      for x in 0..<w.pointee.across {
        let sums = UnsafePointer(w.pointee.sums!) + (y * w.pointee.across + x) * 32
        var column = 0
        while column < w.pointee.columns {
          let count = w.pointee.columns - column < 16 ? w.pointee.columns - column : 16
          put(w, outputs(sums + column, plane), y, x, column, count)
          column += 16
        }
      }
    }
  }

  /// Aᵀ m A of sixteen columns.
  @inlinable @inline(__always)
  static func outputs(
    _ m: UnsafePointer<Int32>, _ plane: Int
  ) -> (SIMD16<Int32>, SIMD16<Int32>, SIMD16<Int32>, SIMD16<Int32>) {
    let a = gather(m, 4 * plane), b = gather(m + plane, 4 * plane), c = gather(m + 2 * plane, 4 * plane),
      d = gather(m + 3 * plane, 4 * plane)
    return (a.0 &+ b.0 &+ c.0, b.0 &- c.0 &- d.0, a.1 &+ b.1 &+ c.1, b.1 &- c.1 &- d.1)
  }

  /// Aᵀ applied to four, so many numbers apart.
  @inlinable @inline(__always)
  static func gather(_ m: UnsafePointer<Int32>, _ apart: Int) -> (SIMD16<Int32>, SIMD16<Int32>) {
    func integers(_ i: Int) -> SIMD16<Int32> { UnsafeRawPointer(m + i * apart).loadUnaligned(as: SIMD16<Int32>.self) }
    let b = integers(1), c = integers(2)
    return (integers(0) &+ b &+ c, b &- c &- integers(3))
  }

  /// A tile's four outputs, those of them that count.
  @inlinable @inline(__always)
  static func put(
    _ w: UnsafePointer<ditqk_winograd>, _ sums: (SIMD16<Int32>, SIMD16<Int32>, SIMD16<Int32>, SIMD16<Int32>), _ y: Int, _ x: Int,
    _ column: Int, _ count: Int
  ) {
    let factor = load(w.pointee.scales + column) * Lanes(repeating: w.pointee.scale * 0.25),
      bias = load(w.pointee.bias + column, at: 0, count)
    let offset: Int = 2 * y * w.pointee.line + 2 * x * w.pointee.stride + column
    let first = w.pointee.output + offset
    for i in 0..<4 {
      let row = i / 2, across = i % 2
      guard 2 * y + row < w.pointee.rows && 2 * x + across < w.pointee.width else { continue }
      let output = first + row * w.pointee.line + across * w.pointee.stride
      var value = bias.addingProduct(ditqk_floats(i == 0 ? sums.0 : i == 1 ? sums.1 : i == 2 ? sums.2 : sums.3), factor)
      if w.pointee.accumulate != 0 { value += load(UnsafePointer(output), at: 0, count) }
      store(value, output, at: 0, count)
    }
  }

  // MARK: - Taps

  /// 2G applied to three.
  @inlinable @inline(__always)
  static func spread(_ a: Pairs, _ b: Pairs, _ c: Pairs) -> (Pairs, Pairs, Pairs, Pairs) {
    (a &+ a, a &+ b &+ c, a &- b &+ c, c &+ c)
  }

  @inlinable @inline(__always)
  public static func winogradTaps(_ numbers: UnsafePointer<Int8>, _ channels: Int, _ panel: UnsafeMutableRawPointer) {
    let plane = (channels / 2 + 1) * 128
    // Four channels, half the columns, and even or odd channels at a time: unrolled it would be eight times as much code.
    for place in 0..<channels {
      let four = place / 4, half = place / 2 % 2, odd = place % 2, shift = Pairs(repeating: odd == 0 ? 8 : 0)
      func taps(_ i: Int) -> Pairs {
        let bytes = pairs(UnsafeRawPointer(numbers) + (i * channels / 4 + four) * 128 + half * 64)
        return (bytes &<< shift) &>> Pairs(repeating: 8)
      }
      let a = spread(taps(0), taps(3), taps(6)), b = spread(taps(1), taps(4), taps(7)), c = spread(taps(2), taps(5), taps(8))
      let target = panel + (four * 2 + odd) * 128 + half * 64
      put(spread(a.0, b.0, c.0), target, plane)
      put(spread(a.1, b.1, c.1), target + 4 * plane, plane)
      put(spread(a.2, b.2, c.2), target + 8 * plane, plane)
      put(spread(a.3, b.3, c.3), target + 12 * plane, plane)
    }
  }

  // MARK: - Pixels

  @inlinable @inline(__always)
  public static func quantizeWords(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ depth: Int, _ scale: Float, _ words: UnsafeMutableRawPointer, _ stride: Int
  ) {
    let inverse = inverse(scale)
    forEachLanes(depth) { i, count in
      let a = integers(rows[0]!, i, count, inverse), b = integers(rows[1]!, i, count, inverse)
      let c = integers(rows[2]!, i, count, inverse), d = integers(rows[3]!, i, count, inverse)
      let low = ditqk_low_floats(a, b), otherLow = ditqk_low_floats(c, d), high = ditqk_high_floats(a, b),
        otherHigh = ditqk_high_floats(c, d)
      // Quarter q of each is column 4q, 4q + 1, … of the four rows.
      let even = joined(ditqk_low_pairs(low, otherLow), ditqk_low_pairs(high, otherHigh))
      let odd = joined(ditqk_high_pairs(low, otherLow), ditqk_high_pairs(high, otherHigh))
      let target = words + i / 2 * stride * 4
      if count == 16 {
        storeQuarters(even, target, apart: stride * 8)
        storeQuarters(odd, target + stride * 4, apart: stride * 8)
      } else {
        for four in 0..<count / 4 {
          for row in 0..<4 {
            (target + (2 * four * stride + row) * 4).storeBytes(of: even[4 * four + row], as: Float.self)
            (target + ((2 * four + 1) * stride + row) * 4).storeBytes(of: odd[4 * four + row], as: Float.self)
          }
        }
      }
    }
  }

  /// Rounded quotients, in the low bits of the sums.
  @inlinable @inline(__always)
  static func integers(_ row: UnsafePointer<Float>, _ i: Int, _ count: Int, _ inverse: Lanes) -> Lanes {
    load(row, at: i, count) * inverse + Lanes(repeating: 12_582_912)
  }

  /// The low halves of two vectors' integers as pairs.
  @inlinable @inline(__always) static func joined(_ first: Lanes, _ second: Lanes) -> Lanes {
    let low = unsafeBitCast(first, to: SIMD16<UInt32>.self) & SIMD16(repeating: 0xffff)
    return unsafeBitCast(low | unsafeBitCast(second, to: SIMD16<UInt32>.self) &<< SIMD16(repeating: 16), to: Lanes.self)
  }
}
