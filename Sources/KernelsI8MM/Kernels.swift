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

@c @implementation
public func ditqk_i8mm(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  table.pointee = ditqk_kernels(
    tile_rows: Int32(I8MM.tileRows),
    panels_together: 1,
    tile_sign: I8MM.tileSign,
    gemm: { I8MM.gemm($0!.pointee) },
    gemm_u8: { I8MM.gemm($0!) },
    gemm_weight_only: { I8MM.gemmWeightOnly($0!, $1, $2!) },
    convolve: { I8MM.convolve($0!) },
    winograd_tiles: { I8MM.winogradTiles($0!) },
    winograd_sums: { I8MM.winogradSums($0!) },
    winograd_output: { I8MM.winogradOutput($0!) },
    winograd_taps: { I8MM.winogradTaps($0!, $1, $2!) },
    quantize_words: { I8MM.quantizeWords($0!, $1, $2, $3!, $4) },
    row_ranges: { I8MM.rowRanges($0!, $1, $2, $3!, $4!, isSigned: $5 != 0) },
    row_magnitude: { I8MM.rowMagnitude($0!, $1) },
    quantize_rows: { I8MM.quantizeRows($0!, $1, $2, $3!, $4!, $5!, $6, isSigned: $7 != 0) },
    quantize_columns: { I8MM.quantizeColumns($0!, $1, $2, $3, $4!, $5!) },
    softmax_rows: { I8MM.softmaxRows($0!, $1, $2, $3, $4!, $5!, $6) },
    fit_weights: { I8MM.fitWeights($0!, $1, $2, $3, $4, $5!, $6!) },
    quantize_weights: { I8MM.quantizeWeights($0!, $1, $2, $3, $4, $5, isHalved: $6 != 0, $7!) },
    expand_panel: { I8MM.expandPanel($0!, $1!, $2, $3, $4!) },
    dequantize_panel: { I8MM.dequantizePanel($0!, $1!, $2, $3, $4!) },
    pack_rows: { I8MM.packRows($0!, $1, $2, $3!, $4) },
    pack_panel: { I8MM.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { I8MM.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { I8MM.convert($0!, $1, $2, $3!) },
    modulate: { I8MM.modulate($0!, $1, $2!, $3!, $4, $5, $6!) },
    softmax: { I8MM.softmax($0!, $1, $2) },
    silu: { I8MM.siluRow($0!, $1, $2!) },
    column_moments: { I8MM.columnMoments($0!, $1, $2, $3, $4!, adds: $5 != 0, $6!, $7!) },
    normalize: { I8MM.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) })
}
