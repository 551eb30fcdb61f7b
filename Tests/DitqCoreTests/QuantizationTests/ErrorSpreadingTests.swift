// Rounding weights in turn (GPTQ): the nearest-plane form of the library against the textbook's, which updates an explicit inverse, in doubles.

import Testing

@testable import DitqCore

/// Weights [rows][inputs] to be rounded, and the inputs [samples][inputs] that they meet.
private struct Problem {
  let rows: Int, inputs: Int
  let format: WeightFormat
  let weights: Matrix
  let samples: Matrix
  let scales: [WeightScale]

  var group: Int { format.group == 0 ? inputs : format.group }
  var groups: Int { (inputs + group - 1) / group }

  /// Inputs of which each depends on others, so that errors have somewhere to go.
  init(_ rows: Int, _ inputs: Int, bits: Int, group: Int, seed: UInt64, samples count: Int = 200) {
    (self.rows, self.inputs) = (rows, inputs)
    format = WeightFormat(bits: bits, group: group, method: .spread)
    weights = .random(rows, inputs, seed)
    let few = max(1, inputs / 3), causes = Matrix.random(count, few, seed + 1), mix = Matrix.random(inputs, few, seed + 2)
    var values = chains(causes, mix).values
    let own = Matrix.random(count, inputs, seed + 3, -0.3, 0.3).values
    for i in values.indices { values[i] += own[i] }
    samples = Matrix(count, inputs, values)
    scales = Problem.scales(weights, format)
  }

  static func scales(_ weights: Matrix, _ format: WeightFormat) -> [WeightScale] {
    let group = format.group == 0 ? weights.columns : format.group
    return (0..<weights.rows).flatMap { row in
      stride(from: 0, to: weights.columns, by: group).map { start in
        scale(of: (start..<min(start + group, weights.columns)).map { weights[row, $0] }, format)
      }
    }
  }

  func scaleAt(_ row: Int, _ input: Int) -> WeightScale { scales[row * groups + input / group] }

  /// Σ x·xᵀ, each x times `factors`; what stands above the diagonal is not to be read.
  func moments(_ factors: [Float]? = nil) -> [Double] {
    var sums = [Double](repeating: 0, count: inputs * inputs)
    for sample in 0..<samples.rows {
      for i in 0..<inputs {
        for j in 0..<inputs {
          let scale = Double(factors?[i] ?? 1) * Double(factors?[j] ?? 1)
          sums[i * inputs + j] += Double(samples[sample, i]) * Double(samples[sample, j]) * scale
        }
      }
    }
    return sums
  }

  /// The levels that the library chooses.
  func levels(_ moments: [Double], factors: [Float]? = nil, threads: Int = 1) throws -> [Float] {
    var lower = moments.map(Float.init)
    for i in 0..<inputs { for j in i + 1..<max(i + 1, inputs) { lower[i * inputs + j] = .nan } }
    let spreading = try ErrorSpreading(lower, inputs: inputs, factors: factors, try ThreadPool(threads: threads))
    let adjusted = Buffer(weights.values)
    var measure = Arena()
    let packed = IntegerWeights(&measure, outputs: rows, inputs: inputs, bits: format.bits, group: format.group)
    packed.withPanelRoom(spreads: true) { spreading.adjust(adjusted.floats, stride: inputs, count: rows, scales, group: group, $0) }
    #expect(adjusted.isIntact)
    return (0..<rows * inputs).map { scaleAt($0 / inputs, $0 % inputs).level(adjusted.floats[$0]) }
  }

  /// Plain rounding.
  var rounded: [Float] { (0..<rows * inputs).map { scaleAt($0 / inputs, $0 % inputs).level(weights.values[$0]) } }

  /// GPTQ as it was published: with the inverse of the damped moments, which shrinks by each weight that is rounded.
  func textbookLevels(_ moments: [Double]) -> [Float] {
    var damped = moments
    let mean = (0..<inputs).reduce(0) { $0 + moments[$1 * inputs + $1] } / Double(inputs)
    for i in 0..<inputs { damped[i * inputs + i] += 0.01 * mean }
    var result = [Float](repeating: 0, count: rows * inputs)
    for row in 0..<rows {
      var inverse = inverted(damped, inputs), rest = (0..<inputs).map { Double(weights[row, $0]) }
      for j in 0..<inputs {
        let scale = scaleAt(row, j), level = scale.level(Float(rest[j])), pivot = inverse[j * inputs + j]
        result[row * inputs + j] = level
        let error = (rest[j] - Double((level - scale.zero) * scale.scale)) / pivot, column = (0..<inputs).map { inverse[$0 * inputs + j] }
        for k in j + 1..<max(j + 1, inputs) { rest[k] -= error * column[k] }
        for a in 0..<inputs { for b in 0..<inputs { inverse[a * inputs + b] -= column[a] * column[b] / pivot } }
      }
    }
    return result
  }

