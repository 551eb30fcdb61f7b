// The kernels for AVX2 and FMA: twelve of sixteen registers are sums.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum AVX2: KernelSet {
  static var tileRows: Int { 6 }

  @inline(__always)
  static func multiplyTile(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    multiplyUpTo6(rows, tile, panel, depth, sums)
  }
}

@c @implementation
public func ditqk_avx2(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  table.pointee = ditqk_kernels(
    tile_rows: Int32(AVX2.tileRows),
    gemm: { AVX2.gemm($0!.pointee) },
    pack_rows: { AVX2.packRows($0!, $1, $2, $3!) },
    pack_panel: { AVX2.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { AVX2.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { AVX2.convert($0!, $1, $2, $3!) },
    modulate: { AVX2.modulate($0!, $1!, $2!, $3, $4, $5!) },
    softmax: { AVX2.softmax($0!, $1, $2) },
    silu: { AVX2.siluRow($0!, $1, $2!) },
    column_sums: { AVX2.columnSums($0!, $1, $2, $3, $4!) },
    normalize: { AVX2.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) })
}
