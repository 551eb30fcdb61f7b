// The GEMM of one block of rows and panels, of floats or of integers: for each panel, for each tile of rows, the register tile over the
// whole depth, then the epilogue on the finished sums while they are in the first-level cache. The layouts are in CKernels.h.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func gemm(_ g: ditqk_gemm) {
    var panel = g.panels!
    var column = 0
    while column < g.output.columns {
      forEachTile(g.output, column) { row, rows, sums in
        choose(rows, FloatProduct<Self>(tile: g.tiles + row * g.depth, panel: panel, depth: g.depth, sums: sums))
      }
      panel += g.panel_stride
      column += 32
    }
  }

  /// One panel of integers: exact sums a group, then to floats, scaled and added up over the groups.
  @inlinable @inline(__always)
  public static func gemm(_ g: ditqk_gemm_u8) {
    forEachTile(g.output, 0) { row, rows, sums in
      choose(rows, IntegerProduct<Self>(tile: g.tiles + row * g.depth, g, sums: sums))
      dequantize(g, sums, row, rows)
    }
  }

  /// Calls `body` to fill the sums [rows][32] of each tile, then puts them out.
  @inlinable @inline(__always)
  static func forEachTile(
    _ output: ditqk_output, _ column: Int, _ body: (_ row: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
  ) {
    // The sums of the largest tile. Careful: withUnsafeTemporaryAllocation takes more than 1024 bytes from the heap.
    var scratch = InlineArray<28, Lanes>(repeating: .zero)
    withUnsafeMutableBytes(of: &scratch) { bytes in
      let sums = bytes.baseAddress!.assumingMemoryBound(to: Float.self)
      var row = 0
      while row < output.rows {
        let rows = output.rows - row < tileRows ? output.rows - row : tileRows
        body(row, rows, sums)
        finish(output, sums, row, rows, column)
        row += rows
      }
    }
  }

  /// sums [rows][32] ← row scale · (sums − zero point · weight sum).
  @inlinable @inline(__always)
  static func dequantize(_ g: ditqk_gemm_u8, _ sums: UnsafeMutablePointer<Float>, _ firstRow: Int, _ rows: Int) {
    for row in 0..<rows {
      let zero = Lanes(repeating: -g.row_zeros[firstRow + row]), scale = Lanes(repeating: g.row_scales[firstRow + row])
      let x = sums + row * 32
      store(load(x).addingProduct(zero, load(g.weight_sums)) * scale, x)
      store(load(x + 16).addingProduct(zero, load(g.weight_sums + 16)) * scale, x + 16)
    }
  }

  /// The epilogue: sums [rows][32] + bias, GELU, gate, into the output.
  @inlinable @inline(__always)
  static func finish(_ g: ditqk_output, _ sums: UnsafeMutablePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int) {
    let width = g.columns - column
    for row in 0..<rows {
      let out = g.values + (firstRow + row) * g.stride + column
      var gate: UnsafePointer<Float>?
      if let gates = g.gate { gate = gates + (g.first_row + firstRow + row) / g.rows_per_gate * g.gate_stride + column }
      var i = 0
      while i < 32 && i < width {
        let count = width - i < 16 ? width - i : 16
        var x = load(sums + row * 32 + i)
        if let bias = g.bias { x += load(bias + column, at: i, count) }
        if g.gelu != 0 { x = gelu(x) }
        if g.accumulate != 0 {
          let before = load(UnsafePointer(out), at: i, count)
          if let gate { x = before.addingProduct(load(gate, at: i, count), x) } else { x += before }
        }
        store(x, out, at: i, count)
        i += 16
      }
    }
  }
}
