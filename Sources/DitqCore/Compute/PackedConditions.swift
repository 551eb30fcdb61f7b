// What the numbers of packed layers may be, whoever made them: a file that has others is refused when it is opened, and quantization refuses to make
// them, so that what is saved opens. Each sentence names the tensor as a file has it.

extension IntegerWeights {
  /// Scales and sums are numbers, scales at least 0, the scale of weights that are all 0. Kernels rely on the zero points of 4-bit weights being
  /// small: see CKernels.h.
  func check(_ name: String) throws(DitqError) {
    let panels = panelCount(outputs), scaleCount = panels * groups * panelColumns
    try requireNumbers(name + ".weight.scales", scales, scaleCount)
    try requireNumbers(name + ".weight.sums", sums, panels * panelColumns)
    for index in 0..<scaleCount where loaded(scales, index) < 0 {
      throw DitqError(.malformed, "\(name).weight.scales: scales of at least 0 expected, a negative one found at \(index)")
    }
    guard bits == 4 else { return }
    for index in 0..<scaleCount where zeros[index] > 15 {
      throw DitqError(.malformed, "\(name).weight.zeros: zero points from 0 to 15 expected, \(zeros[index]) found at \(index)")
    }
  }
}

extension Linear {
  /// Static ranges have a scale and a zero point that a range may have; factors of inputs are numbers above 0, as outputs are divided by them.
  func checkInputs(_ name: String) throws(DitqError) {
    if let ranges {
      for range in ranges where ActivationRange(scale: range.scale, zero: range.zero) == nil {
        throw DitqError(
          .malformed,
          "\(name).input_ranges: a finite scale of at least 0 and a zero point from 0 to 255 expected, \(range.scale) and \(range.zero) found"
        )
      }
    }
    guard let factors = inputFactors else { return }
    try requireNumbers(name + ".input_factors", factors, inputs)
    for index in 0..<inputs where !(factors[index] > 0) {
      throw DitqError(.malformed, "\(name).input_factors: factors above 0 expected, \(factors[index]) found at \(index)")
    }
  }
}

private func requireNumbers(_ name: String, _ values: UnsafePointer<Float>, _ count: Int) throws(DitqError) {
  for index in 0..<count where !loaded(values, index).isFinite {
    throw DitqError(.malformed, "\(name): element \(index) is not finite")
  }
}

/// In a file they may stand at any address.
private func loaded(_ values: UnsafePointer<Float>, _ index: Int) -> Float {
  (UnsafeRawPointer(values) + index * 4).loadUnaligned(as: Float.self)
}
