// GroupNorm on an image [height][width][channels], with SiLU where asked. It is applied by whatever reads the image: here are the statistics.
//
// One pass: for each block of pixels and each channel, sums of x − shift and of its square, the shift being the block's first pixel, which is
// near enough to the mean for the difference of squares to be as good as one of centred ones. Blocks and the channels of a group are put
// together in double precision, in order: the same for any number of threads.

import CKernels

struct GroupNorm {
  let channels: Int
  let groups: Int
  let epsilon: Float
  let weight: UnsafePointer<Float>
  let bias: UnsafePointer<Float>
}

/// (x − mean) · factor + offset by channel, then SiLU where asked.
struct ChannelNorm {
  let mean: UnsafePointer<Float>
  let factor: UnsafePointer<Float>
  let offset: UnsafePointer<Float>
  let channels: Int
  let silu: Bool

  func apply(_ x: UnsafePointer<Float>, pixels: Int, into output: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) {
    kernels.normalize(x, pixels, channels, mean, factor, offset, silu ? 1 : 0, output)
  }
}

/// What is known of an image by block and channel, and the mean and factor that a GroupNorm makes of it.
struct ChannelMoments {
  /// [blocks][channels].
  private let shifts: UnsafeMutablePointer<Float>
  private let sums: UnsafeMutablePointer<Float>
  private let squares: UnsafeMutablePointer<Float>
  /// [channels].
  private let mean: UnsafeMutablePointer<Float>
  private let factor: UnsafeMutablePointer<Float>

  /// `values`: the most that blocks times channels are.
  init(_ arena: inout Arena, values: Int, channels: Int) {
    (shifts, sums, squares) = (arena.floats(values), arena.floats(values), arena.floats(values))
    (mean, factor) = (arena.floats(channels), arena.floats(channels))
  }

  /// Takes note of some columns of block `index` of an image [height, width, channels].
  func add(
    _ index: Int, _ block: PixelBlock, of x: UnsafePointer<Float>, width: Int, channels: Int, _ columns: Range<Int>,
    _ kernels: ditqk_kernels
  ) {
    let place = index * channels + columns.lowerBound
    let first = x + (block.rows.lowerBound * width + block.columns.lowerBound) * channels + columns.lowerBound
    (shifts + place).update(from: first, count: columns.count)
    for row in 0..<block.rows.count {
      kernels.column_moments(
        first + row * width * channels, block.columns.count, columns.count, channels, shifts + place, row == 0 ? 0 : 1, sums + place,
        squares + place)
    }
  }

  /// What a GroupNorm does to the image whose blocks were noted.
  func norm(_ norm: GroupNorm, _ blocks: PixelBlocks, silu: Bool) -> ChannelNorm {
    let size = norm.channels / norm.groups, count = Double(size * blocks.height * blocks.width)
    for group in 0..<norm.groups {
      let channels = group * size..<(group + 1) * size
      var sum = 0.0
      forEach(channels, of: norm.channels, blocks) { block, mean, _ in sum += mean * block }
      let mean = sum / count
      var squares = 0.0
      forEach(channels, of: norm.channels, blocks) { block, blockMean, square in
        squares += square + block * (blockMean - mean) * (blockMean - mean)
      }
      let factor = 1 / (squares / count + Double(norm.epsilon)).squareRoot()
      for channel in channels { (self.mean[channel], self.factor[channel]) = (Float(mean), Float(factor) * norm.weight[channel]) }
    }
    return ChannelNorm(mean: mean, factor: factor, offset: norm.bias, channels: norm.channels, silu: silu)
  }

  /// Calls `body` with the pixels of each block, and the mean and sum of squared deviations of each of its channels.
  private func forEach(
    _ channels: Range<Int>, of stride: Int, _ blocks: PixelBlocks, _ body: (_ pixels: Double, _ mean: Double, _ squares: Double) -> Void
  ) {
    for index in 0..<blocks.count {
      let pixels = Double(blocks[index].pixelCount)
      for place in index * stride + channels.lowerBound..<index * stride + channels.upperBound {
        let sum = Double(sums[place])
        body(pixels, Double(shifts[place]) + sum / pixels, max(0, Double(squares[place]) - sum * sum / pixels))
      }
    }
  }
}

extension Executor {
  /// Notes all of an image [blocks.height, blocks.width, channels].
  func gather(_ x: UnsafePointer<Float>, channels: Int, _ blocks: PixelBlocks, into moments: ChannelMoments) {
    pool.run(GatherJob(x: x, channels: channels, blocks: blocks, moments: moments, kernels: kernels, cancellation: cancellation))
  }

  /// output [pixels, channels] ← norm(x).
  func normalize(_ x: UnsafePointer<Float>, pixels: Int, _ norm: ChannelNorm, into output: UnsafeMutablePointer<Float>) {
    pool.run(NormalizeJob(x: x, pixels: pixels, norm: norm, output: output, kernels: kernels, cancellation: cancellation))
  }
}

private struct GatherJob: ParallelJob {
  let x: UnsafePointer<Float>
  let channels: Int
  let blocks: PixelBlocks
  let moments: ChannelMoments
  let kernels: ditqk_kernels
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    for index in share(of: blocks.count, part: part, of: parts) {
      if cancellation.isAsked { return }
      moments.add(index, blocks[index], of: x, width: blocks.width, channels: channels, 0..<channels, kernels)
    }
  }
}

private struct NormalizeJob: ParallelJob {
  let x: UnsafePointer<Float>
  let pixels: Int
  let norm: ChannelNorm
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let share = share(of: pixels, part: part, of: parts), together = max(1, Executor.mostUnseenValues / norm.channels)
    for first in stride(from: share.lowerBound, to: share.upperBound, by: together) {
      if cancellation.isAsked { return }
      let offset = first * norm.channels
      norm.apply(x + offset, pixels: min(together, share.upperBound - first), into: output + offset, kernels)
    }
  }
}
