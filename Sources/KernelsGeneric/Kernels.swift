// The kernels for any CPU: portable vectors, as wide as the compiler's baseline allows.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum Generic: KernelSet {
  static var tileRows: Int { 4 }

  @inline(__always)
  static func multiplyTile(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    multiplyUpTo6(rows, tile, panel, depth, sums)
  }
}

@c @implementation
public func ditqk_generic(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  table.pointee = ditqk_kernels(
    tile_rows: Int32(Generic.tileRows),
    gemm: { Generic.gemm($0!.pointee) },
    pack_rows: { Generic.packRows($0!, $1, $2, $3!) },
    pack_panel: { Generic.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { Generic.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { Generic.convert($0!, $1, $2, $3!) },
    modulate: { Generic.modulate($0!, $1!, $2!, $3, $4, $5!) },
    softmax: { Generic.softmax($0!, $1, $2) },
    silu: { Generic.siluRow($0!, $1, $2!) },
    column_sums: { Generic.columnSums($0!, $1, $2, $3, $4!) },
    normalize: { Generic.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) })
}
