// Bringing matrices into the layouts that the GEMM reads, and stored numbers (F32, F16, BF16) into floats, exactly.

import CKernels

extension KernelSet {
  /// Sixteen stored numbers as floats.
  @inlinable @inline(__always) static func loadStored(_ p: UnsafeRawPointer, _ type: Int32) -> Lanes {
    switch type {
    case Int32(DITQK_F16): return halves(ditqk_widen(p))
    case Int32(DITQK_BF16):
      return unsafeBitCast(ditqk_widen(p) &<< SIMD16(repeating: 16), to: Lanes.self)
    default: return p.loadUnaligned(as: Lanes.self)
    }
  }

  /// The first `count` of sixteen stored numbers, then zeros.
  @inlinable @inline(__always) static func loadStored(_ p: UnsafeRawPointer, _ type: Int32, _ count: Int) -> Lanes {
    var bits = SIMD16<UInt32>.zero
    switch type {
    case Int32(DITQK_F16), Int32(DITQK_BF16):
      for i in 0..<count { bits[i] = UInt32((p + i * 2).loadUnaligned(as: UInt16.self)) }
      return type == Int32(DITQK_F16) ? halves(bits) : unsafeBitCast(bits &<< SIMD16(repeating: 16), to: Lanes.self)
    default:
      for i in 0..<count { bits[i] = (p + i * 4).loadUnaligned(as: UInt32.self) }
      return unsafeBitCast(bits, to: Lanes.self)
    }
  }

  /// IEEE binary16 to binary32: exponent and mantissa moved into place and scaled by 2¹¹², which makes subnormals right too.
  @inlinable @inline(__always) static func halves(_ bits: SIMD16<UInt32>) -> Lanes {
    let sign = (bits & SIMD16(repeating: 0x8000)) &<< SIMD16(repeating: 16)
    let magnitude = (bits & SIMD16(repeating: 0x7fff)) &<< SIMD16(repeating: 13)
    let scaled = unsafeBitCast(unsafeBitCast(magnitude, to: Lanes.self) * Lanes(repeating: 0x1p112), to: SIMD16<UInt32>.self)
    let special = scaled | SIMD16(repeating: 0x7f80_0000)  // infinity and NaN
    let value = scaled.replacing(with: special, where: (bits & SIMD16(repeating: 0x7c00)) .== SIMD16(repeating: 0x7c00))
    return unsafeBitCast(value | sign, to: Lanes.self)
  }

  @inlinable @inline(__always) static func byteCount(_ type: Int32) -> Int { type == Int32(DITQK_F32) ? 4 : 2 }

  @inlinable @inline(__always)
  public static func packRows(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ tile: UnsafeMutablePointer<Float>, _ stride: Int
  ) {
    var row = 0
    while row + 4 <= count {
      packFour(rows + row, depth, tile + row, stride)
      row += 4
    }
    while row < count {
      packRow(rows[row]!, 0, depth, tile + row, stride)
      row += 1
    }
  }

  /// Four rows side by side, sixteen numbers of each at a time.
  @inlinable @inline(__always)
  static func packFour(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ depth: Int, _ tile: UnsafeMutablePointer<Float>, _ stride: Int
  ) {
    let a = rows[0]!, b = rows[1]!, c = rows[2]!, d = rows[3]!
    let whole = depth & ~15
    var target = UnsafeMutableRawPointer(tile)
    var k = 0
    while k < whole {
      let first = load(a + k), second = load(b + k), third = load(c + k), fourth = load(d + k)
      let low = ditqk_low_floats(first, second), otherLow = ditqk_low_floats(third, fourth)
      let high = ditqk_high_floats(first, second), otherHigh = ditqk_high_floats(third, fourth)
      // Quarter q of each is column 4q, 4q + 1, … of the four rows.
      storeQuarters(ditqk_low_pairs(low, otherLow), target, apart: stride * 16)
      storeQuarters(ditqk_high_pairs(low, otherLow), target + stride * 4, apart: stride * 16)
      storeQuarters(ditqk_low_pairs(high, otherHigh), target + stride * 8, apart: stride * 16)
      storeQuarters(ditqk_high_pairs(high, otherHigh), target + stride * 12, apart: stride * 16)
      k += 16
      target += stride * 64
    }
    for i in 0..<4 { packRow(rows[i]!, whole, depth, tile + i, stride) }
  }

  /// One row, from number `start` on.
  @inlinable @inline(__always)
  static func packRow(_ row: UnsafePointer<Float>, _ start: Int, _ depth: Int, _ tile: UnsafeMutablePointer<Float>, _ stride: Int) {
    var target = tile + start * stride
    for k in start..<depth {
      target.pointee = row[k]
      target += stride
    }
  }

  /// The quarters of a vector, so many bytes apart.
  @inlinable @inline(__always) static func storeQuarters(_ x: Lanes, _ p: UnsafeMutableRawPointer, apart: Int) {
    p.storeBytes(of: x.lowHalf.lowHalf, as: SIMD4<Float>.self)
    (p + apart).storeBytes(of: x.lowHalf.highHalf, as: SIMD4<Float>.self)
    (p + 2 * apart).storeBytes(of: x.highHalf.lowHalf, as: SIMD4<Float>.self)
    (p + 3 * apart).storeBytes(of: x.highHalf.highHalf, as: SIMD4<Float>.self)
  }

  @inlinable @inline(__always)
  public static func packPanel(
    _ rows: UnsafePointer<UnsafeRawPointer?>, _ count: Int, _ type: Int32, _ depth: Int, _ panel: UnsafeMutablePointer<Float>
  ) {
    for column in 0..<32 {
      forEachLanes(depth) { k, lanes in
        var x = Lanes.zero
        if column < count {
          let p = rows[column]! + k * byteCount(type)
          x = lanes == 16 ? loadStored(p, type) : loadStored(p, type, lanes)
        }
        let target = panel + k * 32 + column
        for i in 0..<lanes { target[i * 32] = x[i] }
      }
    }
  }

  @inlinable @inline(__always)
  public static func copyPanel(
    _ source: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ depth: Int, _ panel: UnsafeMutablePointer<Float>
  ) {
    for k in 0..<depth {
      copyHalf(source + k * stride, count, panel + k * 32)
      copyHalf(source + k * stride + 16, count - 16, panel + k * 32 + 16)
    }
  }

  @inlinable @inline(__always) static func copyHalf(_ source: UnsafePointer<Float>, _ count: Int, _ target: UnsafeMutablePointer<Float>) {
    store(count >= 16 ? load(source) : ditqk_load_some(source, count < 0 ? 0 : count, 0), target)
  }

  @inlinable @inline(__always)
  public static func convert(_ source: UnsafeRawPointer, _ type: Int32, _ count: Int, _ output: UnsafeMutablePointer<Float>) {
    forEachLanes(count) { i, lanes in
      let p = source + i * byteCount(type)
      store(lanes == 16 ? loadStored(p, type) : loadStored(p, type, lanes), output, at: i, lanes)
    }
  }
}
