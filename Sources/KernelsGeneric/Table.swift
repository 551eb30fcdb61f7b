// The table of a set's kernels: one file, compiled into each kernel module (the others have links to this one), because a C function cannot capture what
// it is generic over. A module names its set `Kernels`, and has its C function fill in the table by `Kernels.fill`. What a set does in its own way, it
// declares under the name that KernelMath has for it: that goes before.

import CKernels
import KernelMath

extension Kernels {
  /// Careful: inlined always, it keeps its closures from being optimized, and every helper in C becomes a call.
  static func fill(_ table: UnsafeMutablePointer<ditqk_kernels>) {
    let decodes = ditqk_decodes() != 0
    table.pointee = ditqk_kernels(
      tile_rows: Int32(Kernels.tileRows),
      panels_together: Int32(Kernels.panelsTogether),
      layout: Kernels.layout,
      gemm: { Kernels.gemm($0!.pointee) },
      gemm_u8: { Kernels.gemm($0!) },
      gemm_weight_only: Kernels.hasWeightOnly ? { Kernels.gemmWeightOnly($0!, $1, $2!) } : nil,
      convolve: decodes ? { Kernels.convolve($0!) } : nil,
      winograd_tiles: decodes ? { Kernels.winogradTiles($0!) } : nil,
      winograd_sums: decodes ? { Kernels.winogradSums($0!) } : nil,
      winograd_output: decodes ? { Kernels.winogradOutput($0!) } : nil,
      winograd_taps: decodes ? { Kernels.winogradTaps($0!, $1, $2!) } : nil,
      quantize_words: decodes ? { Kernels.quantizeWords($0!, $1, $2, $3!, $4) } : nil,
      row_ranges: { Kernels.rowRanges($0!, $1, $2, $3!, $4!, isSigned: $5 != 0) },
      row_magnitude: { Kernels.rowMagnitude($0!, $1) },
      quantize_rows: { Kernels.quantizeRows($0!, $1, $2, $3!, $4!, $5!, $6) },
      quantize_keys: { Kernels.quantizeKeys($0!, $1, $2, $3!, $4!, $5, $6!) },
      quantize_columns: { Kernels.quantizeColumns($0!, $1, $2, $3, $4!, $5!) },
      softmax_rows: { Kernels.softmaxRows($0!, $1, $2, $3, $4!, $5!, $6) },
      fit_weights: { Kernels.fitWeights($0!, $1, $2, $3, $4, $5!, $6!) },
      quantize_weights: { Kernels.quantizeWeights($0!, $1, $2, $3, $4, $5, isHalved: $6 != 0, $7!) },
      expand_panel: { Kernels.expandPanel($0!, $1!, $2, $3, $4!) },
      dequantize_panel: { Kernels.dequantizePanel($0!, $1!, $2, $3, $4!) },
      pack_rows: { Kernels.packRows($0!, $1, $2, $3!, $4) },
      pack_panel: { Kernels.packPanel($0!, $1, $2, $3, $4!) },
      copy_panel: { Kernels.copyPanel($0!, $1, $2, $3, $4!) },
      convert: { Kernels.convert($0!, $1, $2, $3!) },
      modulate: { Kernels.modulate($0!, $1, $2!, $3!, $4, $5, $6!) },
      softmax: { Kernels.softmax($0!, $1, $2) },
      silu: { Kernels.siluRow($0!, $1, $2!) },
      column_moments: decodes ? { Kernels.columnMoments($0!, $1, $2, $3, $4!, adds: $5 != 0, $6!, $7!) } : nil,
      normalize: decodes ? { Kernels.normalize($0!, $1, $2, $3!, $4!, $5!, $6 != 0, $7!) } : nil)
  }
}
