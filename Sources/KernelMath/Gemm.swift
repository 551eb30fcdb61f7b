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
      } value: { _, _, sum in
        sum
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
    } value: { row, i, sum in
      sum.addingProduct(Lanes(repeating: -g.row_zeros[row]), load(g.weight_sums + i)) * Lanes(repeating: g.row_scales[row])
    }
  }

  /// Calls `body` to fill the sums [rows][32] of each tile, makes values of sixteen of them at a time, and puts these out.
  @inlinable @inline(__always)
  static func forEachTile(
    _ output: ditqk_output, _ column: Int, _ body: (_ row: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void,
    value: (_ row: Int, _ i: Int, _ sum: Lanes) -> Lanes
  ) {
    // The sums of the largest tile. Careful: withUnsafeTemporaryAllocation takes more than 1024 bytes from the heap.
    var scratch = InlineArray<28, Lanes>(repeating: .zero)
    withUnsafeMutableBytes(of: &scratch) { bytes in
      let sums = bytes.baseAddress!.assumingMemoryBound(to: Float.self)
      var row = 0
      while row < output.rows {
        let rows = output.rows - row < tileRows ? output.rows - row : tileRows
        for i in 0..<rows {
          let line = output.values + (row + i) * output.stride + column
          ditqk_prefetch_write(line)
          ditqk_prefetch_write(line + 16)
        }
        body(row, rows, sums)
        if output.gelu == 0 && output.factors == nil && output.accumulate == 0 && output.columns - column >= 32 {
          putOut(output, sums, row, rows, column, value)
        } else {
          for i in 0..<rows { finish(output, sums + i * 32, row + i, column, value) }
        }
        row += rows
      }
    }
  }

  /// The plain epilogue, + bias alone, of all 32 columns of some rows.
  @inlinable @inline(__always)
  static func putOut(
    _ g: ditqk_output, _ sums: UnsafePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int,
    _ value: (_ row: Int, _ i: Int, _ sum: Lanes) -> Lanes
  ) {
    var out = g.values + firstRow * g.stride + column
    for row in 0..<rows {
      var x = value(firstRow + row, 0, load(sums + row * 32)), y = value(firstRow + row, 16, load(sums + row * 32 + 16))
      if let bias = g.bias { (x, y) = (x + load(bias + column), y + load(bias + column + 16)) }
      store(x, out)
      store(y, out + 16)
      out += g.stride
    }
  }

  /// The epilogue of a row of sums [32]: + bias, GELU, factor, gate, into the output.
  @inlinable @inline(__always)
  static func finish(
    _ g: ditqk_output, _ sums: UnsafePointer<Float>, _ row: Int, _ column: Int, _ value: (_ row: Int, _ i: Int, _ sum: Lanes) -> Lanes
  ) {
    let out = g.values + row * g.stride + column
    var gate: UnsafePointer<Float>?
    if let gates = g.gate { gate = gates + (g.first_row + row) / g.rows_per_gate * g.gate_stride + column }
    forEachLanes(g.columns - column < 32 ? g.columns - column : 32) { i, count in
      var x = value(row, i, load(sums + i))
      if let bias = g.bias { x += load(bias + column, at: i, count) }
      if g.gelu != 0 { x = gelu(x) }
      if let factors = g.factors { x *= load(factors + column, at: i, count) }
      if g.accumulate != 0 {
        let before = load(UnsafePointer(out), at: i, count)
        if let gate { x = before.addingProduct(load(gate, at: i, count), x) } else { x += before }
      }
      store(x, out, at: i, count)
    }
  }
}
