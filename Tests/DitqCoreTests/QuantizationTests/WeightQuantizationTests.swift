// Weights to 8 and 4 bits: what must hold of the scale and zero point of any group, of either method, and of a matrix as it is packed.

import Testing

@testable import DitqCore

private let formats = [(8, 0), (8, 16), (8, 32), (4, 0), (4, 16), (4, 32), (4, 48), (4, 128)]

/// ŵ of each value.
private func approximations(_ values: [Float], _ scale: WeightScale) -> [Float] {
  values.map { (scale.level($0) - scale.zero) * scale.scale }
}

private func squaredError(_ values: [Float], _ scale: WeightScale) -> Double {
  zip(values, approximations(values, scale)).reduce(0) { sum, pair in
    let difference = Double(pair.0 - pair.1)
    return sum + difference * difference
  }
}

/// Groups of many kinds: of both signs, of one, with outliers, large and small, of one value, nearly constant, with zeros.
private func groups(_ seed: UInt64) -> [[Float]] {
  var random = SplitMix(seed), result: [[Float]] = []
  let ranges: [(Double, Double)] = [(-1, 1), (0, 1), (-1, 0), (-0.1, 3), (-8, 0.5), (0.9, 1), (-1, -0.9), (-1e30, 1e30), (-1e-30, 1e-30)]
  for count in [1, 2, 3, 16, 32, 100, 1152] {
    for (low, high) in ranges {
      let values = random.floats(count, low, high)
      var outlier = values, sparse = values
      outlier[count / 3] *= 30
      for i in stride(from: 1, to: count, by: 2) { sparse[i] = 0 }
      result += [values, outlier, sparse]
    }
  }
  return result
}

private func levels(_ bits: Int, _ group: Int) -> ClosedRange<Float> { bits == 8 ? -127...127 : group == 0 ? -8...7 : 0...15 }

@Suite("Weight quantization")
struct WeightQuantizationTests {
  /// Scale, quotient and zero point are rounded: each moves a value by half an ulp of the most steps, 127 on one side, at most.
  @Test("rounding leaves each weight within half a step, and levels within their bits", arguments: formats)
  func error(bits: Int, group: Int) {
    let halfStep = 0.5 + 4 * 127 * roundoff
    for values in groups(1) {
      let scale = scale(of: values, WeightFormat(bits: bits, group: group, method: .round))
      for value in values {
        let level = scale.level(value)
        #expect(levels(bits, group).contains(level) && level == level.rounded())
        let error = abs(Double(value) - (Double(level) - Double(scale.zero)) * Double(scale.scale))
        #expect(error <= halfStep * Double(scale.scale), "\(value) became \(level), scale \(scale.scale), zero \(scale.zero)")
      }
    }
  }

  @Test("zero is exact, by either method", arguments: formats)
  func exactZero(bits: Int, group: Int) {
    for method in [WeightFormat.Method.round, .leastSquares] {
      for values in groups(2) {
        let scale = scale(of: values, WeightFormat(bits: bits, group: group, method: method))
        #expect(scale.level(0) == scale.zero && levels(bits, group).contains(scale.zero) && scale.scale > 0)
        #expect(scale.level(-0.0) == scale.zero)
      }
    }
  }

  @Test("a group of zeros, or of none, has scale 0 and level 0", arguments: formats)
  func allZero(bits: Int, group: Int) {
    for method in [WeightFormat.Method.round, .leastSquares] {
      for values in [[], [0], [Float](repeating: -0.0, count: 16), [Float](repeating: 0, count: 100)] as [[Float]] {
        let scale = scale(of: values, WeightFormat(bits: bits, group: group, method: method))
        #expect(scale.scale == 0 && scale.zero == 0 && scale.level(0) == 0)
      }
    }
  }

  @Test("least squares is never worse than rounding, and better where there is an outlier", arguments: formats)
  func leastSquares(bits: Int, group: Int) {
    for values in groups(3) {
      let rounded = scale(of: values, WeightFormat(bits: bits, group: group, method: .round))
      let best = scale(of: values, WeightFormat(bits: bits, group: group, method: .leastSquares))
      #expect(squaredError(values, best) <= squaredError(values, rounded))
    }
    var random = SplitMix(4)
    let outlier = random.floats(1000) + [2]
    let rounded = scale(of: outlier, WeightFormat(bits: 4, group: group, method: .round))
    let best = scale(of: outlier, WeightFormat(bits: 4, group: group, method: .leastSquares))
    #expect(squaredError(outlier, best) < 0.9 * squaredError(outlier, rounded))
  }

