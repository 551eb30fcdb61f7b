// Sixteen floats side by side: the width in which every instruction set computes, whatever its registers hold, so that sums are taken in
// the same order everywhere.
// Careful: clamped(), min(), max(), sum() and SIMD16(clamping:) of the standard library explode into scalar code.

import CKernels

public typealias Lanes = SIMD16<Float>

extension KernelSet {
  @inlinable @inline(__always) public static func load(_ p: UnsafePointer<Float>) -> Lanes {
    UnsafeRawPointer(p).loadUnaligned(as: Lanes.self)
  }

  @inlinable @inline(__always) public static func store(_ x: Lanes, _ p: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(p).storeBytes(of: x, as: Lanes.self)
  }

  /// Calls `body` for sixteen elements at a time; the last call may have fewer.
  @inlinable @inline(__always) public static func forEachLanes(_ count: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
    var i = 0
    #if arch(riscv64)  // no vectors: once is long enough
      while i < count {
        body(i, count - i < 16 ? count - i : 16)
        i += 16
      }
    #else
      while i + 16 <= count {
        body(i, 16)
        i += 16
      }
      if i < count { body(i, count - i) }
    #endif
  }

  /// The same with the body once, for one that is long: where it is exp, two of it would be half of a kernel's code.
  @inlinable @inline(__always) public static func forEachLanesOnce(_ count: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
    var i = 0
    while i < count {
      body(i, count - i < 16 ? count - i : 16)
      i += 16
    }
  }

  @inlinable @inline(__always) public static func load(_ p: UnsafePointer<Float>, at i: Int, _ count: Int, filling rest: Float = 0) -> Lanes
  {
    count == 16 ? load(p + i) : ditqk_load_some(p + i, count, rest)
  }

  @inlinable @inline(__always) public static func store(_ x: Lanes, _ p: UnsafeMutablePointer<Float>, at i: Int, _ count: Int) {
    if count == 16 { store(x, p + i) } else { ditqk_store_some(x, count, p + i) }
  }

  @inlinable @inline(__always) public static func larger(_ x: Lanes, _ y: Lanes) -> Lanes { x.replacing(with: y, where: x .< y) }

  @inlinable @inline(__always) public static func smaller(_ x: Lanes, _ y: Lanes) -> Lanes { x.replacing(with: y, where: y .< x) }
}
