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
  public static func packRows(_ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ depth: Int, _ tile: UnsafeMutablePointer<Float>)
  {
    for row in 0..<count {
      var source = rows[row]!
      var target = tile + row
      for _ in 0..<depth {
        target.pointee = source.pointee
        source += 1
        target += count
      }
    }
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
    store(count >= 16 ? load(source) : load(source, count < 0 ? 0 : count, filling: 0), target)
  }

  @inlinable @inline(__always)
  public static func convert(_ source: UnsafeRawPointer, _ type: Int32, _ count: Int, _ output: UnsafeMutablePointer<Float>) {
    forEachLanes(count) { i, lanes in
      let p = source + i * byteCount(type)
      store(lanes == 16 ? loadStored(p, type) : loadStored(p, type, lanes), output, at: i, lanes)
    }
  }
}
