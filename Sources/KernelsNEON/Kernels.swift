// The kernels for Armv8.2 with its dot product of signed bytes: five rows and the sums of the panel fill 24 of 32 registers.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum NEON: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = QuadSums<Self, SignedDot>
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 5 }
  static var tileSign: UInt8 { 0x80 }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo5(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows5<B.Sums>.self) }
}

enum SignedDot: QuadDot {
  static var isSigned: Bool { true }
  @inline(__always) static func dot(_ sums: SIMD4<Int32>, _ a: UInt32, _ b: SIMD16<Int8>) -> SIMD4<Int32> { ditqk_dot_signed(sums, a, b) }
}

@c @implementation
public func ditqk_neon(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  let decodes = ditqk_decodes() != 0
  table.pointee = ditqk_kernels(
    tile_rows: Int32(NEON.tileRows),
    panels_together: 1,
    tile_sign: NEON.tileSign,
    gemm: { NEON.gemm($0!.pointee) },
    gemm_u8: { NEON.gemm($0!) },
    gemm_weight_only: { NEON.gemmWeightOnly($0!, $1, $2!) },
    convolve: decodes ? { NEON.convolve($0!) } : nil,
    winograd_tiles: decodes ? { NEON.winogradTiles($0!) } : nil,
    winograd_sums: decodes ? { NEON.winogradSums($0!) } : nil,
    winograd_output: decodes ? { NEON.winogradOutput($0!) } : nil,
    winograd_taps: decodes ? { NEON.winogradTaps($0!, $1, $2!) } : nil,
    quantize_words: decodes ? { NEON.quantizeWords($0!, $1, $2, $3!, $4) } : nil,
    row_ranges: { NEON.rowRanges($0!, $1, $2, $3!, $4!, isSigned: $5 != 0) },
    row_magnitude: { NEON.rowMagnitude($0!, $1) },
    quantize_rows: { NEON.quantizeRows($0!, $1, $2, $3!, $4!, $5!, $6, isSigned: $7 != 0) },
    quantize_columns: { NEON.quantizeColumns($0!, $1, $2, $3, $4!, $5!) },
    softmax_rows: { NEON.softmaxRows($0!, $1, $2, $3, $4!, $5!, $6) },
    fit_weights: { NEON.fitWeights($0!, $1, $2, $3, $4, $5!, $6!) },
    quantize_weights: { NEON.quantizeWeights($0!, $1, $2, $3, $4, $5, isHalved: $6 != 0, $7!) },
    expand_panel: { NEON.expandPanel($0!, $1!, $2, $3, $4!) },
    dequantize_panel: { NEON.dequantizePanel($0!, $1!, $2, $3, $4!) },
    pack_rows: { NEON.packRows($0!, $1, $2, $3!, $4) },
    pack_panel: { NEON.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { NEON.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { NEON.convert($0!, $1, $2, $3!) },
    modulate: { NEON.modulate($0!, $1, $2!, $3!, $4, $5, $6!) },
    softmax: { NEON.softmax($0!, $1, $2) },
    silu: { NEON.siluRow($0!, $1, $2!) },
    column_moments: decodes ? { NEON.columnMoments($0!, $1, $2, $3, $4!, adds: $5 != 0, $6!, $7!) } : nil,
    normalize: decodes ? { NEON.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) } : nil)
}
