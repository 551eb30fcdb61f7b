// Channel balance: outlier channels of a layer's input are moved into its weights (SmoothQuant with α = ½; PTQ4DiT). Channel j of the input is
// divided by s[j] = √(max|x[j]| / max|w[:, j]|) and the weights' column multiplied with it, which changes nothing but what rounding does.
// Nothing of it is left to do while running, save for one factor a channel after GELU:
//
//   qkv, fc1   the division is folded into the adaLN linear: shift / s, and 1 + scale becomes (1 + scale) / s
//   proj       into the rows of qkv that make the values: attention only averages them
//   fc2        into the epilogue that finishes GELU
//
// How far factors may be apart is bounded by what was looked at. Extremes of few images are too small, and once channels are balanced all of
// them reach the end of a static range and are clipped there, not one outlier; and what is an outlier in one step is none in another. From one
// image at one step unbounded factors cost 0.6 to 0.9 dB where tokens have ranges of their own, 6 to 11 with static ones (the golden cases, the
// emoji model), and from 16 images at one step 6, whatever the bound.

import CKernels

/// The input factors 1 / s and the column factors s of one layer, [inputs] each.
struct ChannelBalance {
  private(set) var inputFactors: [Float] = []
  private(set) var columnFactors: [Float] = []

  /// Smaller magnitudes count as this; factors stay within `limits`.
  private static let least: Float = 1e-5
  private static let limits: ClosedRange<Float> = 1e-4...1e4

  /// From the inputs that were observed and the weights that they meet. `spread`: how many times the median a factor may be, or a part of it.
  init(_ observer: ActivationObserver, _ weights: StoredMatrix, _ kernels: ditqk_kernels, spread: Float = .infinity) {
    let roots = weights.columnMagnitudes(kernels).enumerated().map { channel, weight in
      max(observer.largest(channel), ChannelBalance.least).squareRoot() / max(weight, ChannelBalance.least).squareRoot()
    }
    let median = roots.sorted()[roots.count / 2]
    let lowest = max(ChannelBalance.limits.lowerBound, median / spread), highest = min(ChannelBalance.limits.upperBound, median * spread)
    for root in roots {
      let factor = max(lowest, min(highest, root))
      columnFactors.append(factor)
      inputFactors.append(1 / factor)
    }
  }

  /// The spread that so many images at so many steps vouch for: as many times as there are steps, or threes of images; with no more than 1 there
  /// is nothing to balance by.
  static func spread(steps: Int, images: Int) -> Float { min(Float(steps), Float(images) / 3) }
}

extension StoredMatrix {
  /// max |w| of each column.
  fileprivate func columnMagnitudes(_ kernels: ditqk_kernels) -> [Float] {
    var row = [Float](repeating: 0, count: inputs), largest = row
    for output in 0..<outputs {
      row.withUnsafeMutableBufferPointer { copyRow(output, to: $0.baseAddress!, kernels) }
      for k in 0..<inputs { largest[k] = max(largest[k], row[k].magnitude) }
    }
    return largest
  }
}
