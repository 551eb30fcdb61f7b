// The float GEMM driver against the triple loop, to the bit: awkward shapes, instruction sets, threads, stored types, hurting inputs.

import Testing

@testable import DitqCore

private let sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 31, 32, 33, 63, 64, 65, 127, 128, 129]
private let largest = 129

/// The sums of all corners of x [129, 129] and weights [129, 129]: chains [depth], [rows, outputs], after so many of `sizes` steps. The
/// chain of a smaller depth is the beginning of that of a larger one.
private func allChains(_ x: Matrix, _ weights: Matrix) -> [Int: [Float]] {
  var result: [Int: [Float]] = [:]
  var sums = [Float](repeating: 0, count: largest * largest)
  var done = 0
  for depth in sizes {
    for row in 0..<largest {
      for output in 0..<largest {
        var sum = sums[row * largest + output]
        for k in done..<depth { sum = sum.addingProduct(x.values[row * largest + k], weights.values[output * largest + k]) }
        sums[row * largest + output] = sum
      }
    }
    done = depth
    result[depth] = sums
  }
  return result
}

private func isEqual(_ found: Matrix, toCornerOf chains: [Float]) -> Bool {
  for row in 0..<found.rows {
    for column in 0..<found.columns
    where found.values[row * found.columns + column].bitPattern != chains[row * largest + column].bitPattern { return false }
  }
  return true
}

/// 484 shapes in which every two sizes meet, in each pair of places.
private var shapes: [(rows: Int, outputs: Int, inputs: Int)] {
  sizes.indices.flatMap { i in sizes.indices.map { j in (sizes[i], sizes[j], sizes[(i + j) % sizes.count]) } }
}

/// Of eight significant bits, so that F32, F16 and BF16 hold the same numbers.
private func shortNumbers(_ rows: Int, _ columns: Int, _ seed: UInt64) -> Matrix {
  var random = SplitMix(seed)
  return Matrix(rows, columns, (0..<rows * columns).map { _ in Float(Int(random.next() % 511) - 255) / 128 })
}

@Suite("GEMM")
struct GemmTests {
  @Test("a product of any shape is the triple loop's to the bit", arguments: instructionSets())
  func everyShape(set: InstructionSet) throws {
    let x = Matrix.random(largest, largest, 1), weights = Matrix.random(largest, largest, 2)
    let reference = allChains(x, weights)
    let machine = try Machine(set, threads: 1)
    for inputs in sizes {
      let rowsOfX = sizes.map { x.corner($0, inputs) }
      for outputs in sizes {
        let packed = Layer(packing: weights.corner(outputs, inputs), machine)
        for x in rowsOfX {
          let found = multiply(machine, x, packed)
          #expect(isEqual(found, toCornerOf: reference[inputs]!), "\(set.name): \(x.rows) rows, \(outputs) outputs, \(inputs) inputs")
        }
      }
    }
  }

