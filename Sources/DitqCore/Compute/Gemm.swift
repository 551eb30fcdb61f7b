// The float GEMM driver: y [rows, outputs] = x [rows, inputs] · weightsᵀ.
//
// Order of summation. Every y is one chain of fused multiply-adds along the inputs, from the first to the last, starting at 0. It does not
// depend on how rows and outputs are divided into tiles, panels and threads, so results are the same to the bit everywhere.
//
// Blocking. The left matrix is packed once into tiles of a few rows (14 on AVX-512), [depth][rows], the right one into panels of 32
// outputs, [depth][32]. A register tile holds 14 × 32 sums: 28 vectors of sixteen, which leaves four registers for two vectors of the
// panel and a broadcast. A step of depth is 28 multiply-adds on 14 broadcasts and 2 loads: 16 loads for 28 operations, within what a core
// can load, and 28 chains hide the latency of 4 cycles × 2 units. Per step a tile reads 128 bytes of panel and 56 of rows in 14 cycles, 13
// bytes a cycle, which the second-level cache gives with ease: a panel of depth 4608 is 590 KB and stays there for all tiles, while the
// tiles stream by from the third level at 4 bytes a cycle. So the depth is not blocked, and sums never leave registers before they are done.
//
// Stored weights are packed a panel at a time, into the thread's scratch, and used for all rows of the thread.
//
// Threads. Panels × tiles is divided into a grid of equal parts, chosen so that the largest part is smallest; among equals, the one that
// divides panels most, because each panel is packed by each thread that uses it.

import CKernels

/// The left matrix in tiles: tile i at i · tileRows · depth, [depth][rows of the tile].
struct PackedRows {
  let tiles: UnsafeMutablePointer<Float>
  let rows: Int
  let depth: Int
}

/// What happens to a finished sum: + bias of the linear, GELU, times a factor, then stored, or added to what is there, times a gate.
struct Epilogue {
  var gelu = false
  /// [columns] that the value is multiplied with, or nil.
  var factors: UnsafePointer<Float>?
  var accumulate = false
  /// Gates [⌈rows / rowsPerGate⌉][gateStride], a row for each image.
  var gate: UnsafePointer<Float>?
  var gateStride = 0
  var rowsPerGate = 1
  /// Of the values of each row, to be kept, or nil. Not where they are plain sums.
  var extremes: RowExtremes?
}

/// The least and the greatest values of each row, as the threads that make the row see them go by: sixteen of each for a thread. The range of
/// these is the row's. [rows][threads][2][16].
struct RowExtremes {
  let values: UnsafeMutablePointer<Float>
  /// Of a row.
  let count: Int
  static let countPerThread = 32

  init(_ values: UnsafeMutablePointer<Float>, threads: Int) { (self.values, count) = (values, threads * RowExtremes.countPerThread) }

  init(_ arena: inout Arena, rows: Int, threads: Int) {
    self.init(arena.floats(rows, threads, RowExtremes.countPerThread), threads: threads)
  }

  func row(_ index: Int) -> UnsafeMutablePointer<Float> { values + index * count }

  /// To 0, which every range includes: a thread may have no part in a row.
  func clear(rows: Int) { values.update(repeating: 0, count: rows * count) }
}

extension ditqk_output {
  init(
    _ values: UnsafeMutablePointer<Float>?, rows: Int, _ columns: Int, stride: Int, bias: UnsafePointer<Float>? = nil,
    _ epilogue: Epilogue = Epilogue()
  ) {
    self.init(
      values: values, tiles: nil, next_scales: nil, next_zeros: nil, next_row_size: 0, first_column: 0, bias: bias,
      factors: epilogue.factors,
      gate: epilogue.gate, rows: rows, columns: columns, stride: stride,
      gate_stride: epilogue.gateStride,
      rows_per_gate: epilogue.rowsPerGate, first_row: 0, extremes: epilogue.extremes?.values,
      extremes_stride: epilogue.extremes?.count ?? 0, gelu: epilogue.gelu ? 1 : 0, accumulate: epilogue.accumulate ? 1 : 0)
  }

  /// Into the rows of a GEMM to come, by the ranges that they have already.
  init(_ next: QuantizedRows, _ columns: Int, bias: UnsafePointer<Float>?, _ epilogue: Epilogue) {
    self.init(nil, rows: next.rows, columns, stride: 0, bias: bias, epilogue)
    (tiles, next_scales, next_zeros) = (next.tile(at: 0), UnsafePointer(next.scales), UnsafePointer(next.zeros))
    next_row_size = next.rowSize
  }

