// The GEMM of one block of rows and panels, of floats or of integers: for each panel, for each tile of rows, the register tile over the
// whole depth, then the epilogue on the finished sums while they are in the first-level cache. The layouts are in CKernels.h.

import CKernels

extension ditqk_output {
  /// Whether finished sums go straight out: + bias alone, all 32 columns.
  @inlinable @inline(__always)
  func isPlain(_ column: Int) -> Bool { values != nil && gelu == 0 && factors == nil && accumulate == 0 && columns - column >= 32 }
}

extension KernelSet {
  @inlinable @inline(__always)
  public static func gemm(_ g: ditqk_gemm) {
    var panel = g.panels!
    var column = 0
    while column < g.output.columns {
      let isPlain = g.output.isPlain(column), bias = g.output.bias.map { $0 + column }
      forEachTile(g.output, column, isPlain) { row, rows, sums in
        let line = isPlain ? g.output.values + row * g.output.stride + column : nil
        choose(rows, FloatProduct<Self>(tile: g.tiles + row * g.depth, panel: panel, depth: g.depth, sums, line, g.output.stride, bias))
      }
      panel += g.panel_stride
      column += 32
    }
  }

  /// Panels of integers: exact sums a group, then to floats, scaled and added up over the groups. For sets with `registerLayout`.
  @inlinable @inline(__always)
  public static func gemm(_ arguments: UnsafePointer<ditqk_gemm_u8>) {
    let g = arguments.pointee
    var next = g.next
    let tileRows = Int(layout.rows), rowSize = layout.rowSize(depth: g.depth)
    let share = (g.next_size * tileRows / g.output.rows + 63) & ~63, end = g.next.map { $0 + g.next_size }
    withTileSums { sums, zeros in
      var row = 0
      while row < g.output.rows {
        let rows = g.output.rows - row < tileRows ? g.output.rows - row : tileRows
        let tile = tile(g, g.tiles + row * rowSize, rows: rows)
        for panel in 0..<g.panels {
          let column = panel * 32, isDirect = g.output.isPlain(column) && g.group >= g.depth && g.panel != nil
          let line = isDirect ? g.output.values + row * g.output.stride + column : nil
          let operands = IntegerOperands(arguments, row: row, panel: panel, tile: tile, sums: sums, zeros: zeros, line: line)
          if hasSmallIntegers && g.bits == 4 {
            choose(rows, IntegerProduct<Self, SmallIntegers>(operands))
          } else if NarrowTile.Sums.width < Integers.width && rows == NarrowTile.rows && operands.columns <= 16 {
            IntegerProduct<Self, NarrowTile.Sums>(operands).run(NarrowTile.self)
          } else {
            choose(rows, IntegerProduct<Self, Integers>(operands))
          }
          if isDirect { continue }
          complete(g.output, sums, row, rows, column, DequantizedSum<Self>(arguments, column))
        }
        if let start = next, let end {
          let stop = start + share < end ? start + share : end
          prefetch(from: start, to: stop)
          next = stop
        }
        row += rows
      }
    }
  }

  @inlinable @inline(__always)
  static func prefetch(from start: UnsafeRawPointer, to end: UnsafeRawPointer) {
    var line = start
    while line < end {
      ditqk_prefetch_read(line)
      line += 64
    }
  }

  /// Σ over groups of scale · Σ q·p as a sum of products of what q and p stand for, and the bias.
  @inlinable @inline(__always)
  static func dequantized(_ sum: Lanes, _ weightSum: Lanes, zero: Float, scale: Float, bias: Lanes) -> Lanes {
    bias.addingProduct(ditqk_less_product(sum, Lanes(repeating: zero), weightSum), Lanes(repeating: scale))
  }