  @Test("threads, stored types and odd addresses do not change a bit")
  func everyVariant() throws {
    let x = Matrix.random(largest, largest, 3), weights = shortNumbers(largest, largest, 4)
    let reference = allChains(x, weights)
    let variants: [(type: ElementType, shift: Int)] = [(.f32, 0), (.f32, 1), (.f32, 2), (.f16, 1), (.f16, 2), (.bf16, 1), (.bf16, 6)]
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(
          set, threads: threads, scratchFloats: Executor.gemmScratch(depth: largest))
        for (index, shape) in shapes.enumerated() {
          // 7 and 3 have no common divisor: every thread count meets every type.
          let (type, shift) = variants[index % variants.count]
          let stored = StoredWeights(weights.corner(shape.outputs, shape.inputs), type, shift: shift)
          let found = multiply(machine, x.corner(shape.rows, shape.inputs), Layer(stored))
          #expect(isEqual(found, toCornerOf: reference[shape.inputs]!), "\(set.name), \(threads) threads, \(type) + \(shift): \(shape)")
        }
      }
    }
  }

  @Test("packed weights on several threads are the triple loop's to the bit", arguments: [2, 3, 4, 7])
  func threads(threads: Int) throws {
    let x = Matrix.random(largest, largest, 5), weights = Matrix.random(largest, largest, 6)
    let reference = allChains(x, weights)
    for set in instructionSets() {
      let machine = try Machine(set, threads: threads)
      for shape in shapes {
        let packed = Layer(packing: weights.corner(shape.outputs, shape.inputs), machine)
        let found = multiply(machine, x.corner(shape.rows, shape.inputs), packed)
        #expect(isEqual(found, toCornerOf: reference[shape.inputs]!), "\(set.name): \(shape)")
      }
    }
  }

  @Test(
    "deep, shallow, high and wide products are the triple loop's to the bit",
    arguments: [(1, 1, 4099), (15, 33, 4099), (1, 300, 7), (300, 1, 7), (1, 70, 1031), (1031, 3, 1), (3, 1031, 1), (29, 97, 515)])
  func extremes(rows: Int, outputs: Int, inputs: Int) throws {
    let x = Matrix.random(rows, inputs, 7), weights = Matrix.random(outputs, inputs, 8)
    let reference = chains(x, weights)
    for set in instructionSets() {
      for threads in 1...3 {
        let machine = try Machine(
          set, threads: threads, scratchFloats: Executor.gemmScratch(depth: inputs))
        let packed = Layer(packing: weights, machine), stored = StoredWeights(weights, .f32, shift: 3)
        #expect(same(multiply(machine, x, packed).values, reference.values), "\(set.name), \(threads) threads, packed")
        let found = multiply(machine, x, Layer(stored))
        #expect(same(found.values, reference.values), "\(set.name), \(threads) threads, stored")
      }
    }
  }

  @Test("a matrix in three tensors is the matrix in one", arguments: [1, 2, 11, 32, 43])
  func threeTensors(each: Int) throws {
    let x = Matrix.random(17, 20, 9), weights = shortNumbers(3 * each, 20, 10)
    let reference = chains(x, weights)
    for set in instructionSets() {
      for type in [ElementType.f32, .f16, .bf16] {
        let machine = try Machine(set, threads: 2, scratchFloats: Executor.gemmScratch(depth: 20))
        let stored = StoredWeights(weights, type, shift: 1, blocks: 3)
        let found = multiply(machine, x, Layer(stored))
        #expect(same(found.values, reference.values), "\(set.name), \(type)")
      }
    }
  }

  @Test("zeros of both signs, subnormals, huge numbers, infinities and NaN come out as the chain has them")
  func hurtingInputs() throws {
    let values: [Float] = [
      0, -0.0, 1, -1, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .leastNormalMagnitude, 1e-38, -0x1.1p-130, .greatestFiniteMagnitude,
      -.greatestFiniteMagnitude, .infinity, -.infinity, .nan, 1e-20, 3e20,
    ]
    var random = SplitMix(11)
    // Mostly tame: with one depth of 9, a wild value in each chain leaves something else than NaN.
    func matrix(_ rows: Int, _ wild: UInt64) -> Matrix {
      Matrix(
        rows, 9,
        (0..<rows * 9).map { _ in
          random.next() % wild == 0 ? values[Int(random.next() % UInt64(values.count))] : Float(random.uniform(-1, 1))
        })
    }
    for wild in [1, 9, 40] as [UInt64] {
      let x = matrix(33, wild), weights = matrix(65, wild), reference = chains(x, weights)
      if wild > 1 { #expect(reference.values.contains { $0.isFinite } && reference.values.contains { $0.isNaN || $0.isInfinite }) }
      for set in instructionSets() {
        let machine = try Machine(set, threads: 2)
        let found = multiply(machine, x, Layer(packing: weights, machine))
        #expect(same(found.values, reference.values), "\(set.name)")
      }
    }
  }

  @Test("subnormal products are kept: no set flushes them to zero")
  func subnormals() throws {
    let x = Matrix(2, 3, [1e-20, 1e-30, 0, -0.0, 0x1p-100, 0x1p-75]), weights = Matrix(1, 3, [1e-20, 1e-12, 1])
    let small = Matrix(1, 3, [1, 0x1p-49, 0x1p-60])
    for set in instructionSets() {
      let machine = try Machine(set, threads: 1)
      #expect(multiply(machine, x, Layer(packing: weights, machine)).values[0].isSubnormal)
      // −0 + 2⁻¹⁴⁹ + 2⁻¹³⁵: exact.
      #expect(multiply(machine, x, Layer(packing: small, machine)).values[1] == 0x1p-149 + 0x1p-135)
    }
  }

  @Test("all zeros make zeros, and the sum of nothing but negative zeros is positive zero")
  func zeros() throws {
    for (a, b) in [(0, 0), (0, 1), (-0.0, 1), (-0.0, 0), (1, -0.0)] as [(Float, Float)] {
      let x = Matrix(15, 5, [Float](repeating: a, count: 75)), weights = Matrix(33, 5, [Float](repeating: b, count: 165))
      for set in instructionSets() {
        let machine = try Machine(set, threads: 1)
        #expect(multiply(machine, x, Layer(packing: weights, machine)).values.allSatisfy { $0.bitPattern == 0 })
      }
    }
  }

  @Test("every panel of every row belongs to exactly one part, however many parts there are")
  func grid() {
    for tileRows in [4, 5, 14, 16] {
      for panels in 1...5 {
        for rows in [1, 3, 4, 14, 15, 28, 29, 64, 256] {
          for parts in 1...33 {
            let grid = Grid(packed: panels, others: (rows + tileRows - 1) / tileRows, parts: parts)
            var counts = [Int](repeating: 0, count: panels * rows)
            for part in 0..<parts {
              for row in grid.elements(part, of: rows, each: tileRows) {
                for panel in grid.packed(part) { counts[panel * rows + row] += 1 }
              }
            }
            #expect(counts.allSatisfy { $0 == 1 }, "\(panels) panels, \(rows) rows in tiles of \(tileRows), \(parts) parts")
          }
        }
      }
    }
  }

  @Test("a NaN stays in its row and column")
  func noContamination() throws {
    var x = Matrix.random(30, 7, 12), weights = Matrix.random(70, 7, 13)
    let clean = chains(x, weights)
    x.values[17 * 7 + 2] = .nan
    weights.values[40 * 7 + 6] = .infinity
    for set in instructionSets() {
      let machine = try Machine(set, threads: 1)
      let found = multiply(machine, x, Layer(packing: weights, machine))
      for row in 0..<30 where row != 17 {
        #expect((0..<70).allSatisfy { $0 == 40 || found[row, $0] == clean[row, $0] } && !found[row, 40].isFinite, "\(set.name), row \(row)")
      }
      #expect((0..<70).allSatisfy { found[17, $0].isNaN })
    }
  }
}
