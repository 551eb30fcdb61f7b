// What is learnt of a layer's inputs while calibrating: extremes, percentiles and least squares against the values themselves, channel
// factors, bins; the balance that follows; and which values a range clips.

import Testing

@testable import DitqCore

/// Batches of rows, seen by an observer of one kind.
private func observed(
  _ batches: [Matrix], bins: Int = 1, _ observer: Observer = .extremes, factors: [Float]? = nil, threads: Int = 1
) throws -> ActivationObserver {
  let pool = try ThreadPool(threads: threads)
  let result = try ActivationObserver(inputs: batches[0].columns, bins: bins, threads: threads)
  for isCounting in observer == .extremes ? [false] : [false, true] {
    for (index, batch) in batches.enumerated() {
      let x = Buffer(batch.values)
      if isCounting {
        result.count(x.floats, rows: batch.rows, bin: index % bins, factors, pool)
      } else {
        result.widen(x.floats, rows: batch.rows, bin: index % bins, pool)
      }
      #expect(x.isIntact)
    }
  }
  return result
}

private func equal(_ a: ActivationRange, _ b: ActivationRange) -> Bool { same(a.scale, b.scale) && same(a.zero, b.zero) }

private func squaredError(_ values: [Float], _ range: ActivationRange) -> Double {
  values.reduce(0) { sum, value in
    let level = max(0, min(255, (value / range.scale + range.zero).rounded(.toNearestOrEven)))
    let difference = Double(value) - Double(range.scale * (level - range.zero))
    return sum + difference * difference
  }
}

/// Most values near zero, a few far out.
private func longTailed(_ rows: Int, _ inputs: Int, _ seed: UInt64) -> Matrix {
  var random = SplitMix(seed)
  return Matrix(
    rows, inputs,
    (0..<rows * inputs).map { _ in
      let value = random.uniform(-1, 1.5)
      return Float(random.unit() < 0.001 ? 12 * value : value * value * value)
    })
}

@Suite("Activation observer")
struct ActivationObserverTests {
  @Test("extremes are those of all batches of a bin, 0 included", arguments: [1, 3, 15, 16, 17, 40, 100])
  func extremes(inputs: Int) throws {
    let batches = [
      Matrix.random(5, inputs, 1), Matrix.random(3, inputs, 2, 2, 3), Matrix.random(1, inputs, 3, -9, -8),
      Matrix.random(2, inputs, 4, 5, 6),
    ]
    let observer = try observed(batches, bins: 2)
    for bin in 0..<2 {
      let values = batches[bin].values + batches[bin + 2].values
      #expect(equal(observer.range(bin, .extremes, nil), ActivationRange(low: min(0, values.min()!), high: max(0, values.max()!))))
    }
    for channel in 0..<inputs {
      let values = batches.flatMap { batch in (0..<batch.rows).map { batch[$0, channel].magnitude } }
      #expect(observer.largest(channel) == values.max()!)
    }
  }

  @Test("channel factors act as if the inputs had been multiplied with them", arguments: [Observer.extremes, .percentile, .leastSquares])
  func factors(kind: Observer) throws {
    var random = SplitMix(5)
    let x = longTailed(300, 20, 6), factors = random.floats(20, 0.2, 3)
    let scaled = Matrix(x.rows, x.columns, x.values.indices.map { x.values[$0] * factors[$0 % 20] })
    let range = try observed([x], kind, factors: factors).range(0, kind, factors)
    #expect(equal(range, try observed([scaled], kind).range(0, kind, nil)))
  }

  @Test("a percentile leaves out 0.005 % at either end, to within a cell, and no more")
  func percentile() throws {
    let x = longTailed(2000, 100, 7), most = x.values.count / 20_000
    let range = try observed([x], .percentile).range(0, .percentile, nil), sorted = x.values.sorted()
    let cell = (sorted.last! - sorted.first!) / Float(ActivationObserver.cells)
    let low = -range.zero * range.scale, high = low + 255 * range.scale
    // The zero point is whole: the range moves by half a step.
    let slack = cell + range.scale / 2
    #expect(low <= sorted[most] + slack && low >= sorted[0] - slack && high >= sorted[sorted.count - 1 - most] - slack)
    #expect(low > sorted[most / 2] - slack && high < sorted[sorted.count - 1 - most / 2] + slack, "a cell of one value is left out")
  }

  @Test("least squares finds the clipping that brute force finds, or one as good")
  func leastSquares() throws {
    for seed in UInt64(8)...11 {
      let x = longTailed(400, 40, seed), (low, high) = (x.values.min()!, x.values.max()!)
      let errors = (0..<60).map { step in
        let share = 1 - 0.01 * Float(step)
        return squaredError(x.values, ActivationRange(low: low * share, high: high * share))
      }
      let found = squaredError(x.values, try observed([x], .leastSquares).range(0, .leastSquares, nil))
      #expect(errors.min()! < 0.99 * errors[0], "clipping is worth something here")
      // Values count as the middle of their cell, a sixteenth of a step.
      #expect(found <= 1.003 * errors.min()!)
    }
  }

  @Test("any number of threads gives the same ranges", arguments: [2, 3, 5])
  func threads(count: Int) throws {
    let batches = [longTailed(77, 37, 12), longTailed(3, 37, 13)]
    for kind in [Observer.extremes, .percentile, .leastSquares] {
      let one = try observed(batches, kind), several = try observed(batches, kind, threads: count)
      #expect(equal(one.range(0, kind, nil), several.range(0, kind, nil)))
    }
  }

