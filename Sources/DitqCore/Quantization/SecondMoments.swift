// Second moments of a layer's inputs, Σ x·xᵀ over its rows, for rounding that minds them. The product of the rows, transposed, with
// themselves: tiles of columns times panels of columns, by the float GEMM. Only the lower triangle is computed, but of all rows: some six rows an
// input instead of the emoji model's 16 to 64 took a sixth less time and cost 0.4 dB in 4 bits.

import CKernels

struct SecondMoments {
  let inputs: Int
  /// [inputs][inputs].
  let values: UnsafeMutablePointer<Float>
  /// The rows as tiles of columns, and a panel of columns for each thread.
  private let tiles: UnsafeMutablePointer<Float>
  private let panels: UnsafeMutablePointer<Float>
  private let memory: Block

  /// For at most so many rows at a time.
  init(inputs: Int, rows: Int, threads: Int) throws(DitqError) {
    var measure = Arena()
    _ = SecondMoments.reserve(&measure, inputs, rows, threads)
    memory = try Block(byteCount: try measure.checkedSize("second moments"), from: .system, for: "second moments")
    var arena = Arena(memory.start)
    (values, tiles, panels) = SecondMoments.reserve(&arena, inputs, rows, threads)
    values.initialize(repeating: 0, count: inputs * inputs)
    self.inputs = inputs
  }

  private static func reserve(
    _ arena: inout Arena, _ inputs: Int, _ rows: Int, _ threads: Int
  ) -> (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>) {
    (arena.floats(inputs, inputs), arena.floats(inputs, rows), arena.floats(threads, rows, panelColumns))
  }

  /// Adds those of x [rows, inputs].
  func add(_ x: UnsafePointer<Float>, rows: Int, _ executor: Executor) {
    // The GEMM has at least one step of depth.
    guard rows > 0 else { return }
    let tileRows = executor.tileRows
    executor.pool.run(TransposedTiles(x: x, rows: rows, inputs: inputs, tiles: tiles, tileRows: tileRows))
    executor.pool.run(
      MomentsJob(
        x: x, rows: rows, inputs: inputs, tiles: tiles, panels: panels, output: values, kernels: executor.kernels, tileRows: tileRows))
  }
}

/// Columns of x as the rows of a left matrix.
private struct TransposedTiles: ParallelJob {
  let x: UnsafePointer<Float>
  let rows: Int
  let inputs: Int
  let tiles: UnsafeMutablePointer<Float>
  let tileRows: Int

  func run(part: Int, of parts: Int) {
    for tile in share(of: (inputs + tileRows - 1) / tileRows, part: part, of: parts) {
      let first = tile * tileRows, count = min(tileRows, inputs - first)
      for row in 0..<rows { (tiles + first * rows + row * count).update(from: x + row * inputs + first, count: count) }
    }
  }
}

private struct MomentsJob: ParallelJob {
  let x: UnsafePointer<Float>
  let rows: Int
  let inputs: Int
  let tiles: UnsafePointer<Float>
  let panels: UnsafeMutablePointer<Float>
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let tileRows: Int

  /// Every `parts`th panel: they have less to do the further right they stand.
  func run(part: Int, of parts: Int) {
    for panel in stride(from: part, to: panelCount(inputs), by: parts) {
      let column = panel * panelColumns, columns = min(panelColumns, inputs - column)
      let target = panels + part * rows * panelColumns
      kernels.copy_panel(x + column, inputs, columns, rows, target)
      let first = column / tileRows * tileRows
      var g = ditqk_gemm(
        tiles: tiles + first * rows, panels: target, depth: rows, panel_stride: 0,
        output: ditqk_output(
          output + first * inputs + column, rows: inputs - first, columns, stride: inputs, Epilogue(accumulate: true)))
      kernels.gemm(&g)
    }
  }
}
