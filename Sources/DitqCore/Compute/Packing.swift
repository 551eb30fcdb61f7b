// Rows of activations into tiles: as they are, or through LayerNorm and modulation on the way.

import CKernels

extension Executor {
  /// Packs x [rows, depth], rows `stride` floats apart.
  func pack(_ x: UnsafePointer<Float>, rows: Int, depth: Int, stride: Int, into tiles: UnsafeMutablePointer<Float>) -> PackedRows {
    let packed = PackedRows(tiles: tiles, rows: rows, depth: depth)
    pool.run(PackJob(x: x, stride: stride, packed: packed, modulation: nil, kernels: kernels, tileRows: tileRows, scratch: scratch))
    return packed
  }

  /// Packs LayerNorm(x) · (1 + scale) + shift. Scratch: `modulationScratch`.
  func packModulated(_ x: UnsafePointer<Float>, rows: Int, depth: Int, _ modulation: Modulation, into tiles: UnsafeMutablePointer<Float>)
    -> PackedRows
  {
    let packed = PackedRows(tiles: tiles, rows: rows, depth: depth)
    pool.run(PackJob(x: x, stride: depth, packed: packed, modulation: modulation, kernels: kernels, tileRows: tileRows, scratch: scratch))
    return packed
  }

  static func modulationScratch(depth: Int, tileRows: Int) -> Int { tileRows * depth }
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
  let x: UnsafePointer<Float>
  let stride: Int
  let packed: PackedRows
  let modulation: Modulation?
  let kernels: ditqk_kernels
  let tileRows: Int
  let scratch: ThreadScratch

  func run(part: Int, of parts: Int) {
    let depth = packed.depth
    for tile in share(of: (packed.rows + tileRows - 1) / tileRows, part: part, of: parts) {
      let first = tile * tileRows
      let count = min(tileRows, packed.rows - first)
      withRowPointers { rows in
        for row in 0..<count {
          let source = x + (first + row) * stride
          rows[row] = source
          guard let modulation else { continue }
          let target = scratch.of(thread: part) + row * depth
          let offset = (first + row) / modulation.rowsPerImage * modulation.stride
          kernels.modulate(source, modulation.shift + offset, modulation.scale + offset, modulation.epsilon, depth, target)
          rows[row] = UnsafePointer(target)
        }
        kernels.pack_rows(rows, count, depth, packed.tiles + first * depth)
      }
    }
  }
}

/// Pointers to the rows of one tile.
func withRowPointers(_ body: (UnsafeMutablePointer<UnsafePointer<Float>?>) -> Void) {
  withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: Int(DITQK_LARGEST_TILE_ROWS)) { pointers in
    pointers.initialize(repeating: nil)
    body(pointers.baseAddress!)
  }
}
