// The integer GEMM driver against its definition (IntegerMatrices.swift), to the bit: awkward shapes, bits and groups, instruction sets,
// threads, extreme numbers, the epilogue, and the whole way from floats.

import Foundation
import Testing

@testable import DitqCore

private let sizes = Array(1...10) + [13, 14, 15, 31, 32, 33, 64]
private let depths = Array(1...17) + [31, 32, 33, 63, 64, 65, 127, 128, 129, 192, 200, 1152]
private let formats = [(8, 0), (8, 32), (4, 0), (4, 16), (4, 32), (4, 64), (4, 128), (4, 192)]
private let largest = 64

private func machine(_ set: InstructionSet, threads: Int, inputs: Int) throws -> Machine {
  try Machine(set, threads: threads, scratchFloats: Executor.integerScratch(inputs: inputs))
}

/// The output of many products: each is looked at, with everything around it, and wiped away.
private final class Sheet {
  private let stride = largest + 3
  private let buffer: Buffer
  private let blank: [Float]

  init() {
    blank = [Float](repeating: 4321.125, count: largest * (largest + 3))
    buffer = Buffer(blank)
  }

  func isWritten(by machine: Machine, _ x: QuantizedRows, _ weights: IntegerWeights, _ bias: Buffer?, as expected: [Float]) -> Bool {
    machine.executor.gemm(x, weights, bias: bias.map { UnsafePointer($0.floats) }, into: buffer.floats, stride: stride)
    return expected.withUnsafeBufferPointer { expected in
      blank.withUnsafeBufferPointer { blank in
        var isRight = true
        for row in 0..<largest {
          let written = row < x.rows ? weights.outputs : 0, found = buffer.floats + row * stride
          isRight = isRight && memcmp(found, expected.baseAddress! + row * largest, written * 4) == 0
          isRight = isRight && memcmp(found + written, blank.baseAddress!, (stride - written) * 4) == 0
        }
        memcpy(buffer.floats, blank.baseAddress!, blank.count * 4)
        return isRight
      }
    }
  }

  var isIntact: Bool { buffer.isIntact }
}

@Suite("Integer GEMM")
struct IntegerGemmTests {
  /// One thread does all pairs of rows and outputs; more do as many pairs as there are sizes, others for each depth, so that in the end all
  /// have met.
  @Test("a product of any shape, bits and groups is the definition's to the bit, for every set and number of threads", arguments: formats)
  func everyShape(bits: Int, group: Int) throws {
    let sets = instructionSets(), sheet = Sheet()
    let machines = try sets.map { set in try (1...3).map { try machine(set, threads: $0, inputs: depths.max()!) } }
    for (index, inputs) in depths.enumerated() {
      let problem = IntegerProblem(largest, largest, inputs, bits: bits, group: group, seed: UInt64(inputs * 1000 + bits * 300 + group))
      let expected = [problem.product(withBias: false), problem.product(withBias: true)], bias = Buffer(problem.bias)
      let panels = [PackedWeights(problem, outputs: 32), PackedWeights(problem, outputs: 64)]
      let weights = sizes.map { panels[panelCount($0) - 1].first($0) }
      for (set, machines) in zip(sets, machines) {
        for (i, rows) in sizes.enumerated() {
          let x = PackedIntegerRows(problem, rows: rows, machines[0].executor.layout)
          for (j, outputs) in sizes.enumerated() {
            for (threads, machine) in zip(1...3, machines) where threads == 1 || j == (i * 5 + index * 3 + threads) % sizes.count {
              let hasBias = (i + j) % 2
              let isRight = sheet.isWritten(by: machine, x.rows, weights[j], hasBias == 1 ? bias : nil, as: expected[hasBias])
              guard isRight else {
                Issue.record("\(set.name), \(threads) threads: \(rows) rows, \(outputs) outputs, \(inputs) inputs, bias: \(hasBias)")
                return
              }
            }
          }
          #expect(x.isIntact)
        }
      }
      #expect(panels.allSatisfy { $0.isIntact } && bias.isIntact && sheet.isIntact)
    }
    #expect(machines.joined().allSatisfy { $0.isIntact })
  }

  @Test("one sum over thousands of inputs is exact", arguments: formats)
  func deep(bits: Int, group: Int) throws {
    for inputs in [4099, 65535] {
      let problem = IntegerProblem(1, 1, inputs, bits: bits, group: group, seed: 7), expected = problem.product(withBias: false)
      for set in instructionSets() {
        for threads in 1...3 {
          let machine = try machine(set, threads: threads, inputs: inputs), output = Buffer(count: 1)
          let weights = PackedWeights(problem, outputs: 1), x = PackedIntegerRows(problem, rows: 1, machine.executor.layout)
          machine.executor.gemm(x.rows, weights.weights, bias: nil, into: output.floats, stride: 1)
          #expect(same(output.values, expected), "\(set.name), \(threads) threads, \(inputs) inputs")
          #expect(machine.isIntact && output.isIntact && weights.isIntact && x.isIntact)
        }
      }
    }
  }