  @Test("what is rounded stays the same when it is rounded again", arguments: formats)
  func idempotence(bits: Int, group: Int) {
    let format = WeightFormat(bits: bits, group: group, method: .round)
    for values in groups(5) {
      let once = scale(of: values, format), rounded = approximations(values, once), twice = scale(of: rounded, format)
      #expect(values.map(once.level) == rounded.map(twice.level) && once.zero == twice.zero)
      #expect(abs(once.scale - twice.scale) <= 2 * once.scale.ulp)
    }
  }

  @Test("weights that the format holds come back as they were", arguments: formats)
  func representable(bits: Int, group: Int) {
    var random = SplitMix(6)
    let range = bits == 8 ? (-127, 127) : group == 0 ? (-7, 7) : (-5, 10)
    let values = (0..<64).map { _ in Float(range.0 + Int(random.next() % UInt64(range.1 - range.0 + 1))) / 4 }
    let ends = [Float(range.0) / 4, Float(range.1) / 4]
    let scale = scale(of: values + ends, WeightFormat(bits: bits, group: group, method: .round))
    #expect(scale.scale == 0.25 && approximations(values, scale) == values)
  }

  @Test("subnormal weights stay within a step, and overflow nothing", arguments: formats)
  func subnormals(bits: Int, group: Int) {
    for steps in 1...400 {
      for low in [0, -steps / 3, -steps] {
        let values = [low, 0, steps / 2, steps].map { Float($0) * .leastNonzeroMagnitude }
        for method in [WeightFormat.Method.round, .leastSquares] {
          let scale = scale(of: values, WeightFormat(bits: bits, group: group, method: method))
          #expect((0...255).contains(scale.zero) && values.allSatisfy { levels(bits, group).contains(scale.level($0)) })
        }
      }
    }
  }

  // MARK: - Matrices

  @Test("each group of a matrix is quantized by itself, the last may be shorter, and what fills up a panel is 0", arguments: formats)
  func matrices(bits: Int, group: Int) {
    for method in [WeightFormat.Method.round, .leastSquares] {
      for (outputs, inputs) in [(1, 1), (3, 15), (32, 16), (33, 17), (5, 100), (40, 129), (2, 200)] {
        let format = WeightFormat(bits: bits, group: group, method: method)
        var matrix = Matrix.random(outputs, inputs, UInt64(inputs), -1, 1.3)
        for k in 0..<min(inputs, 32) { matrix.values[k] = 0 }
        let packed = PackedWeights(quantizing: matrix, format)
        expectGroups(of: matrix, packed.weights, format)
        #expect(packed.isIntact)
      }
    }
  }

  /// Scales, numbers and sums of all outputs and inputs, those included that only fill up.
  private func expectGroups(of matrix: Matrix, _ weights: IntegerWeights, _ format: WeightFormat) {
    let size = format.group == 0 ? matrix.columns : format.group
    for output in 0..<panelCount(matrix.rows) * panelColumns {
      var sum: Float = 0
      for start in stride(from: 0, to: matrix.columns, by: size) {
        let inputs = start..<min(start + size, matrix.columns)
        let values = output < matrix.rows ? inputs.map { matrix[output, $0] } : []
        let expected = scale(of: values, format), place = weights.place(output: output, groupOf: start)
        let numbers = inputs.map { weights.number(output, $0) }
        let isRight =
          output < matrix.rows
          ? numbers.map(Float.init) == values.map { expected.level($0) - expected.zero } : !numbers.contains { $0 != 0 }
        #expect(weights.scales[place] == expected.scale && isRight, "output \(output), inputs \(inputs)")
        sum = sum.addingProduct(expected.scale, Float(numbers.reduce(0, +)))
      }
      #expect(weights.sums[output] == sum, "output \(output)")
      #expect((matrix.columns..<weights.depth).allSatisfy { weights.number(output, $0) == 0 }, "output \(output)")
    }
  }
}
