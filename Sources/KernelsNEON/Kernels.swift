// The kernels for Armv8.2 with its dot product of signed bytes: five rows and the sums of the panel fill 24 of 32 registers.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum NEON: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = QuadSums<Self, SignedDot>
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 5 }
  static var layout: TileLayout { registerLayout(sign: 0x80) }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo5(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows5<B.Sums>.self) }
}

enum SignedDot: QuadDot {
  static var isSigned: Bool { true }
  @inline(__always) static func dot(_ sums: SIMD4<Int32>, _ a: UInt32, _ b: SIMD16<Int8>) -> SIMD4<Int32> { ditqk_dot_signed(sums, a, b) }
}

typealias Kernels = NEON

@c @implementation
public func ditqk_neon(_ table: UnsafeMutablePointer<ditqk_kernels>!) { Kernels.fill(table) }
