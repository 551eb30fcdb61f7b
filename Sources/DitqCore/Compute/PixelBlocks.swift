// An image cut into blocks of pixels. Which they are follows from the image and its channels alone: what is computed for a block, such as the
// range of its activations, is the same for any number of threads and any instruction set.

struct PixelBlocks {
  let height: Int
  let width: Int
  let blockHeight: Int
  let blockWidth: Int

  /// Blocks for a convolution of so many inputs: with its border and the weights of a panel a block is about what a second-level cache
  /// holds, and it is wide enough for its border not to count.
  init(height: Int, width: Int, channels: Int) {
    (self.height, self.width) = (height, width)
    (blockHeight, blockWidth) = PixelBlocks.size(channels: channels)
  }

  static func size(channels: Int) -> (height: Int, width: Int) { (8, channels < 512 ? widest : widest / 2) }
  static let widest = 64

  private var across: Int { (width + blockWidth - 1) / blockWidth }
  var count: Int { across * ((height + blockHeight - 1) / blockHeight) }

  subscript(index: Int) -> PixelBlock {
    let y = index / across * blockHeight, x = index % across * blockWidth
    return PixelBlock(rows: y..<min(y + blockHeight, height), columns: x..<min(x + blockWidth, width))
  }
}

struct PixelBlock {
  let rows: Range<Int>
  let columns: Range<Int>
  var pixelCount: Int { rows.count * columns.count }
}
