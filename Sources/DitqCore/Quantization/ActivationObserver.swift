// What is learnt of a layer's inputs while calibrating, and the range that follows from it. Extremes are kept by channel and bin of
// timesteps, so that the range of balanced channels follows without another pass; counts of values need one, because their cells depend on
// the extremes. Everything is the same for any number of threads: threads divide channels, or add up whole numbers.

import CKernels

/// How a range is chosen.
package enum Observer: Int32 {
  /// All values.
  case extremes = 0
  /// All but the outermost: 0.005 % at either end.
  case percentile = 1
  /// The range, clipped by the same share at both ends, of least squared error.
  case leastSquares = 2

  var name: String {
    switch self {
    case .extremes: "minmax"
    case .percentile: "percentile"
    case .leastSquares: "mse"
    }
  }
}

struct ActivationObserver {
  let inputs: Int
  let bins: Int
  /// [bins][inputs].
  private let lows: UnsafeMutablePointer<Float>
  private let highs: UnsafeMutablePointer<Float>
  /// [bins][cells], and for each thread [cells].
  private let counts: UnsafeMutablePointer<Int>
  private let threadCounts: UnsafeMutablePointer<Int>
  private let memory: Block

  static let cells = 4096

  init(inputs: Int, bins: Int, threads: Int) throws(DitqError) {
    (self.inputs, self.bins) = (inputs, bins)
    var measure = Arena()
    _ = ActivationObserver.reserve(&measure, inputs, bins, threads)
    memory = try Block(byteCount: try measure.checkedSize("observer"), from: .system, for: "observer")
    var arena = Arena(memory.start)
    (lows, highs, counts, threadCounts) = ActivationObserver.reserve(&arena, inputs, bins, threads)
    lows.initialize(repeating: 0, count: bins * inputs)
    highs.initialize(repeating: 0, count: bins * inputs)
    counts.initialize(repeating: 0, count: bins * ActivationObserver.cells)
  }

  private static func reserve(
    _ arena: inout Arena, _ inputs: Int, _ bins: Int, _ threads: Int
  ) -> (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Int>, UnsafeMutablePointer<Int>) {
    (
      arena.floats(bins, inputs), arena.floats(bins, inputs), arena.reserve(Int.self, bins, cells), arena.reserve(Int.self, threads, cells)
    )
  }

  /// Widens the extremes of a bin by x [rows, inputs].
  func widen(_ x: UnsafePointer<Float>, rows: Int, bin: Int, _ pool: ThreadPool) {
    pool.run(ExtremesJob(x: x, rows: rows, inputs: inputs, lows: lows + bin * inputs, highs: highs + bin * inputs))
  }

  /// Counts the values of x [rows, inputs], times `factors`, between the bin's extremes.
  func count(_ x: UnsafePointer<Float>, rows: Int, bin: Int, _ factors: [Float]?, _ pool: ThreadPool) {
    let (low, high) = extremes(bin, factors)
    guard high > low else { return }
    threadCounts.initialize(repeating: 0, count: pool.threads * ActivationObserver.cells)
    pool.run(CountJob(x: x, rows: rows, inputs: inputs, factors: factors, low: low, high: high, counts: threadCounts))
    for thread in 0..<pool.threads {
      for cell in 0..<ActivationObserver.cells {
        counts[bin * ActivationObserver.cells + cell] += threadCounts[thread * ActivationObserver.cells + cell]
      }
    }
  }

  /// max |x| of a channel, over all bins.
  func largest(_ channel: Int) -> Float {
    var largest: Float = 0
    for bin in 0..<bins { largest = max(largest, -lows[bin * inputs + channel], highs[bin * inputs + channel]) }
    return largest
  }

  /// The range of a bin when channels are multiplied with `factors`, which are positive.
  func range(_ bin: Int, _ observer: Observer, _ factors: [Float]?) -> ActivationRange {
    let (low, high) = extremes(bin, factors)
    let cells = Cells(counts: counts + bin * ActivationObserver.cells, low: low, high: high)
    switch observer {
    case .extremes: return ActivationRange(low: low, high: high)
    case .percentile: return cells.percentileRange
    case .leastSquares: return cells.leastSquaresRange
    }
  }

