// The kernels for AVX-512: 28 of 32 registers are sums.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum AVX512: KernelSet {
  static var tileRows: Int { 14 }

  @inline(__always)
  static func multiplyTile(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    multiplyUpTo14(rows, tile, panel, depth, sums)
  }
}

@c @implementation
public func ditqk_avx512(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  table.pointee = ditqk_kernels(
    tile_rows: Int32(AVX512.tileRows),
    gemm: { AVX512.gemm($0!.pointee) },
    pack_rows: { AVX512.packRows($0!, $1, $2, $3!) },
    pack_panel: { AVX512.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { AVX512.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { AVX512.convert($0!, $1, $2, $3!) },
    modulate: { AVX512.modulate($0!, $1!, $2!, $3, $4, $5!) },
    softmax: { AVX512.softmax($0!, $1, $2) },
    silu: { AVX512.siluRow($0!, $1, $2!) },
    column_sums: { AVX512.columnSums($0!, $1, $2, $3, $4!) },
    normalize: { AVX512.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) })
}
