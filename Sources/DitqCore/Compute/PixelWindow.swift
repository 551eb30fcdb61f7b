// Which pixels of a source image a block of a convolution and its border are made of, and where they stand: in the image, or copied from it.

import CKernels

/// The pixels of a source image that a block and its border are made of, where they stand.
struct PixelWindow {
  private let start: UnsafePointer<Float>
  /// Pixels from one row to the next.
  private let stride: Int
  private let rows: Range<Int>
  private let columns: Range<Int>
  private let inputs: Int
  /// Of the output.
  private let height: Int, width: Int
  private let doubling: Bool

  init(_ input: ConvolutionInput, _ block: PixelBlock, _ blocks: PixelBlocks, reach: Int, inputs: Int) {
    func source(_ range: Range<Int>, _ size: Int) -> Range<Int> {
      let first = max(range.lowerBound - reach, 0), last = min(range.upperBound + reach, size) - 1
      return input.doubling ? first / 2..<last / 2 + 1 : first..<last + 1
    }
    (height, width, doubling, self.inputs) = (blocks.height, blocks.width, input.doubling, inputs)
    (rows, columns) = (source(block.rows, height), source(block.columns, width))
    stride = doubling ? width / 2 : width
    start = input.pixels + (rows.lowerBound * stride + columns.lowerBound) * inputs
  }

  private init(_ window: PixelWindow, at start: UnsafePointer<Float>) {
    (rows, columns, inputs, height, width, doubling) = (
      window.rows, window.columns, window.inputs, window.height, window.width, window.doubling
    )
    (self.start, stride) = (start, columns.count)
  }

  /// nil around the image.
  func pixel(y: Int, x: Int) -> UnsafePointer<Float>? {
    guard (0..<height).contains(y) && (0..<width).contains(x) else { return nil }
    let row = (doubling ? y / 2 : y) - rows.lowerBound, column = (doubling ? x / 2 : x) - columns.lowerBound
    return column < columns.count ? start + (row * stride + column) * inputs : nil
  }

  /// The same pixels one after the other, normalized where asked.
  func copied(to target: UnsafeMutablePointer<Float>, _ norm: ChannelNorm?, _ kernels: ditqk_kernels) -> PixelWindow {
    let count = columns.count * inputs
    for row in 0..<rows.count {
      let source = start + row * stride * inputs, line = target + row * count
      if let norm {
        norm.apply(source, pixels: columns.count, into: line, kernels)
      } else {
        line.update(from: source, count: count)
      }
    }
    return PixelWindow(self, at: target)
  }

  /// The largest |x| of pixels that stand one after the other.
  func magnitude(_ kernels: ditqk_kernels) -> Float { kernels.row_magnitude(start, rows.count * columns.count * inputs) }
}