  /// Σ over rows of (w − ŵ)ᵀ H (w − ŵ).
  func error(_ levels: [Float], _ moments: [Double]) -> Double {
    (0..<rows).reduce(0) { sum, row in
      let errors = (0..<inputs).map { k -> Double in
        let scale = scaleAt(row, k)
        return Double(weights[row, k] - (levels[row * inputs + k] - scale.zero) * scale.scale)
      }
      return sum
        + (0..<inputs * inputs).reduce(0) { $0 + errors[$1 / inputs] * moments[$1] * errors[$1 % inputs] }
    }
  }
}

/// By Gauss and Jordan; the matrix is positive definite.
private func inverted(_ matrix: [Double], _ size: Int) -> [Double] {
  var left = matrix, right = (0..<size * size).map { $0 / size == $0 % size ? 1.0 : 0.0 }
  for pivot in 0..<size {
    let factor = 1 / left[pivot * size + pivot]
    for k in 0..<size {
      left[pivot * size + k] *= factor
      right[pivot * size + k] *= factor
    }
    for row in 0..<size where row != pivot {
      let share = left[row * size + pivot]
      for k in 0..<size {
        left[row * size + k] -= share * left[pivot * size + k]
        right[row * size + k] -= share * right[pivot * size + k]
      }
    }
  }
  return right
}

private let shapes = [(1, 1, 4, 0), (3, 2, 4, 0), (2, 16, 4, 16), (5, 33, 4, 16), (4, 40, 4, 32), (3, 40, 8, 0), (2, 65, 4, 0)]

@Suite("Error spreading")
struct ErrorSpreadingTests {
  @Test("the levels are those of the textbook's GPTQ", arguments: shapes)
  func textbook(rows: Int, inputs: Int, bits: Int, group: Int) throws {
    for seed in UInt64(1)...3 {
      let problem = Problem(rows, inputs, bits: bits, group: group, seed: 100 * seed), moments = problem.moments()
      #expect(try problem.levels(moments) == problem.textbookLevels(moments))
    }
  }

  @Test("any number of threads gives the same levels", arguments: [2, 3, 7])
  func threads(count: Int) throws {
    let problem = Problem(3, 100, bits: 4, group: 32, seed: 7), moments = problem.moments()
    #expect(try problem.levels(moments, threads: count) == problem.levels(moments))
  }

  @Test("where no input depends on another it is rounding to the nearest", arguments: shapes)
  func independent(rows: Int, inputs: Int, bits: Int, group: Int) throws {
    let problem = Problem(rows, inputs, bits: bits, group: group, seed: 11)
    for moment in [1.0, 0, 1e-12, 1e12] {
      let diagonal = (0..<inputs * inputs).map { $0 / inputs == $0 % inputs ? moment : 0 }
      #expect(try problem.levels(diagonal) == problem.rounded, "moment \(moment)")
    }
  }

  @Test("the outputs' error is that of rounding or less, over many problems less than half of it")
  func error() throws {
    var spread = 0.0, rounded = 0.0
    for seed in UInt64(0)..<20 {
      let problem = Problem(4, 48, bits: 4, group: 16, seed: 1000 + 10 * seed), moments = problem.moments()
      spread += problem.error(try problem.levels(moments), moments)
      rounded += problem.error(problem.rounded, moments)
    }
    #expect(spread < rounded / 2)
  }

  @Test("channels that are always zero are rounded to the nearest, and change nothing for the others")
  func zeroChannels() throws {
    let problem = Problem(3, 40, bits: 4, group: 16, seed: 21), dead = [0, 7, 8, 39]
    var moments = problem.moments()
    for k in dead { for i in 0..<40 { (moments[k * 40 + i], moments[i * 40 + k]) = (0, 0) } }
    let levels = try problem.levels(moments)
    #expect(levels == problem.textbookLevels(moments))
    for row in 0..<3 { for k in dead { #expect(levels[row * 40 + k] == problem.rounded[row * 40 + k]) } }
  }

  @Test("factors of the inputs are as good as inputs that were multiplied with them")
  func factors() throws {
    let problem = Problem(3, 40, bits: 4, group: 16, seed: 31)
    var random = SplitMix(32)
    let factors = random.floats(40, 0.1, 4)
    #expect(try problem.levels(problem.moments(), factors: factors) == problem.levels(problem.moments(factors)))
  }

  @Test("moments without full rank, of fewer samples than inputs, stay finite")
  func fewSamples() throws {
    let problem = Problem(2, 40, bits: 4, group: 16, seed: 41, samples: 3), moments = problem.moments()
    let levels = try problem.levels(moments)
    #expect(levels.allSatisfy { (0...15).contains($0) } && problem.error(levels, moments) < problem.error(problem.rounded, moments))
  }
}