  @Test("no rows, and rows of zeros, have an empty range by every observer", arguments: [Observer.extremes, .percentile, .leastSquares])
  func nothing(kind: Observer) throws {
    for batch in [Matrix(0, 20, []), Matrix(4, 20, [Float](repeating: 0, count: 80))] {
      let range = try observed([batch], kind, threads: 2).range(0, kind, nil)
      #expect(range.scale == 0 && range.zero == 0)
    }
  }

  @Test("a range clips what is more than half a step outside, and what is no number")
  func clips() {
    for (low, high) in [(Float(-1), Float(3)), (0, 1), (-2, 0), (-1e-3, 1e6)] {
      let range = ActivationRange(low: low, high: high), least = -range.zero * range.scale, most = least + 255 * range.scale
      for value in [low, 0, high, least, most, least - 0.49 * range.scale, most + 0.49 * range.scale] { #expect(!range.clips(value)) }
      for value in [least - 0.51 * range.scale, most + 0.51 * range.scale, .infinity, -.infinity, .nan] { #expect(range.clips(value)) }
    }
  }
}

@Suite("Channel balance")
struct ChannelBalanceTests {
  private func balance(_ x: Matrix, _ weights: Matrix) throws -> (balance: ChannelBalance, stored: StoredMatrix, memory: Buffer) {
    let memory = Buffer(weights.values)
    let stored = StoredMatrix(floats: memory.floats, outputs: weights.rows, inputs: weights.columns)
    return (ChannelBalance(try observed([x]), stored, instructionSets()[0].kernels), stored, memory)
  }

  /// With an outlier, a channel that is always zero, and one without weights.
  private func problem() -> (x: Matrix, weights: Matrix) {
    var x = Matrix.random(9, 37, 1), weights = Matrix.random(11, 37, 2)
    for row in 0..<9 {
      x.values[row * 37 + 5] *= 300
      x.values[row * 37 + 7] = 0
    }
    for row in 0..<11 { weights.values[row * 37 + 36] = 0 }
    return (x, weights)
  }

  @Test("factors are positive, within their limits, and the inverse of each other within a rounding")
  func inverse() throws {
    let (x, weights) = problem(), found = try balance(x, weights).balance
    #expect(found.inputFactors.count == 37 && found.columnFactors.count == 37)
    for (input, column) in zip(found.inputFactors, found.columnFactors) {
      #expect((0.99e-4...1.01e4).contains(input) && (1e-4...1e4).contains(column))
      #expect(abs(Double(input) * Double(column) - 1) <= 2 * roundoff)
    }
  }

  @Test("inputs and weights of a channel end with the same largest magnitude")
  func halfway() throws {
    let (x, weights) = problem(), found = try balance(x, weights).balance
    for channel in 0..<37 where channel != 7 && channel != 36 {
      let input = (0..<9).map { x[$0, channel].magnitude }.max()! * found.inputFactors[channel]
      let weight = (0..<11).map { weights[$0, channel].magnitude }.max()! * found.columnFactors[channel]
      #expect(abs(input / weight - 1) < 1e-5)
    }
  }

  @Test("factors are no further from their median than what was looked at vouches for", arguments: [1.5, 2, 8] as [Float])
  func bounded(spread: Float) throws {
    let (x, weights) = problem(), (free, stored, memory) = try balance(x, weights)
    let found = ChannelBalance(try observed([x]), stored, instructionSets()[0].kernels, spread: spread)
    let median = free.columnFactors.sorted()[37 / 2]
    for (bounded, factor) in zip(found.columnFactors, free.columnFactors) {
      #expect(bounded == max(median / spread, min(median * spread, factor)))
    }
    #expect(found.columnFactors.max()! / found.columnFactors.min()! <= spread * spread * 1.0001 && memory.isIntact)
  }

  @Test("one step vouches for nothing, nor do three images")
  func vouched() {
    for (steps, samples, spread) in [
      (1, 1, 1.0 / 3), (1, 16, 1), (3, 1, 1), (2, 2, 4.0 / 3), (3, 3, 3), (8, 1, 8.0 / 3), (8, 16, 8), (50, 16, 50),
    ] {
      #expect(abs(ChannelBalance.spread(steps: steps, images: steps * samples) - Float(spread)) < 1e-6)
      var options = QuantizeOptions()
      (options.balancesChannels, options.calibrationSteps, options.calibrationSamples) = (true, steps, samples)
      #expect((options.balanceSpread == nil) == (spread <= 1))
    }
    #expect(QuantizeOptions().balanceSpread == nil)
  }

  @Test("balanced inputs times folded weights are the product that they were")
  func product() throws {
    let (x, weights) = problem(), (found, stored, memory) = try balance(x, weights)
    let folded = FoldedMatrix(stored, LayerFolding(balance: found)), kernels = instructionSets()[0].kernels, row = Buffer(count: 37)
    var columns: [Float] = []
    for output in 0..<11 {
      folded.copyRow(output, to: row.floats, kernels)
      columns += row.values
    }
    let balanced = Matrix(9, 37, x.values.indices.map { x.values[$0] * found.inputFactors[$0 % 37] })
    #expect(distance(chains(balanced, Matrix(11, 37, columns)).values, chains(x, weights).values) < 1e-6)
    #expect(memory.isIntact && row.isIntact)
  }
}
