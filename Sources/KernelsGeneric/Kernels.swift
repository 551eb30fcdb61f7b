// The kernels for any CPU: portable vectors, as wide as the compiler's baseline allows, or scalars where it has none.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum Generic: KernelSet {
  #if arch(riscv64)
    typealias Floats = FourFloats<Self>
    typealias Integers = PairedIntegers<Self>
  #else
    typealias Floats = OneVector<Self>
    typealias Integers = PortableSums<Self>
  #endif
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 4 }
  /// Memory is not what such a CPU waits for.
  static var hasWeightOnly: Bool { false }
  /// Without vectors or fused multiply-adds it is long, and called from many places.
  static var callsExponential: Bool { true }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo4(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows4<B.Sums>.self) }
}

typealias Kernels = Generic

@c @implementation
public func ditqk_generic(_ table: UnsafeMutablePointer<ditqk_kernels>!) { Kernels.fill(table) }
