// Convolution on images in [height][width][channels], with kernel 1×1 or 3×3, stride 1, zeros around. It is a GEMM whose rows are pixels:
// the values under the kernel are packed for a few tiles of pixels at a time, in the order (tap row, tap column, channel).

import CKernels

struct Convolution {
  let inputs: Int
  let outputs: Int
  /// 1 or 3.
  let size: Int
  /// Panels over the depth size · size · inputs.
  let weights: UnsafePointer<Float>
  let bias: UnsafePointer<Float>

  var depth: Int { size * size * inputs }
}

extension Executor {
  /// output [height, width, outputs] ← or += convolution of x. With `doubling`, x is [height / 2, width / 2] and each of its pixels stands
  /// for four. Scratch: `convolutionScratch`.
  func convolve(
    _ x: UnsafePointer<Float>, _ convolution: Convolution, height: Int, width: Int, doubling: Bool = false, accumulate: Bool = false,
    into output: UnsafeMutablePointer<Float>
  ) {
    pool.run(
      ConvolveJob(
        x: x, convolution: convolution, height: height, width: width, doubling: doubling, accumulate: accumulate, output: output,
        kernels: kernels, tileRows: tileRows, scratch: scratch))
  }

  /// A row of zeros and some packed tiles.
  static func convolutionScratch(depth: Int, inputs: Int, tileRows: Int) -> Int {
    inputs + tilesPerBlock(depth: depth, tileRows: tileRows) * tileRows * depth
  }

  /// Tiles packed together, so that a panel is read from the cache once for all of them: about 256 KB, and one at least.
  fileprivate static func tilesPerBlock(depth: Int, tileRows: Int) -> Int { max(1, 65536 / (depth * tileRows)) }
}

private struct ConvolveJob: ParallelJob {
  let x: UnsafePointer<Float>
  let convolution: Convolution
  let height: Int
  let width: Int
  let doubling: Bool
  let accumulate: Bool
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let tileRows: Int
  let scratch: ThreadScratch

  func run(part: Int, of parts: Int) {
    let depth = convolution.depth
    let zeros = scratch.of(thread: part)
    zeros.initialize(repeating: 0, count: convolution.inputs)
    let tiles = zeros + convolution.inputs
    let blockRows = Executor.tilesPerBlock(depth: depth, tileRows: tileRows) * tileRows
    let pixels = height * width
    for block in share(of: (pixels + blockRows - 1) / blockRows, part: part, of: parts) {
      let first = block * blockRows
      let rows = min(blockRows, pixels - first)
      for row in stride(from: 0, to: rows, by: tileRows) {
        pack(first + row, min(tileRows, rows - row), zeros, into: tiles + row * depth)
      }
      var g = ditqk_gemm(
        tiles: tiles, panels: convolution.weights, depth: depth, panel_stride: depth * panelColumns,
        output: ditqk_output(
          output + first * convolution.outputs, rows: rows, convolution.outputs, stride: convolution.outputs, bias: convolution.bias,
          Epilogue(accumulate: accumulate)))
      kernels.gemm(&g)
    }
  }

  /// A tile of `count` pixels: for each tap of the kernel, the channels of the pixel under it.
  private func pack(_ firstPixel: Int, _ count: Int, _ zeros: UnsafePointer<Float>, into tile: UnsafeMutablePointer<Float>) {
    let reach = convolution.size / 2
    var target = tile
    withRowPointers { rows in
      for dy in -reach...reach {
        for dx in -reach...reach {
          for row in 0..<count {
            let pixel = firstPixel + row
            rows[row] = source(y: pixel / width + dy, x: pixel % width + dx) ?? zeros
          }
          kernels.pack_rows(rows, count, convolution.inputs, target)
          target += count * convolution.inputs
        }
      }
    }
  }

  private func source(y: Int, x column: Int) -> UnsafePointer<Float>? {
    guard (0..<height).contains(y) && (0..<width).contains(column) else { return nil }
    return x + (doubling ? y / 2 * (width / 2) + column / 2 : y * width + column) * convolution.inputs
  }
}
