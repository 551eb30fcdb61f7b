// What happens to finished sums: bias, GELU, accumulating, gates. Everything but GELU is exact; GELU is near tanh's and the same
// everywhere.

import Foundation
import Testing

@testable import DitqCore

/// ½x(1 + tanh(√(2/π)(x + 0.044715x³))), and how far a float's may be from it.
///
/// The library computes x / (1 + e^z) with z = −2u. Its z has four roundings, so that e^z is off by 4|z| roundoffs and the few of e
/// itself; the sum and the quotient add two. Beyond 88, z is cut, and the result is |x| e⁻⁸⁸ at most instead of less. A subnormal is off
/// by half of 2⁻¹⁴⁹.
private func gelu(_ value: Float) -> (value: Double, tolerance: Double) {
  let x = Double(value)
  let u = (2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)
  // ½(1 + tanh u) without cancellation: for u far below 0, tanh u is −1 to the last bit.
  let result = u > 0 ? 0.5 * x * (1 + tanh(u)) : x * exp(2 * u) / (1 + exp(2 * u))
  return (result, abs(result) * roundoff * (8 + 8 * abs(u)) + abs(x) * 1e-37 + 0x1p-150)
}

/// The range of a row as a set finds it.
private func ownRange(_ x: UnsafePointer<Float>, _ count: Int, _ set: InstructionSet) -> [Float] {
  var (row, scale, zero): (UnsafePointer<Float>?, Float, Float) = (x, -1, -1)
  set.kernels.row_ranges(&row, 1, count, &scale, &zero, 0)
  return [scale, zero]
}

/// Rows and outputs on both sides of every tile and panel.
private let shapes = [(1, 1), (4, 16), (6, 32), (14, 33), (15, 48), (29, 63), (45, 65)]