  /// Some rows of the columns of a panel, or of several, for a thread.
  func part(_ range: Range<Int>, panel: Int, count: Int = 1, thread: Int) -> ditqk_output {
    let column = panel * panelColumns
    var result = self
    result.values = values.map { $0 + range.lowerBound * stride + column }
    result.tiles = tiles.map { $0 + range.lowerBound * next_row_size }
    result.next_scales = next_scales.map { $0 + range.lowerBound }
    result.next_zeros = next_zeros.map { $0 + range.lowerBound }
    result.bias = bias.map { $0 + column }
    result.factors = factors.map { $0 + column }
    result.gate = gate.map { $0 + column }
    result.extremes = extremes.map { $0 + range.lowerBound * extremes_stride + thread * RowExtremes.countPerThread }
    result.first_column = column
    (result.rows, result.columns, result.first_row) = (range.count, min(count * panelColumns, columns - column), range.lowerBound)
    return result
  }
}

extension Executor {
  /// output [rows, stride] ← epilogue(x · weightsᵀ + bias).
  func gemm(_ x: PackedRows, _ linear: Linear, into output: UnsafeMutablePointer<Float>, stride: Int, _ epilogue: Epilogue = Epilogue()) {
    precondition(x.depth == linear.inputs)
    epilogue.extremes?.clear(rows: x.rows)
    let arguments = ditqk_gemm(
      tiles: x.tiles, panels: nil, depth: x.depth, panel_stride: x.depth * panelColumns,
      output: ditqk_output(output, rows: x.rows, linear.outputs, stride: stride, bias: linear.bias, epilogue))
    pool.run(
      GemmJob(
        arguments: arguments, weights: linear.weights, kernels: kernels, tileRows: tileRows, scratch: scratch, cancellation: cancellation))
  }

  /// Scratch floats a thread needs for weights of this depth that are no floats in panels: a panel, and a 4-bit one on its way.
  static func gemmScratch(depth: Int) -> Int { IntegerWeights.depth(depth) * panelColumns + integerScratch(inputs: depth) }
}

/// Up to so many rows weights are turned to floats in registers, as they come from memory; with more, once for all rows.
private let mostRowsOfWeightOnly = 4

private struct GemmJob: ParallelJob {
  let arguments: ditqk_gemm
  let weights: Linear.Weights
  let kernels: ditqk_kernels
  let tileRows: Int
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let whole = arguments.output
    let grid = Grid(packed: panelCount(whole.columns), others: (whole.rows + tileRows - 1) / tileRows, parts: parts)
    let rows = grid.elements(part, of: whole.rows, each: tileRows)
    guard !rows.isEmpty else { return }
    var g = arguments
    let together = Executor.rowsUnseen(productsPerRow: arguments.depth * panelColumns, tileRows: tileRows)
    for panel in grid.packed(part) {
      if cancellation.isAsked { return }
      switch weights {
      case .packed(let start): g.panels = start + panel * arguments.panel_stride
      case .stored(let matrix):
        let target = scratch.of(thread: part)
        matrix.packPanel(panel, into: target, kernels)
        g.panels = UnsafePointer(target)
      case .integers(let integers):
        let target = scratch.of(thread: part)
        if let multiply = kernels.gemm_weight_only, whole.rows <= mostRowsOfWeightOnly && arguments.depth % 4 == 0 {
          var weights = integers.arguments(ofPanel: panel, UnsafeMutableRawPointer(target), whole.part(rows, panel: panel, thread: part))
          multiply(arguments.tiles, arguments.depth, &weights)
          continue
        }
        integers.dequantizePanel(panel, into: target, kernels)
        g.panels = UnsafePointer(target)
      }
      for first in stride(from: rows.lowerBound, to: rows.upperBound, by: together) {
        if cancellation.isAsked { return }
        g.tiles = arguments.tiles + first * arguments.depth
        g.output = whole.part(first..<min(first + together, rows.upperBound), panel: panel, thread: part)
        kernels.gemm(&g)
      }
    }
  }
}

/// How items that each thread packs for itself, times others, are divided among threads: of the ways to divide, the one whose largest part is
/// smallest; among equals, the one that divides the packed ones most.
struct Grid {
  private let packedCount: Int, otherCount: Int
  private let packedParts: Int, otherParts: Int

  init(packed: Int, others: Int, parts: Int) {
    (packedCount, otherCount) = (packed, others)
    var best = (cost: Int.max, packedParts: 1)
    for packedParts in 1...parts where parts % packedParts == 0 {
      let otherParts = parts / packedParts
      let cost = ((packed + packedParts - 1) / packedParts) * ((others + otherParts - 1) / otherParts)
      if cost <= best.cost { best = (cost, packedParts) }
    }
    packedParts = best.packedParts
    otherParts = parts / best.packedParts
  }

  func packed(_ part: Int) -> Range<Int> { share(of: packedCount, part: part % packedParts, of: packedParts) }
  func others(_ part: Int) -> Range<Int> { share(of: otherCount, part: part / packedParts, of: otherParts) }

  /// What the others of a part hold, `each` a piece, of `count`: rows of tiles, columns of panels.
  func elements(_ part: Int, of count: Int, each: Int) -> Range<Int> {
    let others = others(part)
    return min(others.lowerBound * each, count)..<min(others.upperBound * each, count)
  }
}
