// The kernels for Armv8.6, which has products of unsigned with signed bytes: 24 of 32 registers are sums of six rows.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum I8MM: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = QuadSums<Self, UnsignedDot>
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 6 }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo6(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { chooseAtLeastOf6(rows, body) }
}

enum UnsignedDot: QuadDot {
  static var isSigned: Bool { false }
  @inline(__always) static func dot(_ sums: SIMD4<Int32>, _ a: UInt32, _ b: SIMD16<Int8>) -> SIMD4<Int32> { ditqk_dot_unsigned(sums, a, b) }
}

typealias Kernels = I8MM

@c @implementation
public func ditqk_i8mm(_ table: UnsafeMutablePointer<ditqk_kernels>!) { Kernels.fill(table) }
