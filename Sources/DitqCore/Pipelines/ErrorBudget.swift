// An error budget: the output SQNR that a quantized model has to have. Layers are raised, from 4 bits to 8 and where that is not enough from
// 8 to float, those first whose raising takes away most of the output's noise for each byte that it adds, until the budget is met.
//
// The noise is that of the prediction, both halves of the guided batch, for two images at a dozen steps spread over the whole run (those at
// its ends count half, as in any integral), each model fed the same latents. What a layer adds to it is measured by raising it alone.

extension Quantizer {
  /// Steps and images that are measured.
  private static let measuredSteps = 12
  private static let samples = 2

  /// Raises layers until the budget is met; `progress` is told how many of the layers have been tried.
  func meetBudget(_ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    guard options.errorBudget > 0 else { return }
    var spread = options
    spread.calibrationSteps = min(Quantizer.measuredSteps, options.calibrationTotalSteps)
    let plan = plan(spread.steps, samples: Quantizer.samples, seed: options.calibrationSeed &+ UInt64(options.calibrationSamples))
    let run = try CalibrationRun(source, guide: eightBitGuide(), plan, progress: progress)
    let meter = try OutputMeter(run)
    for _ in 0..<2 {
      guard try meter.measure(weights).decibels < options.errorBudget else { break }
      try raise(meter, progress)
    }
    record.outputSQNR = try meter.measure(weights).decibels
  }

  /// One layer with more bits.
  private struct Candidate {
    let number: Int
    let layer: (linear: Linear, block: Block?)
    /// Noise that it takes away, and that for each byte.
    let gain: Double
    let worth: Double
  }

  /// Raises each layer at most once.
  private func raise(_ meter: OutputMeter, _ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    let before = try meter.measure(weights)
    var candidates: [Candidate] = []
    for number in layers.indices {
      if let layer = try raised(number) {
        var trial = weights
        trial[number] = layer.linear
        let gain = before.noise - (try meter.measure(trial).noise)
        let bytes = max(1, layer.linear.byteCount - weights[number].byteCount)
        try candidates.add(Candidate(number: number, layer: layer, gain: gain, worth: gain / Double(bytes)))
      }
      try progress(number + 1, layers.count)
    }
    candidates.sort { $0.worth > $1.worth }
    // Gains add up nearly; it is measured anew once they promise enough.
    let most = before.noise(at: options.errorBudget)
    var promised = before.noise
    for candidate in candidates {
      replace(candidate.number, candidate.layer)
      try record.raise(layers[candidate.number].name, to: candidate.layer.linear.integers?.bits ?? 32)
      promised -= candidate.gain
      guard promised <= most else { continue }
      let found = try meter.measure(weights)
      if found.noise <= most { return }
      promised = found.noise
    }
  }

  /// A layer at its next number of bits; nil where it is in float.
  private func raised(_ number: Int) throws(DitqError) -> (linear: Linear, block: Block?)? {
    let present = weights[number], layer = layers[number]
    guard let integers = present.integers else { return nil }
    if integers.bits == 8 {
      guard !foldings[number].isEmpty else { return (layer.linear, nil) }
      let (linear, block) = try floatLayer(layer, foldings[number], kernels)
      return (linear, block)
    }
    let plan = LayerPlan(format: WeightFormat(bits: 8, group: 0, method: .round), activationBits: present.activationBits)
    let ranges = present.ranges.map { Array($0) }
    let (linear, block) = try quantizedLayer(layer, plan, foldings[number], ranges, nil, pool, kernels)
    return (linear, block)
  }
}

/// Measures the prediction of some weights against the float model's.
private final class OutputMeter {
  private let run: CalibrationRun
  /// Of the float model, for each state one after the other.
  private var reference: [Float] = []

  /// A convenience initializer, as predictions may be none: see Block.
  convenience init(_ run: CalibrationRun) throws(DitqError) {
    self.init(of: run)
    try run.predict(run.session.model.dit) { [self] _, values, count in
      for i in 0..<count { reference.append(values[i]) }
    }
  }

  private init(of run: CalibrationRun) { self.run = run }

  func measure(_ weights: DiTWeights) throws(DitqError) -> SignalAndNoise {
    var result = SignalAndNoise(), place = 0
    try reference.withUnsafeBufferPointer { reference throws(DitqError) in
      try run.predict(weights) { step, values, count in
        let isEnd = step == 0 || step == run.timesteps.count - 1
        result.add(reference.baseAddress! + place, values, count: count, weight: isEnd && run.timesteps.count > 2 ? 0.5 : 1)
        place += count
      }
    }
    return result
  }
}

extension SignalAndNoise {
  /// The noise that leaves so many decibels.
  fileprivate func noise(at decibels: Double) -> Double { signal / exponential(decibels / 10 * 2.302_585_092_994_046) }
}
