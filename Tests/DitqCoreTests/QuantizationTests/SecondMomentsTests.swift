// Σ x·xᵀ of a layer's inputs, lower triangle: against the definition, to the bit, on every instruction set and number of threads.

import Testing

@testable import DitqCore

@Suite("Second moments")
struct SecondMomentsTests {
  /// Of each call one chain of fused multiply-adds along the rows, added to those before.
  private func expected(_ batches: [Matrix], inputs: Int) -> [Float] {
    var sums = [Float](repeating: 0, count: inputs * inputs)
    for x in batches {
      let columns = Matrix(inputs, x.rows, (0..<inputs).flatMap { column in (0..<x.rows).map { x[$0, column] } })
      let product = chains(columns, columns)
      for i in sums.indices { sums[i] += product.values[i] }
    }
    return sums
  }

  @Test(
    "they are the definition's, batch after batch",
    arguments: [(1, 1), (1, 5), (7, 2), (13, 14), (3, 31), (20, 33), (64, 65), (5, 100), (33, 129)])
  func definition(rows: Int, inputs: Int) throws {
    let batches = [Matrix.random(rows, inputs, 1), Matrix.random(max(1, rows / 2), inputs, 2, -3, 9), Matrix.random(rows, inputs, 3)]
    let expected = expected(batches, inputs: inputs)
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(set, threads: threads), moments = try SecondMoments(inputs: inputs, rows: rows, threads: threads)
        for batch in batches {
          let x = Buffer(batch.values)
          moments.add(x.floats, rows: batch.rows, machine.executor)
          #expect(x.isIntact)
        }
        for i in 0..<inputs {
          for j in 0...i {
            #expect(same(moments.values[i * inputs + j], expected[i * inputs + j]), "\(set.name), \(threads) threads, \(i), \(j)")
          }
        }
        #expect(machine.isIntact)
      }
    }
  }

  @Test("no rows add nothing")
  func nothing() throws {
    let machine = try Machine(instructionSets()[0], threads: 2), moments = try SecondMoments(inputs: 5, rows: 3, threads: 2)
    moments.add(Buffer([1]).floats, rows: 0, machine.executor)
    #expect((0..<25).allSatisfy { moments.values[$0] == 0 })
  }
}
