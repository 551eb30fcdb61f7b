// SiLU, exp, softmax and LayerNorm with modulation, against double precision; and to the bit the same for every set.

import Foundation
import Testing

@testable import DitqCore

private let lengths = Array(1...40) + [64, 72, 128, 255, 1152]

/// What each set makes of `input`; reports where they differ.
private func results(_ input: [Float], _ body: (InstructionSet, UnsafeMutablePointer<Float>) -> Void) -> [Float] {
  var first: [Float]?
  for set in instructionSets() {
    let row = Buffer(input)
    body(set, row.floats)
    #expect(row.isIntact, "\(set.name), \(input.count) values")
    if let first { #expect(same(row.values, first), "\(set.name) differs, \(input.count) values") } else { first = row.values }
  }
  return first!
}

/// Whether each value is as near as it must be; reports the first that is not.
private func expectNear(_ found: [Float], _ expected: (Int) -> (value: Double, tolerance: Double), _ subject: String) {
  for (i, value) in found.enumerated() {
    let (reference, tolerance) = expected(i)
    guard !(abs(Double(value) - reference) <= tolerance) else { continue }
    Issue.record("\(subject): value \(i) is \(value), \(reference) ± \(tolerance) expected")
    return
  }
}

@Suite("SiLU and exp")
struct SiLUTests {
  /// x / (1 + e^−x): exp is good to 4 roundoffs (its argument is reduced in two steps, the polynomial has a dozen small terms), sum and
  /// quotient add two. Beyond 87 the argument of exp is cut.
  private func expected(_ x: Float) -> (value: Double, tolerance: Double) {
    let value = Double(x) / (1 + exp(-Double(x)))
    return (value, abs(value) * 6 * roundoff + abs(Double(x)) * 1e-37 + 0x1p-150)
  }

  @Test("SiLU is x / (1 + e⁻ˣ) to six roundings over its range")
  func range() {
    var random = SplitMix(1)
    var x = (-9000...9000).map { Float($0) / 100 } + random.floats(20_000, -20, 20) + random.floats(2000, -1e-3, 1e-3)
    x += [0, -0.0, .leastNonzeroMagnitude, -.leastNormalMagnitude, 1e-30, 1000, -1000]
    let found = results(x) { set, row in set.kernels.silu(row, x.count, row) }
    expectNear(found, { expected(x[$0]) }, "SiLU")
  }

  @Test("exp has its exact points and never overflows: SiLU of special values")
  func specials() {
    let x: [Float] = [0, .infinity, 3.4e38, -3.4e38, 88, 89, 200, 1e10]
    let found = results(x) { set, row in set.kernels.silu(row, x.count, row) }
    #expect(found[0] == 0 && found[1] == .infinity && found[2] == 3.4e38)
    #expect(abs(found[3]) < 4, "e⁸⁸ is where the argument is cut")
    #expect(Array(found[4...]) == [88, 89, 200, 1e10])
    #expect(results([.nan]) { set, row in set.kernels.silu(row, 1, row) }[0].isNaN)
  }

  @Test("any number of values is done, no more, and into another place than they are from")
  func counts() {
    for count in lengths {
      let x = Matrix.random(1, count, UInt64(count), -5, 5).values
      let found = results([Float](repeating: .nan, count: count)) { set, row in
        x.withUnsafeBufferPointer { set.kernels.silu($0.baseAddress!, count, row) }
      }
      expectNear(found, { expected(x[$0]) }, "\(count) values")
    }
  }
}

@Suite("Softmax")
struct SoftmaxTests {
  /// The argument z = factor · (x − max) has two roundings, so that e^z is off by 2|z| roundoffs and 4 of its own; the sum of n in sixteen
  /// chains by n / 16 + 4, and by what its terms are; inverse and product add two. Below −87 the argument is cut: e⁻⁸⁷ instead of less.
  private func expected(_ row: [Float], _ factor: Float) -> (Int) -> (value: Double, tolerance: Double) {
    let top = Double(row.max()!)
    let z = row.map { Double(factor) * (Double($0) - top) }
    let sum = z.reduce(0) { $0 + exp($1) }
    let spread = z.reduce(0) { $0 + exp($1) / sum * -$1 }
    let roundings = 2 * spread + Double(row.count) / 16 + 14
    return { i in
      let value = exp(z[i]) / sum
      return (value, value * roundoff * (roundings - 2 * z[i]) + 2e-38)
    }
  }

  @Test("softmax is the quotient of exponentials, at every length", arguments: [1, 0.125, 0.117_851_13, 3] as [Float])
  func lengths(factor: Float) {
    for count in DitqCoreTests.lengths {
      let row = Matrix.random(1, count, UInt64(count), -8, 8).values
      let found = results(row) { set, row in set.kernels.softmax(row, factor, count) }
      expectNear(found, expected(row, factor), "\(count) values")
      let total = found.reduce(0) { $0 + Double($1) }
      #expect(abs(total - 1) <= roundoff * (Double(count) / 16 + 20), "the values add up to 1")
    }
  }

  @Test("equal values share equally, to the last bit")
  func equal() {
    for count in DitqCoreTests.lengths {
      for value in [0, -3.5, 1e30] as [Float] {
        let found = results([Float](repeating: value, count: count)) { set, row in set.kernels.softmax(row, 0.125, count) }
        #expect(found.allSatisfy { $0 == 1 / Float(count) })
      }
    }
  }

  @Test("large and negative values neither overflow nor vanish: only differences count")
  func extremes() {
    for count in [2, 15, 16, 17, 33] {
      for place in [0, count / 2, count - 1] {
        var row = [Float](repeating: -1e30, count: count)
        row[place] = 1e30
        let found = results(row) { set, row in set.kernels.softmax(row, 1, count) }
        #expect(found.indices.allSatisfy { $0 == place ? found[$0] == 1 : found[$0] < 2e-38 })
        let low = results(row.map { $0 == 1e30 ? -1 : -1e30 }) { set, row in set.kernels.softmax(row, 1, count) }
        #expect(low.indices.allSatisfy { $0 == place ? low[$0] == 1 : low[$0] < 2e-38 }, "all are below 0")
      }
    }
  }

  @Test("the largest value is found wherever it stands")
  func maximum() {
    for count in DitqCoreTests.lengths where count <= 72 {
      for place in 0..<count {
        // Were 500 not subtracted, every exponential would be cut at e⁸⁸ and all would be equal.
        var row = [Float](repeating: 400, count: count)
        row[place] = 500
        let found = results(row) { set, row in set.kernels.softmax(row, 1, count) }
        #expect(found[place] == 1 && found.indices.allSatisfy { $0 == place || found[$0] < 2e-38 }, "\(place) of \(count)")
      }
    }
  }
}

@Suite("LayerNorm and modulation")
struct ModulationTests {
  /// k = n / 16 + 6 roundings of the sums. The mean is off by k · A with A = max |x|, which the division by s = √(variance + ε) enlarges;
  /// the inverse is off by k / 2 + 4 of its own, and by the mean's error only in the second order.
  private func expected(
    _ x: [Float], _ shift: [Float], _ scale: [Float], _ epsilon: Float
  ) -> (Int) -> (value: Double, tolerance: Double) {
    let count = Double(x.count), mean = x.reduce(0) { $0 + Double($1) } / count
    let s = (x.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count + Double(epsilon)).squareRoot()
    let k = count / 16 + 6, largest = x.reduce(0) { max($0, Double(abs($1))) }
    let meanError = k * roundoff * largest
    return { i in
      let normal = (Double(x[i]) - mean) / s, factor = 1 + Double(scale[i]), value = normal * factor + Double(shift[i])
      let relative = (k + 8) * roundoff + (meanError / s) * (meanError / s)
      let tolerance = abs(factor) * ((meanError + roundoff * largest) / s + abs(normal) * relative) + 2 * roundoff * abs(value)
      return (value, tolerance + 0x1p-150)
    }
  }

  private func run(_ x: [Float], _ shift: [Float], _ scale: [Float], _ epsilon: Float) -> [Float] {
    let (x, shift, scale) = (Buffer(x), Buffer(shift), Buffer(scale))
    defer { withExtendedLifetime((x, shift, scale)) {} }
    return results([Float](repeating: .nan, count: x.count)) { set, row in
      var source: UnsafePointer<Float>? = UnsafePointer(x.floats)
      set.kernels.modulate(&source, 1, shift.floats, scale.floats, epsilon, x.count, row)
    }
  }

  @Test("modulated LayerNorm is its formula, at every length", arguments: [1e-6, 1e-5] as [Float])
  func everyLength(epsilon: Float) {
    for count in lengths {
      var random = SplitMix(UInt64(count))
      let shift = random.floats(count), scale = random.floats(count, -2, 2)
      for (low, high) in [(-1, 1), (10, 12), (-1e-4, 1e-4), (-3000, 5000)] as [(Double, Double)] {
        let x = random.floats(count, low, high)
        expectNear(run(x, shift, scale, epsilon), expected(x, shift, scale, epsilon), "\(count) values from \(low) to \(high)")
      }
    }
  }

  @Test("equal values are their mean: only the shift is left")
  func constant() {
    for count in lengths {
      let shift = Matrix.random(1, count, 2).values, scale = Matrix.random(1, count, 3).values
      // A power of two, and sums of it, are exact.
      #expect(same(run([Float](repeating: 0.5, count: count), shift, scale, 1e-6), shift))
      #expect(same(run([Float](repeating: 0, count: count), shift, scale, 1e-6), shift))
    }
  }

  @Test("packing with modulation is modulation, then packing; each image with its own parameters", arguments: [1, 2, 3])
  func packing(threads: Int) throws {
    let (images, rowsPerImage, depth) = (3, 11, 37), rows = images * rowsPerImage, stride = 5 * depth
    let x = Buffer(Matrix.random(rows, depth, 4, -2, 3).values), parameters = Buffer(Matrix.random(images, stride, 5).values)
    let modulation = Modulation(
      shift: parameters.floats + depth, scale: parameters.floats + 3 * depth, stride: stride, rowsPerImage: rowsPerImage, epsilon: 1e-6)
    for set in instructionSets() {
      let machine = try Machine(set, threads: threads, scratchFloats: Executor.modulationScratch(depth: depth, set.kernels))
      let normal = Buffer(count: rows * depth), tiles = Buffer(count: rows * depth), expected = Buffer(count: rows * depth)
      for row in 0..<rows {
        let offset = row / rowsPerImage * stride
        var source: UnsafePointer<Float>? = UnsafePointer(x.floats + row * depth)
        set.kernels.modulate(
          &source, 1, modulation.shift + offset, modulation.scale + offset, 1e-6, depth, normal.floats + row * depth)
      }
      let plain = PackedRows(tiles: expected.floats, rows: rows, depth: depth)
      machine.executor.pack(.plain(normal.floats, stride: depth), into: plain)
      machine.executor.pack(.modulated(x.floats, modulation), into: PackedRows(tiles: tiles.floats, rows: rows, depth: depth))
      #expect(same(tiles.values, expected.values) && normal.isIntact && tiles.isIntact && machine.isIntact, "\(set.name)")
    }
    #expect(x.isIntact && parameters.isIntact)
  }
}
