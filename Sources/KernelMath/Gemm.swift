// The float GEMM of one block of rows and panels: for each panel, for each tile of rows, the register tile over the whole depth, then the
// epilogue on the finished sums while they are in the first-level cache. Relies on Tile; the layouts are in CKernels.h.

import CKernels

extension KernelSet {
  /// sums [T.rows][32]: tile [depth][T.rows] · panel [depth][32].
  @inlinable @inline(__always)
  static func multiply<T: Tile>(
    _: T.Type, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    var column = 0
    while column < 32 {
      var accumulators = T()
      var a = tile
      var b = panel + column
      var remaining = depth
      while remaining > 0 {
        accumulators.step(a, T.Columns(b))
        a += T.rows
        b += 32
        remaining -= 1
      }
      accumulators.write(to: sums + column)
      column += T.Columns.width
    }
  }

  @inlinable @inline(__always)
  public static func gemm(_ g: ditqk_gemm) {
    // The sums of the largest tile. Careful: withUnsafeTemporaryAllocation takes more than 1024 bytes from the heap.
    var scratch = InlineArray<28, Lanes>(repeating: .zero)
    withUnsafeMutableBytes(of: &scratch) { bytes in
      let sums = bytes.baseAddress!.assumingMemoryBound(to: Float.self)
      var panel = g.panels!
      var column = 0
      while column < g.columns {
        var row = 0
        while row < g.rows {
          let rows = g.rows - row < tileRows ? g.rows - row : tileRows
          multiplyTile(rows, g.tiles + row * g.depth, panel, g.depth, sums)
          finish(g, sums, row, rows, column)
          row += rows
        }
        panel += g.panel_stride
        column += 32
      }
    }
  }

  /// The epilogue: sums [rows][32] + bias, GELU, gate, into the output.
  @inlinable @inline(__always)
  static func finish(_ g: ditqk_gemm, _ sums: UnsafeMutablePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int) {
    let width = g.columns - column
    for row in 0..<rows {
      let out = g.output + (firstRow + row) * g.output_stride + column
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

  /// `multiply` for 1 to 6 rows of sixteen columns: for sixteen 256-bit or thirty-two 128-bit registers.
  @inlinable @inline(__always)
  public static func multiplyUpTo6(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    switch rows {
    case 1: multiply(Rows1<OneVector<Self>>.self, tile, panel, depth, sums)
    case 2: multiply(Rows2<OneVector<Self>>.self, tile, panel, depth, sums)
    case 3: multiply(Rows3<OneVector<Self>>.self, tile, panel, depth, sums)
    case 4: multiply(Rows4<OneVector<Self>>.self, tile, panel, depth, sums)
    case 5: multiply(Rows5<OneVector<Self>>.self, tile, panel, depth, sums)
    default: multiply(Rows6<OneVector<Self>>.self, tile, panel, depth, sums)
    }
  }

  /// `multiply` for 1 to 14 rows of thirty-two columns: 28 of thirty-two 512-bit registers are sums.
  @inlinable @inline(__always)
  public static func multiplyUpTo14(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>
  ) {
    switch rows {
    case 1: multiply(Rows1<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 2: multiply(Rows2<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 3: multiply(Rows3<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 4: multiply(Rows4<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 5: multiply(Rows5<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 6: multiply(Rows6<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 7: multiply(Rows7<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 8: multiply(Rows8<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 9: multiply(Rows9<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 10: multiply(Rows10<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 11: multiply(Rows11<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 12: multiply(Rows12<TwoVectors<Self>>.self, tile, panel, depth, sums)
    case 13: multiply(Rows13<TwoVectors<Self>>.self, tile, panel, depth, sums)
    default: multiply(Rows14<TwoVectors<Self>>.self, tile, panel, depth, sums)
    }
  }
}
