// The search for the scale of some weights, and the numbers that it makes of them, of every instruction set against plain loops, to the bit.

import Testing

@testable import DitqCore

private let formats = [(8, 0), (8, 16), (4, 0), (4, 128)].map { WeightFormat(bits: $0.0, group: $0.1, method: .leastSquares) }
private let counts = Array(1...40) + [127, 128, 129, 1152, 4608]

private func levels(_ format: WeightFormat) -> (low: Float, high: Float) {
  format.bits == 8 ? (-127, 127) : format.group == 0 ? (-8, 7) : (0, 15)
}

/// Scale and zero point for the values' range, clipped to a share of it.
private func clipped(_ values: [Float], _ format: WeightFormat, _ clip: Float) -> (scale: Float, zero: Float) {
  let (low, high) = levels(format), bottom = -min(0, values.min()!), top = max(0, values.max()!)
  guard low == 0 else { return (max(bottom, top) * clip / high, 0) }
  let scale = (bottom + top) * clip / high
  return (scale, scale > 0 ? min(high, (bottom * clip / scale).rounded(.toNearestOrEven)) : 0)
}

private func number(_ weight: Float, _ format: WeightFormat, _ scale: (scale: Float, zero: Float)) -> Float {
  let (low, high) = levels(format)
  return scale.scale > 0
    ? max(low - scale.zero, min(high - scale.zero, (weight / scale.scale).rounded(.toNearestOrEven))) : 0
}

/// The error of a scale: sixteen chains of floats, added up by halves.
private func error(_ values: [Float], _ format: WeightFormat, _ scale: (scale: Float, zero: Float)) -> Double {
  var sums = [Float](repeating: 0, count: 16)
  for (i, value) in values.enumerated() {
    let difference = value / scale.scale - number(value, format, scale)
    sums[i % 16] += difference * difference
  }
  while sums.count > 1 { sums = (0..<sums.count / 2).map { sums[$0] + sums[$0 + sums.count / 2] } }
  return Double(sums[0]) * (Double(scale.scale) * Double(scale.scale))
}

/// Of all sixty, without leaving any out, the first of least error.
private func best(_ values: [Float], _ format: WeightFormat) -> (scale: Float, zero: Float) {
  let candidates = (0..<60).map { clipped(values, format, 1 - 0.01 * Float($0)) }.filter { $0.scale > 0 }
  guard !candidates.isEmpty else { return (0, 0) }
  let errors = candidates.map { error(values, format, $0) }
  return candidates[errors.firstIndex(of: errors.min()!)!]
}

/// Weights of many kinds: usual ones, of one sign, with outliers, all equal, on the levels, huge, tiny, zeros.
private func weights(_ count: Int, _ seed: UInt64) -> [[Float]] {
  var random = SplitMix(seed)
  let normal = (0..<count).map { _ in Float((0..<12).reduce(-6.0) { sum, _ in sum + random.unit() } * 0.02) }
  var outlier = normal, huge = normal
  outlier[count / 3] *= 30
  huge[count / 2] = -1e18
  let levels = (0..<count).map { _ in Float(Int(random.next() % 16) - 5) / 4 }
  let tiny = (0..<count).map { _ in Float(Int(random.next() % 401) - 200) * .leastNonzeroMagnitude }
  return [
    normal, normal.map(\.magnitude), normal.map { -$0.magnitude }, outlier, huge, levels, tiny, normal.map { $0 * 1e-30 },
    random.floats(count, -1e18, 1e18), random.floats(count, -0.1, 3), [Float](repeating: 0.3, count: count),
    [Float](repeating: -1e18, count: count), [Float](repeating: 1e18, count: count), [Float](repeating: 0, count: count),
    (0..<count).map { $0 % 2 == 0 ? 1e18 : -1e18 }, [Float](repeating: -0.0, count: count),
    [Float](repeating: .leastNonzeroMagnitude, count: count),
  ]
}

@Suite("Scales of weights")
struct WeightScaleTests {
  @Test("the scale is that of a search of all sixty clips, the first of least error, for every set", arguments: formats.indices)
  func search(index: Int) {
    let format = formats[index]
    for count in counts {
      for (kind, values) in weights(count, UInt64(count)).enumerated() {
        let expected = best(values, format)
        for set in instructionSets() {
          let found = scale(of: values, format, set)
          #expect(found.scale == expected.scale && found.zero == expected.zero, "\(set.name): \(count) weights of kind \(kind)")
        }
      }
    }
  }

  @Test("rounding takes the whole range, for every set", arguments: formats.indices)
  func range(index: Int) {
    var format = formats[index]
    format.method = .round
    for count in counts {
      for (kind, values) in weights(count, UInt64(count) + 1000).enumerated() {
        let whole = clipped(values, format, 1)
        for set in instructionSets() {
          let found = scale(of: values, format, set)
          #expect(found.scale == whole.scale && found.zero == whole.zero, "\(set.name): \(count) weights of kind \(kind)")
        }
      }
    }
  }

  @Test("numbers come to their places in a panel, and their sum, for every set", arguments: formats.indices)
  func numbers(index: Int) {
    let format = formats[index]
    for (outputs, inputs) in [(1, 1), (2, 8), (3, 15), (32, 16), (33, 17), (31, 40), (5, 100), (40, 129), (2, 4608)] {
      let matrix = Matrix.random(outputs, inputs, UInt64(inputs), -1, 1.3)
      let group = format.group == 0 ? inputs : format.group
      for set in instructionSets() {
        let packed = PackedWeights(quantizing: matrix, format, set)
        for output in 0..<outputs {
          var sum: Float = 0
          for start in stride(from: 0, to: inputs, by: group) {
            let inputs = start..<min(start + group, inputs), values = inputs.map { matrix[output, $0] }, expected = best(values, format)
            let p = values.map { number($0, format, expected) }
            #expect(inputs.map { Float(packed.weights.number(output, $0)) } == p, "\(set.name): \(outputs)·\(inputs), output \(output)")
            sum = sum.addingProduct(expected.scale, p.reduce(0, +))
          }
          #expect(packed.weights.sums[output] == sum)
        }
        #expect(packed.isIntact)
      }
    }
  }

  @Test(
    "a weight that is too large, or not a number, is found wherever it stands, and its panel is left as it was", arguments: [1, 15, 16, 40])
  func limit(inputs: Int) {
    for value in [
      Float.nan, -.nan, .infinity, -.infinity, WeightFormat.largest.nextUp, -WeightFormat.largest.nextUp, .greatestFiniteMagnitude,
    ] {
      for place in 0..<inputs {
        var matrix = Matrix.random(3, inputs, 1)
        matrix.values[inputs + place] = value
        #expect(firstTooLarge(matrix) == 1, "\(value) at \(place) of \(inputs)")
        matrix.values[inputs + place] = value < 0 ? -WeightFormat.largest : WeightFormat.largest
        #expect(firstTooLarge(matrix) == nil)
      }
    }
  }

  private func firstTooLarge(_ matrix: Matrix) -> Int? {
    let packed = PackedWeights(quantizing: Matrix.random(matrix.rows, matrix.columns, 2), formats[0]), source = Buffer(matrix.values)
    let stored = StoredMatrix(floats: source.floats, outputs: matrix.rows, inputs: matrix.columns)
    return packed.weights.fill(from: stored, formats[0])
  }
}