  /// Calls `body` to fill the sums [rows][32] of each tile, which are floats, and puts them out; or for it to do so itself.
  @inlinable @inline(__always)
  static func forEachTile(
    _ output: ditqk_output, _ column: Int, _ isDirect: Bool,
    _ body: (_ row: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
  ) {
    withTileSums { sums, _ in
      forEachTile(of: output.rows) { row, rows in
        body(row, rows, sums)
        if !isDirect { complete(output, sums, row, rows, column, FloatSum()) }
      }
    }
  }

  /// Gives `body` room for the sums of the largest tile, and 32 zeros.
  @inlinable @inline(__always)
  static func withTileSums(_ body: (_ sums: UnsafeMutablePointer<Float>, _ zeros: UnsafePointer<Float>) -> Void) {
    // Careful: withUnsafeTemporaryAllocation takes more than 1024 bytes from the heap.
    // The stack is not aligned to a cache line, and every second access would cross one: hence one vector more, for an aligned start.
    var scratch = InlineArray<31, Lanes>(repeating: .zero)
    withUnsafeMutableBytes(of: &scratch) { bytes in
      let sums = bytes.baseAddress!.alignedUp(toMultipleOf: 64).assumingMemoryBound(to: Float.self)
      body(sums, UnsafePointer(sums + Int(DITQK_LARGEST_TILE_ROWS) * 32))
    }
  }

  /// The epilogue of a tile's sums.
  @inlinable @inline(__always)
  public static func complete<Value: FinishedSum>(
    _ output: ditqk_output, _ sums: UnsafePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int,
    _ value: Value
  ) {
    if output.isPlain(column) {
      putOut(output, sums, firstRow, rows, column, value)
    } else {
      finish(output, sums, firstRow, rows, column, value)
    }
  }

  @inlinable @inline(__always)
  static func forEachTile(of count: Int, _ body: (_ row: Int, _ rows: Int) -> Void) {
    var row = 0
    while row < count {
      let rows = count - row < tileRows ? count - row : tileRows
      body(row, rows)
      row += rows
    }
  }

  /// The plain epilogue of some rows.
  @inlinable @inline(__always)
  static func putOut<Value: FinishedSum>(
    _ g: ditqk_output, _ sums: UnsafePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int,
    _ value: Value
  ) {
    var line = g.values + firstRow * g.stride + column
    let left = g.bias.map { load($0 + column) } ?? Lanes.zero, right = g.bias.map { load($0 + column + 16) } ?? Lanes.zero
    for row in 0..<rows {
      store(value(firstRow + row, 0, load(sums + row * 32), left), line)
      store(value(firstRow + row, 16, load(sums + row * 32 + 16), right), line + 16)
      line += g.stride
    }
  }

  /// The epilogue of sums [rows][32]: + bias, GELU, factor, gate, into the output. Columns past the last are zeros here, which every range includes.
  @inlinable @inline(__always)
  static func finish<Value: FinishedSum>(
    _ g: ditqk_output, _ sums: UnsafePointer<Float>, _ firstRow: Int, _ rows: Int, _ column: Int,
    _ value: Value
  ) {
    let columns = g.columns - column < 32 ? g.columns - column : 32, end = firstRow + rows
    var i = 0
    while i < columns {
      let count = columns - i < 16 ? columns - i : 16
      let bias = g.bias.map { load($0 + column, at: i, count) } ?? Lanes.zero
      var gates = Lanes(repeating: 1), next = firstRow
      for row in firstRow..<end {
        if row == next { (gates, next) = self.gates(g, of: row, end, column + i, count) }
        var x = value(row, i, load(sums + (row - firstRow) * 32 + i), bias)
        if g.gelu != 0 { x = gelu(x) }
        if let factors = g.factors { x *= load(factors + column, at: i, count) }
        guard let values = g.values else {
          putQuantized(x, g, row, column + i, count)
          continue
        }
        if let extremes = g.extremes {
          let lows = extremes + row * g.extremes_stride, highs = lows + 16
          store(smaller(load(lows), x), lows)
          store(larger(load(highs), x), highs)
        }
        let out = values + row * g.stride + column
        if g.accumulate != 0 { x = load(UnsafePointer(out), at: i, count).addingProduct(gates, x) }
        store(x, out, at: i, count)
      }
      i += 16
    }
  }

  /// The gates of a row, ones where there are none, and the first row that has others, or `end`: those of an image's rows are the same.
  @inlinable @inline(__always)
  static func gates(_ g: ditqk_output, of row: Int, _ end: Int, _ column: Int, _ count: Int) -> (Lanes, next: Int) {
    guard let gate = g.gate else { return (Lanes(repeating: 1), end) }
    let image = (g.first_row + row) / g.rows_per_gate, next = (image + 1) * g.rows_per_gate - g.first_row
    return (load(gate + image * g.gate_stride + column, at: 0, count), next < end ? next : end)
  }

  /// Sixteen columns of a row as the left matrix of a GEMM to come; `count` is a multiple of 8.
  @inlinable @inline(__always)
  static func putQuantized(_ x: Lanes, _ g: ditqk_output, _ row: Int, _ column: Int, _ count: Int) {
    let tileRows = Int(layout.rows), first = row - row % tileRows, rows = g.rows - first < tileRows ? g.rows - first : tileRows
    let offset = first * g.next_row_size + layout.place(row: row - first, input: g.first_column + column, rows: rows)
    let q = Lanes(repeating: g.next_zeros[row]).addingProduct(x, inverse(g.next_scales[row]))
    put(ditqk_rounded_words(q, q, q, q), of: 1, count, UnsafeMutableRawPointer(g.tiles + offset), rows)
  }
}

/// What a sum over the depth stands for. Types and not closures, so that all of an epilogue is inlined.
public protocol FinishedSum {
  /// The value at columns `i` on.
  func callAsFunction(_ row: Int, _ i: Int, _ sum: Lanes, _ bias: Lanes) -> Lanes
}

/// Of floats.
@frozen public struct FloatSum: FinishedSum {
  @inlinable @inline(__always) init() {}
  @inlinable @inline(__always) public func callAsFunction(_: Int, _: Int, _ sum: Lanes, _ bias: Lanes) -> Lanes { sum + bias }
}

/// Of integers times their groups' scales.
@frozen public struct DequantizedSum<Kernels: KernelSet>: FinishedSum {
  @usableFromInline let weightSums: UnsafePointer<Float>
  @usableFromInline let rowScales: UnsafePointer<Float>
  @usableFromInline let rowZeros: UnsafePointer<Float>
  @inlinable @inline(__always) public init(_ g: UnsafePointer<ditqk_gemm_u8>, _ column: Int) {
    (weightSums, rowScales, rowZeros) = (g.pointee.weight_sums + column, g.pointee.row_scales, g.pointee.row_zeros)
  }
  @inlinable @inline(__always) public func callAsFunction(_ row: Int, _ i: Int, _ sum: Lanes, _ bias: Lanes) -> Lanes {
    Kernels.dequantized(sum, Kernels.load(weightSums + i), zero: rowZeros[row], scale: rowScales[row], bias: bias)
  }
}