  private func extremes(_ bin: Int, _ factors: [Float]?) -> (low: Float, high: Float) {
    var low: Float = 0, high: Float = 0
    for channel in 0..<inputs {
      let factor = factors?[channel] ?? 1
      low = min(low, lows[bin * inputs + channel] * factor)
      high = max(high, highs[bin * inputs + channel] * factor)
    }
    return (low, high)
  }
}

/// Counts of values in cells of equal width from `low` to `high`.
private struct Cells {
  let counts: UnsafePointer<Int>
  let low: Float
  let high: Float

  private var width: Float { (high - low) / Float(ActivationObserver.cells) }
  private func middle(_ cell: Int) -> Float { low + (Float(cell) + 0.5) * width }
  private var total: Int { (0..<ActivationObserver.cells).reduce(0) { $0 + counts[$1] } }

  /// Without the cells at either end that hold no more than 0.005 % of all values together.
  var percentileRange: ActivationRange {
    let most = total / 20_000
    var first = 0, last = ActivationObserver.cells - 1, below = 0, above = 0
    while first < last, below + counts[first] <= most { (below, first) = (below + counts[first], first + 1) }
    while first < last, above + counts[last] <= most { (above, last) = (above + counts[last], last - 1) }
    return ActivationRange(low: low + Float(first) * width, high: low + Float(last + 1) * width)
  }

  /// Of sixty, from all of it down to 41 %.
  var leastSquaresRange: ActivationRange {
    var best = ActivationRange(low: low, high: high), least = error(best)
    for step in 1..<60 {
      let share = 1 - 0.01 * Float(step)
      let candidate = ActivationRange(low: low * share, high: high * share), error = error(candidate)
      if error < least { (best, least) = (candidate, error) }
    }
    return best
  }

  private func error(_ range: ActivationRange) -> Double {
    var sum = 0.0
    for cell in 0..<ActivationObserver.cells where counts[cell] > 0 {
      let value = middle(cell), difference = Double(value - range.rounded(value))
      sum += Double(counts[cell]) * difference * difference
    }
    return sum
  }
}

extension ActivationRange {
  /// What a value becomes.
  fileprivate func rounded(_ value: Float) -> Float {
    guard scale > 0 else { return 0 }
    return scale * (max(0, min(255, (value / scale + zero).rounded(.toNearestOrEven))) - zero)
  }
}

/// Sixteen channels at a time.
private struct ExtremesJob: ParallelJob {
  let x: UnsafePointer<Float>
  let rows: Int
  let inputs: Int
  let lows: UnsafeMutablePointer<Float>
  let highs: UnsafeMutablePointer<Float>

  func run(part: Int, of parts: Int) {
    let whole = inputs / 16
    for block in share(of: whole, part: part, of: parts) {
      let column = block * 16
      var low = UnsafeRawPointer(lows + column).loadUnaligned(as: SIMD16<Float>.self)
      var high = UnsafeRawPointer(highs + column).loadUnaligned(as: SIMD16<Float>.self)
      for row in 0..<rows {
        let values = UnsafeRawPointer(x + row * inputs + column).loadUnaligned(as: SIMD16<Float>.self)
        low.replace(with: values, where: values .< low)
        high.replace(with: values, where: values .> high)
      }
      UnsafeMutableRawPointer(lows + column).storeBytes(of: low, as: SIMD16<Float>.self)
      UnsafeMutableRawPointer(highs + column).storeBytes(of: high, as: SIMD16<Float>.self)
    }
    guard part == 0 else { return }
    for column in whole * 16..<inputs {
      for row in 0..<rows {
        let value = x[row * inputs + column]
        lows[column] = min(lows[column], value)
        highs[column] = max(highs[column], value)
      }
    }
  }
}

private struct CountJob: ParallelJob {
  let x: UnsafePointer<Float>
  let rows: Int
  let inputs: Int
  let factors: [Float]?
  let low: Float
  let high: Float
  let counts: UnsafeMutablePointer<Int>

  func run(part: Int, of parts: Int) {
    let counts = counts + part * ActivationObserver.cells
    let cellsPerUnit = Float(ActivationObserver.cells) / (high - low)
    for row in share(of: rows, part: part, of: parts) {
      for channel in 0..<inputs {
        let place = (x[row * inputs + channel] * (factors?[channel] ?? 1) - low) * cellsPerUnit
        guard place >= 0 else { continue }
        counts[min(ActivationObserver.cells - 1, Int(min(place, 1e6)))] += 1
      }
    }
  }
}