  /// 65536 · 255 · 127 = 2 122 383 360 < 2³¹, and pairs of products, as vpmaddwd makes them, are far from a 16-bit end.
  @Test("the largest and the smallest numbers do not overflow, up to 65536 inputs", arguments: [(8, 127), (8, -127), (4, 15), (4, -15)])
  func extremes(bits: Int, p: Int) throws {
    for inputs in [1, 8, 4096, 65535, 65536] {
      var problem = IntegerProblem(15, 33, inputs, bits: bits, group: 0, seed: 1)
      problem.p = problem.p.map { _ in Int8(p) }
      problem.zeros = problem.zeros.map { _ in bits == 4 && p < 0 ? 15 : 0 }
      problem.scales = problem.scales.map { _ in 1 }
      problem.rowScales = problem.rowScales.map { _ in 1 }
      problem.rowZeros = problem.rowZeros.map { _ in 0 }
      let weights = PackedWeights(problem, outputs: 33)
      for q in [0, 255] as [UInt8] {
        problem.q = problem.q.map { _ in q }
        let expected = Float(inputs * Int(q) * p)
        for set in instructionSets() {
          let machine = try machine(set, threads: 2, inputs: inputs), output = Buffer(count: 15 * 33)
          let x = PackedIntegerRows(problem, rows: 15, machine.executor.layout)
          machine.executor.gemm(x.rows, weights.weights, bias: nil, into: output.floats, stride: 33)
          #expect(output.values.allSatisfy { $0 == expected }, "\(set.name): \(inputs) inputs, q \(q), p \(p)")
          #expect(machine.isIntact && output.isIntact && x.isIntact)
        }
      }
      #expect(weights.isIntact)
    }
  }

  @Test("a sum is added to what is there, times the gate of its image")
  func accumulation() throws {
    let problem = IntegerProblem(17, 33, 40, bits: 4, group: 16, seed: 3), sums = problem.product(withBias: true)
    let before = Matrix.random(17, 33, 4), gates = Matrix.random(4, 33, 5)
    let gate = Buffer(gates.values), bias = Buffer(problem.bias), weights = PackedWeights(problem, outputs: 33)
    for hasGate in [false, true] {
      let expected = (0..<17 * 33).map { i in
        hasGate ? before.values[i].addingProduct(gates[i / 33 / 5, i % 33], sums[i]) : sums[i] + before.values[i]
      }
      for set in instructionSets() {
        for threads in 1...3 {
          let machine = try machine(set, threads: threads, inputs: 40), output = Buffer(before.values)
          let x = PackedIntegerRows(problem, rows: 17, machine.executor.layout)
          let epilogue = Epilogue(accumulate: true, gate: hasGate ? UnsafePointer(gate.floats) : nil, gateStride: 33, rowsPerGate: 5)
          machine.executor.gemm(x.rows, weights.weights, bias: UnsafePointer(bias.floats), into: output.floats, stride: 33, epilogue)
          #expect(same(output.values, expected), "\(set.name), \(threads) threads, gate: \(hasGate)")
          #expect(machine.isIntact && output.isIntact && x.isIntact)
        }
      }
    }
    #expect(gate.isIntact && bias.isIntact && weights.isIntact)
  }

  @Test("from floats: rows and weights as the library quantizes them, multiplied, are the definition's to the bit", arguments: formats)
  func fromFloats(bits: Int, group: Int) throws {
    for (rows, outputs, inputs) in [(1, 1, 1), (15, 33, 17), (29, 70, 200), (3, 32, 1152)] {
      let x = Matrix.random(rows, inputs, 8, -3, 2), matrix = Matrix.random(outputs, inputs, 9, -1, 1.5)
      let packedWeights = PackedWeights(quantizing: matrix, WeightFormat(bits: bits, group: group, method: .round))
      let weights = packedWeights.weights
      var problem = IntegerProblem(rows, outputs, inputs, bits: bits, group: group, seed: 10)
      problem.sums = (0..<outputs).map { weights.sums[$0] }
      for output in 0..<outputs {
        for k in 0..<inputs {
          problem.p[output * inputs + k] = Int8(weights.number(output, k))
          problem.scales[output * problem.groups + k / problem.groupSize] = weights.scales[weights.place(output: output, groupOf: k)]
        }
      }
      for set in instructionSets() {
        for threads in 1...3 {
          let machine = try machine(set, threads: threads, inputs: inputs), source = Buffer(x.values), bias = Buffer(problem.bias)
          let packed = PackedIntegerRows(rows: rows, inputs: inputs, machine.executor.layout),
            output = Buffer(count: rows * outputs)
          machine.executor.quantize(.plain(source.floats, stride: inputs), by: nil, nil, into: packed.rows)
          machine.executor.gemm(packed.rows, weights, bias: UnsafePointer(bias.floats), into: output.floats, stride: outputs)
          (problem.q, problem.rowScales, problem.rowZeros) = (packed.numbers, packed.scales, packed.zeros)
          #expect(same(output.values, problem.product(withBias: true)), "\(set.name), \(threads) threads: \(rows) × \(outputs) × \(inputs)")
          #expect(machine.isIntact && source.isIntact && packed.isIntact && output.isIntact && bias.isIntact)
        }
      }
      #expect(packedWeights.isIntact)
    }
  }
}
