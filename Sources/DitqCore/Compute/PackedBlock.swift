// A block of pixels and its border as a convolution of floats reads it, [inputs][positions]. A row of positions is as long as the block and its
// border, rounded up to four; what is around the image is 0.

import CKernels

struct PackedBlock {
  /// As the kernel reads them.
  let tiles: UnsafeMutablePointer<Float>
  /// The pixels normalized, where that is asked.
  private let values: UnsafeMutablePointer<Float>
  /// A pixel of zeros.
  private let zeros: UnsafeMutablePointer<Float>

  struct Layout {
    /// Positions of a row, and of all.
    let pitch: Int
    let positions: Int

    init(_ convolution: Convolution, _ block: PixelBlock) {
      pitch = PackedBlock.pitch(block.columns.count + 2 * convolution.reach)
      // An odd number of cache lines, so that neighbouring channels do not fall into the same ones of a cache.
      positions = (pitch * (block.rows.count + 2 * convolution.reach) + 15) / 16 * 16 | 16
    }
  }

  /// Room for the largest block, for kernels of 3×3.
  init(_ arena: inout Arena, inputs: Int) {
    let size = PixelBlocks.size(channels: inputs), rows = size.height + 2, columns = PackedBlock.pitch(size.width + 2)
    // A tile may read past the last position.
    tiles = arena.floats(inputs * (rows * columns + 32) + Int(DITQK_LARGEST_TILE_ROWS))
    values = arena.floats(rows, columns, inputs)
    zeros = arena.floats(inputs)
  }

  private static func pitch(_ columns: Int) -> Int { (columns + 3) & ~3 }

  func fill(_ input: ConvolutionInput, _ convolution: Convolution, _ block: PixelBlock, _ blocks: PixelBlocks, _ kernels: ditqk_kernels) {
    let inputs = convolution.inputs, reach = convolution.reach, layout = Layout(convolution, block)
    var source = PixelWindow(input, block, blocks, reach: reach, inputs: inputs)
    if let norm = input.norm { source = source.copied(to: values, norm, kernels) }
    zeros.initialize(repeating: 0, count: inputs)
    withPositionPointers { pointers in
      for row in 0..<block.rows.count + 2 * reach {
        for position in 0..<layout.pitch {
          let y = block.rows.lowerBound + row - reach, x = block.columns.lowerBound + position - reach
          pointers[position] = source.pixel(y: y, x: x) ?? UnsafePointer(zeros)
        }
        kernels.pack_rows(pointers, layout.pitch, inputs, tiles + row * layout.pitch, layout.positions)
      }
    }
  }
}

/// Pointers to the pixels of one row of a block and its border.
func withPositionPointers(_ body: (UnsafeMutablePointer<UnsafePointer<Float>?>) -> Void) {
  withUnsafeTemporaryAllocation(of: UnsafePointer<Float>?.self, capacity: PixelBlocks.widest + 4) { pointers in
    pointers.initialize(repeating: nil)
    body(pointers.baseAddress!)
  }
}
