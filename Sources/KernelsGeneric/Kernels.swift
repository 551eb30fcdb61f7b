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
  /// Without vectors or fused multiply-adds it is long, and called from many places.
  static var callsExponential: Bool { true }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo4(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows4<B.Sums>.self) }
}

@c @implementation
public func ditqk_generic(_ table: UnsafeMutablePointer<ditqk_kernels>!) {
  let decodes = ditqk_decodes() != 0
  table.pointee = ditqk_kernels(
    tile_rows: Int32(Generic.tileRows),
    panels_together: 1,
    tile_sign: Generic.tileSign,
    gemm: { Generic.gemm($0!.pointee) },
    gemm_u8: { Generic.gemm($0!) },
    gemm_weight_only: nil,  // memory is not what such a CPU waits for
    convolve: decodes ? { Generic.convolve($0!) } : nil,
    winograd_tiles: decodes ? { Generic.winogradTiles($0!) } : nil,
    winograd_sums: decodes ? { Generic.winogradSums($0!) } : nil,
    winograd_output: decodes ? { Generic.winogradOutput($0!) } : nil,
    winograd_taps: decodes ? { Generic.winogradTaps($0!, $1, $2!) } : nil,
    quantize_words: decodes ? { Generic.quantizeWords($0!, $1, $2, $3!, $4) } : nil,
    row_ranges: { Generic.rowRanges($0!, $1, $2, $3!, $4!, isSigned: $5 != 0) },
    row_magnitude: { Generic.rowMagnitude($0!, $1) },
    quantize_rows: { Generic.quantizeRows($0!, $1, $2, $3!, $4!, $5!, $6, isSigned: $7 != 0) },
    quantize_columns: { Generic.quantizeColumns($0!, $1, $2, $3, $4!, $5!) },
    softmax_rows: { Generic.softmaxRows($0!, $1, $2, $3, $4!, $5!, $6) },
    fit_weights: { Generic.fitWeights($0!, $1, $2, $3, $4, $5!, $6!) },
    quantize_weights: { Generic.quantizeWeights($0!, $1, $2, $3, $4, $5, isHalved: $6 != 0, $7!) },
    expand_panel: { Generic.expandPanel($0!, $1!, $2, $3, $4!) },
    dequantize_panel: { Generic.dequantizePanel($0!, $1!, $2, $3, $4!) },
    pack_rows: { Generic.packRows($0!, $1, $2, $3!, $4) },
    pack_panel: { Generic.packPanel($0!, $1, $2, $3, $4!) },
    copy_panel: { Generic.copyPanel($0!, $1, $2, $3, $4!) },
    convert: { Generic.convert($0!, $1, $2, $3!) },
    modulate: { Generic.modulate($0!, $1, $2!, $3!, $4, $5, $6!) },
    softmax: { Generic.softmax($0!, $1, $2) },
    silu: { Generic.siluRow($0!, $1, $2!) },
    column_moments: decodes ? { Generic.columnMoments($0!, $1, $2, $3, $4!, adds: $5 != 0, $6!, $7!) } : nil,
    normalize: decodes ? { Generic.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) } : nil)
}
