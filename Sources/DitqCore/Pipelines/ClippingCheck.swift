// Static ranges are checked where they were not measured: at some other steps of the sampling run, for other images, the share of each
// layer's inputs that its ranges clip. What comes out is recorded with the model. It warns, and needs neither the float model nor every step
// of the run: the inputs are those of the 8-bit model that makes the latents, by a few predictions. (Of four images, the emoji model's ranges of
// the first step clip 1.40 % at the last step in the float model after fifty predictions; of two, 1.46 % in the 8-bit one after eight.)

extension Quantizer {
  /// Images that are looked at.
  private static let samples = 2

  func checkRanges(_ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    guard options.hasStaticRanges, !options.checkedSteps.isEmpty, (0..<weights.linearCount).contains(where: { weights[$0].ranges != nil })
    else {
      return
    }
    let plan = plan(
      options.checkedSteps, samples: Quantizer.samples, seed: options.calibrationSeed &+ UInt64(options.calibrationSamples),
      predictsEachStep: false)
    let guide = try eightBitGuide(), pieces = source.pieces
    var stepsTaken = 0
    let run = try CalibrationRun(guide, guide: guide, plan) { done, total throws(DitqError) in
      stepsTaken = total
      try progress(done, total + pieces.count)
    }
    let steps = run.timesteps.count
    var shares: [[ClippedShare]] = []
    for _ in layers { try shares.add(try [ClippedShare](repeating: ClippedShare(), room: steps)) }
    for (index, piece) in pieces.enumerated() {
      try run.run(piece) { [self] step, number, _, rows, x in
        guard let ranges = weights[number].ranges else { return }
        let bin = weights.bins.number(of: run.timesteps[step])
        shares[number][step].add(
          x, rows: rows, foldings[number].balance?.inputFactors, ranges[held: bin], inputs: weights[number].inputs, pool)
      }
      try progress(stepsTaken + index + 1, stepsTaken + pieces.count)
    }
    record.checkedTimesteps = run.timesteps
    record.clipped = (0..<steps).map { step in
      var all = ClippedShare()
      for layer in shares { all.add(layer[step]) }
      return all.share
    }
    for (number, layer) in shares.enumerated() where weights[number].ranges != nil {
      try record.clippedByLayer.add((layers[number].name, layer.reduce(0) { max($0, $1.share) }))
    }
  }
}

/// How many of some values lie outside a range.
struct ClippedShare {
  private var clipped = 0
  private var total = 0

  var share: Double { total == 0 ? 0 : Double(clipped) / Double(total) }

  mutating func add(_ other: ClippedShare) {
    clipped += other.clipped
    total += other.total
  }

  /// Of x [rows, inputs], times `factors`.
  mutating func add(
    _ x: UnsafePointer<Float>, rows: Int, _ factors: [Float]?, _ range: ActivationRange, inputs: Int, _ pool: ThreadPool
  ) {
    var counts = [Int](repeating: 0, count: pool.threads)
    counts.withUnsafeMutableBufferPointer { counts in
      pool.run(ClipJob(x: x, rows: rows, inputs: inputs, factors: factors, range: range, counts: counts.baseAddress!))
    }
    clipped += counts.reduce(0, +)
    total += rows * inputs
  }
}

private struct ClipJob: ParallelJob {
  let x: UnsafePointer<Float>
  let rows: Int
  let inputs: Int
  let factors: [Float]?
  let range: ActivationRange
  let counts: UnsafeMutablePointer<Int>

  func run(part: Int, of parts: Int) {
    var count = 0
    for row in share(of: rows, part: part, of: parts) {
      for channel in 0..<inputs where range.clips(x[row * inputs + channel] * (factors?[channel] ?? 1)) { count += 1 }
    }
    counts[part] = count
  }
}