@Suite("GEMM epilogues")
struct EpilogueTests {
  @Test("a bias is added to the finished sum", arguments: shapes)
  func bias(rows: Int, outputs: Int) throws {
    let x = Matrix.random(rows, 11, 1), weights = Matrix.random(outputs, 11, 2), bias = Matrix.random(1, outputs, 3)
    let sums = chains(x, weights)
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(set, threads: threads)
        let found = multiply(machine, x, Layer(packing: weights, machine, bias: bias))
        #expect(found.values.indices.allSatisfy { found.values[$0] == sums.values[$0] + bias.values[$0 % outputs] }, "\(set.name)")
      }
    }
  }

  @Test("accumulating adds sum and bias to what is there, once", arguments: shapes)
  func accumulate(rows: Int, outputs: Int) throws {
    let x = Matrix.random(rows, 6, 4), weights = Matrix.random(outputs, 6, 5), bias = Matrix.random(1, outputs, 6)
    let before = Matrix.random(rows, outputs, 7), sums = chains(x, weights)
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(set, threads: threads)
        let found = multiply(machine, x, Layer(packing: weights, machine, bias: bias), Epilogue(accumulate: true), onto: before)
        #expect(
          found.values.indices.allSatisfy { found.values[$0] == before.values[$0] + (sums.values[$0] + bias.values[$0 % outputs]) },
          "\(set.name)")
      }
    }
  }

  @Test("a gate multiplies the value that is added, a row of gates for so many rows", arguments: [1, 2, 5, 7, 16, 45, 64])
  func gate(rowsPerGate: Int) throws {
    let rows = 45, outputs = 65, gates = (rows + rowsPerGate - 1) / rowsPerGate, gateStride = outputs + 9
    let x = Matrix.random(rows, 6, 8), weights = Matrix.random(outputs, 6, 9), bias = Matrix.random(1, outputs, 10)
    let before = Matrix.random(rows, outputs, 11), gate = Matrix.random(gates, gateStride, 12)
    let sums = chains(x, weights), gateBuffer = Buffer(gate.values)
    var expected = before
    for row in 0..<rows {
      for column in 0..<outputs {
        let i = row * outputs + column
        expected.values[i] = before.values[i].addingProduct(gate[row / rowsPerGate, column], sums.values[i] + bias.values[column])
      }
    }
    let epilogue = Epilogue(accumulate: true, gate: UnsafePointer(gateBuffer.floats), gateStride: gateStride, rowsPerGate: rowsPerGate)
    for set in instructionSets() {
      for threads in 1...4 {
        let machine = try Machine(set, threads: threads)
        let found = multiply(machine, x, Layer(packing: weights, machine, bias: bias), epilogue, onto: before)
        #expect(same(found.values, expected.values), "\(set.name), \(threads) threads")
      }
    }
    #expect(gateBuffer.isIntact)
  }

  @Test("extremes of rows, kept as they are made by any threads, have the ranges of the rows", arguments: shapes)
  func extremes(rows: Int, outputs: Int) throws {
    // Of low and high rows, and one without a number.
    var x = Matrix.random(rows, 11, 16, -2, 3)
    x.values[0] = .nan
    let weights = Matrix.random(outputs, 11, 17), problem = IntegerProblem(rows, outputs, 40, bits: 8, group: 0, seed: 18)
    let packed = PackedWeights(problem, outputs: outputs)
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(set, threads: threads, scratchFloats: Executor.integerScratch(inputs: 40))
        let kept = Buffer(count: rows * threads * RowExtremes.countPerThread), extremes = RowExtremes(kept.floats, threads: threads)
        let epilogue = Epilogue(gelu: true, extremes: extremes), output = Buffer(count: rows * outputs)
        func areRanges(of values: UnsafePointer<Float>) -> Bool {
          (0..<rows).allSatisfy { row in
            ownRange(extremes.row(row), extremes.count, set) == ownRange(values + row * outputs, outputs, set)
          }
        }
        let found = multiply(machine, x, Layer(packing: weights, machine), epilogue)
        #expect(found.values.withUnsafeBufferPointer { areRanges(of: $0.baseAddress!) }, "floats, \(set.name), \(threads) threads")
        let q = PackedIntegerRows(problem, rows: rows, machine.executor.layout)
        machine.executor.gemm(q.rows, packed.weights, bias: nil, into: output.floats, stride: outputs, epilogue)
        #expect(areRanges(of: output.floats), "integers, \(set.name), \(threads) threads")
        #expect(machine.isIntact && kept.isIntact && output.isIntact && q.isIntact)
      }
    }
  }

  @Test("GELU is the tanh form to a few roundings, and to the bit the same for every set", arguments: shapes)
  func gelu(rows: Int, outputs: Int) throws {
    let x = Matrix.random(rows, 5, 13, -3, 3), weights = Matrix.random(outputs, 5, 14, -2, 2), bias = Matrix.random(1, outputs, 15)
    let sums = chains(x, weights)
    var first: Matrix?
    for set in instructionSets() {
      for threads in 1...2 {
        let machine = try Machine(set, threads: threads)
        let found = multiply(machine, x, Layer(packing: weights, machine, bias: bias), Epilogue(gelu: true))
        let isNear = found.values.indices.allSatisfy {
          let (expected, tolerance) = DitqCoreTests.gelu(sums.values[$0] + bias.values[$0 % outputs])
          return abs(Double(found.values[$0]) - expected) <= tolerance
        }
        #expect(isNear, "\(set.name)")
        if let first { #expect(same(found.values, first.values), "\(set.name)") } else { first = found }
      }
    }
  }

  @Test("GELU is right from the smallest to the largest argument")
  func geluRange() throws {
    // One input of weight 1: the arguments are x.
    var arguments: [Float] = [0, -0.0, .leastNonzeroMagnitude, -1e-30, 1e-10, 3.402e38, -3.402e38, 1e18, -1e18, .infinity]
    for i in -2000...2000 { arguments.append(Float(i) / 100) }
    let x = Matrix(arguments.count, 1, arguments), weights = Matrix(1, 1, [1])
    var first: Matrix?
    for set in instructionSets() {
      let machine = try Machine(set, threads: 1)
      let found = multiply(machine, x, Layer(packing: weights, machine), Epilogue(gelu: true))
      for (i, value) in found.values.enumerated() where abs(arguments[i]) <= 20 {
        let (expected, tolerance) = DitqCoreTests.gelu(arguments[i])
        #expect(abs(Double(value) - expected) <= tolerance, "GELU(\(arguments[i])) = \(value), \(expected) expected")
      }
      #expect(found.values[5] == 3.402e38 && found.values[7] == 1e18 && found.values[9] == .infinity)
      #expect(abs(found.values[6]) < 4 && abs(found.values[8]) < 1e-19, "the far negative end is cut at e⁸⁸")
      if let first { #expect(same(found.values, first.values)) } else { first = found }
      #expect(multiply(machine, Matrix(1, 1, [.nan]), Layer(packing: weights, machine), Epilogue(gelu: true)).values[0].isNaN)
    }
  }
}
