// GroupNorm on an image [height][width][channels], with SiLU where asked. Sums are taken for each image row and channel, then over rows and
// the channels of a group in double precision, in order: the same for any number of threads.

import CKernels

struct GroupNorm {
  let channels: Int
  let groups: Int
  let epsilon: Float
  let weight: UnsafePointer<Float>
  let bias: UnsafePointer<Float>
}

/// Sums [height][channels], then mean and factor [channels].
struct GroupNormBuffers {
  fileprivate let sums: UnsafeMutablePointer<Float>
  fileprivate let mean: UnsafeMutablePointer<Float>
  fileprivate let factor: UnsafeMutablePointer<Float>

  init(_ arena: inout Arena, height: Int, channels: Int) {
    sums = arena.floats(height, channels)
    mean = arena.floats(channels)
    factor = arena.floats(channels)
  }
}

extension Executor {
  func groupNorm(
    _ x: UnsafePointer<Float>, _ norm: GroupNorm, height: Int, width: Int, silu: Bool, _ buffers: GroupNormBuffers,
    into output: UnsafeMutablePointer<Float>
  ) {
    var job = GroupNormJob(x: x, norm: norm, height: height, width: width, buffers: buffers, kernels: kernels, pass: .sums)
    pool.run(job)
    job.reduce { sum, count in
      Float(sum / count)
    } into: { channel, value in
      buffers.mean[channel] = value
    }
    job.pass = .squares
    pool.run(job)
    job.reduce { sum, count in
      Float(1 / (sum / count + Double(norm.epsilon)).squareRoot())
    } into: { channel, value in
      buffers.factor[channel] = value * norm.weight[channel]
    }
    job.pass = .apply(output, silu: silu)
    pool.run(job)
  }
}

private struct GroupNormJob: ParallelJob {
  enum Pass { case sums, squares, apply(UnsafeMutablePointer<Float>, silu: Bool) }
  let x: UnsafePointer<Float>
  let norm: GroupNorm
  let height: Int
  let width: Int
  let buffers: GroupNormBuffers
  let kernels: ditqk_kernels
  var pass: Pass

  func run(part: Int, of parts: Int) {
    for row in share(of: height, part: part, of: parts) {
      let source = x + row * width * norm.channels
      switch pass {
      case .sums: kernels.column_sums(source, width, norm.channels, nil, buffers.sums + row * norm.channels)
      case .squares: kernels.column_sums(source, width, norm.channels, buffers.mean, buffers.sums + row * norm.channels)
      case .apply(let output, let silu):
        kernels.normalize(
          source, width, norm.channels, buffers.mean, buffers.factor, norm.bias, silu ? 1 : 0, output + row * width * norm.channels)
      }
    }
  }

  /// For each group, a value of its total sum and count, given to each of its channels.
  func reduce(_ value: (_ sum: Double, _ count: Double) -> Float, into store: (_ channel: Int, _ value: Float) -> Void) {
    let size = norm.channels / norm.groups
    for group in 0..<norm.groups {
      var sum = 0.0
      for row in 0..<height {
        for channel in group * size..<(group + 1) * size { sum += Double(buffers.sums[row * norm.channels + channel]) }
      }
      let result = value(sum, Double(size * height * width))
      for channel in group * size..<(group + 1) * size { store(channel, result) }
    }
  }
}
