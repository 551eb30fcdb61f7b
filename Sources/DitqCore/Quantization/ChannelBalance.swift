// Channel balance: outlier channels of a layer's input are moved into its weights (SmoothQuant with α = ½; PTQ4DiT). Channel j of the input is
// divided by s[j] = √(max|x[j]| / max|w[:, j]|) and the weights' column multiplied with it, which changes nothing but what rounding does.
// Nothing of it is left to do while running, save for one factor a channel after GELU:
//
//   qkv, fc1   the division is folded into the adaLN linear: shift / s, and 1 + scale becomes (1 + scale) / s
//   proj       into the rows of qkv that make the values: attention only averages them
//   fc2        into the epilogue that finishes GELU

import CKernels

/// The input factors 1 / s and the column factors s of one layer, [inputs] each.
struct ChannelBalance {
  private(set) var inputFactors: [Float] = []
  private(set) var columnFactors: [Float] = []

  /// Smaller magnitudes count as this; factors stay within `limits`.
  private static let least: Float = 1e-5
  private static let limits: ClosedRange<Float> = 1e-4...1e4

  /// From the inputs that were observed and the weights that they meet.
  init(_ observer: ActivationObserver, _ weights: StoredMatrix, _ kernels: ditqk_kernels) {
    for (channel, weight) in weights.columnMagnitudes(kernels).enumerated() {
      let root = max(observer.largest(channel), ChannelBalance.least).squareRoot() / max(weight, ChannelBalance.least).squareRoot()
      let factor = max(ChannelBalance.limits.lowerBound, min(ChannelBalance.limits.upperBound, root))
      columnFactors.append(factor)
      inputFactors.append(1 / factor)
    }
  }
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
