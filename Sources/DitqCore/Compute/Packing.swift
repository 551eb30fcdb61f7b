// Rows of activations into tiles: as they are, or through LayerNorm and modulation on the way.

import CKernels

extension Executor {
  /// Packs rows of floats. Scratch: `modulationScratch`, where they are modulated.
  func pack(_ source: RowSource, into packed: PackedRows) {
    pool.run(
      PackJob(source: source, packed: packed, kernels: kernels, tileRows: tileRows, scratch: scratch, cancellation: cancellation))
  }

  /// Rows as they are given to a linear layer: output [rows, inputs].
  func copy(_ source: RowSource, rows: Int, inputs: Int, into output: UnsafeMutablePointer<Float>) {
    pool.run(CopyJob(source: source, rows: rows, inputs: inputs, output: output, kernels: kernels))
  }

  static func modulationScratch(depth: Int, _ kernels: ditqk_kernels) -> Int {
    max(Int(kernels.tile_rows), Int(kernels.layout.rows)) * depth
  }
}

/// The adaLN parameters of a LayerNorm: for image i, shift and scale [depth] at i · stride.
struct Modulation {
  let shift: UnsafePointer<Float>
  let scale: UnsafePointer<Float>
  let stride: Int
  let rowsPerImage: Int
  let epsilon: Float
}

private struct PackJob: ParallelJob {
  let source: RowSource
  let packed: PackedRows
  let kernels: ditqk_kernels
  let tileRows: Int
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let depth = packed.depth
    for tile in share(of: (packed.rows + tileRows - 1) / tileRows, part: part, of: parts) {
      if cancellation.isAsked { return }
      let first = tile * tileRows
      let count = min(tileRows, packed.rows - first)
      withRowPointers { rows in
        source.point(rows, to: first, count, depth, kernels, scratch.of(thread: part))
        kernels.pack_rows(rows, count, depth, packed.tiles + first * depth, count)
      }
    }
  }
}

private struct CopyJob: ParallelJob {
  let source: RowSource
  let rows: Int
  let inputs: Int
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels

  func run(part: Int, of parts: Int) {
    for row in share(of: rows, part: part, of: parts) {
      let target = output + row * inputs
      var values: UnsafePointer<Float>?
      source.point(&values, to: row, 1, inputs, kernels, target)
      if let values, values != UnsafePointer(target) { target.update(from: values, count: inputs) }
    }
  }
}

extension RowSource {
  /// Points to rows in place, or modulated into `scratch` [count, depth].
  func point(
    _ rows: UnsafeMutablePointer<UnsafePointer<Float>?>, to first: Int, _ count: Int, _ depth: Int, _ kernels: ditqk_kernels,
    _ scratch: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<count { rows[row] = values + (first + row) * stride(inputs: depth) }
    guard let modulation else { return }
    var row = 0
    while row < count {
      let (image, place) = (first + row).quotientAndRemainder(dividingBy: modulation.rowsPerImage)
      let together = min(2, count - row, modulation.rowsPerImage - place), offset = image * modulation.stride
      kernels.modulate(
        rows + row, together, modulation.shift + offset, modulation.scale + offset, modulation.epsilon, depth, scratch + row * depth)
      for done in row..<row + together { rows[done] = UnsafePointer(scratch + done * depth) }
      row += together
    }
  }
}

/// Pointers to the rows of one tile, of floats or of 8-bit numbers.
func withRowPointers(_ body: (UnsafeMutablePointer<UnsafePointer<Float>?>) -> Void) {
  withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: Int(DITQK_MOST_LAYOUT_ROWS)) { pointers in
    pointers.initialize(repeating: nil)
    body(pointers.baseAddress!)
  }
}
