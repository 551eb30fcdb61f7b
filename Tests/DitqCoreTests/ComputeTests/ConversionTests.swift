// Stored numbers as floats, exhaustively; panels and tiles in the layouts of CKernels.h.

import Testing

@testable import DitqCore

/// All 65536 numbers of 16 bits, `shift` bytes after an aligned address, converted by a set.
private func converted(_ set: InstructionSet, _ type: ElementType, shift: Int) -> [Float] {
  let source = UnsafeMutableRawPointer.allocate(byteCount: 2 * 65536 + shift, alignment: 64)
  defer { source.deallocate() }
  for bits in 0..<65536 { source.storeBytes(of: UInt16(bits), toByteOffset: 2 * bits + shift, as: UInt16.self) }
  let output = Buffer(count: 65536)
  set.kernels.convert(source + shift, type.kernelNumber, 65536, output.floats)
  #expect(output.isIntact)
  return output.values
}

@Suite("Stored numbers")
struct ConversionTests {
  @Test("every half-precision number becomes the float that Swift has for it", arguments: [0, 1])
  func halves(shift: Int) {
    for set in instructionSets() {
      let found = converted(set, .f16, shift: shift)
      #expect(found.indices.allSatisfy { same(found[$0], Float(Float16(bitPattern: UInt16($0)))) }, "\(set.name)")
      // Of a NaN, too, the sign is kept.
      #expect(found.indices.allSatisfy { (found[$0].bitPattern >> 31 == 1) == ($0 >= 0x8000) }, "\(set.name)")
    }
  }

  @Test("every bfloat16 number is the upper half of its float, NaN included", arguments: [0, 1])
  func brainFloats(shift: Int) {
    for set in instructionSets() {
      let found = converted(set, .bf16, shift: shift)
      #expect(found.indices.allSatisfy { found[$0].bitPattern == UInt32($0) << 16 }, "\(set.name)")
    }
  }

  @Test("so many numbers as asked for are converted, at any address, and none beyond", arguments: [ElementType.f32, .f16, .bf16])
  func counts(type: ElementType) {
    var random = SplitMix(1)
    let numbers = (0..<70).map { _ in Float(Int(random.next() % 255) - 127) / 64 }
    for set in instructionSets() {
      for count in Array(0...50) + [63, 64, 65] {
        for shift in 0..<4 {
          let stored = StoredWeights(Matrix(1, max(1, count), Array(numbers[..<max(1, count)])), type, shift: shift)
          let output = Buffer(count: count)
          set.kernels.convert(stored.matrix.row(0), type.kernelNumber, count, output.floats)
          #expect(output.values == Array(numbers[..<count]) && output.isIntact, "\(set.name): \(count) numbers, \(shift) bytes off")
          withExtendedLifetime(stored) {}
        }
      }
    }
  }

  @Test("one row of a matrix is copied as floats, from one tensor or three", arguments: [1, 3])
  func rows(blocks: Int) {
    let weights = Matrix(6, 5, (0..<30).map { Float($0) })
    for type in [ElementType.f32, .f16, .bf16] {
      let stored = StoredWeights(weights, type, shift: 1, blocks: blocks)
      #expect(stored.matrix.outputs == 6 && stored.matrix.inputs == 5)
      for row in 0..<6 {
        let output = Buffer(count: 5)
        stored.matrix.copyRow(row, to: output.floats, instructionSets()[0].kernels)
        #expect(output.values == (0..<5).map { Float(5 * row + $0) } && output.isIntact)
      }
      withExtendedLifetime(stored) {}
    }
  }
}

@Suite("Packing")
struct PackingTests {
  @Test("a panel holds 32 rows turned, and zeros where there are fewer", arguments: [1, 2, 15, 16, 17, 31, 32])
  func panels(count: Int) {
    for set in instructionSets() {
      for depth in [1, 2, 15, 16, 17, 33] {
        let weights = Matrix.random(count, depth, UInt64(count * depth))
        let stored = StoredWeights(weights, .f32, shift: 1), panel = Buffer(count: depth * 32, filledWith: .nan)
        stored.matrix.packPanel(0, into: panel.floats, set.kernels)
        let found = panel.values
        let isRight = (0..<depth * 32).allSatisfy { found[$0] == ($0 % 32 < count ? weights[$0 % 32, $0 / 32] : 0) }
        #expect(isRight && panel.isIntact, "\(set.name): \(count) rows of \(depth)")
        withExtendedLifetime(stored) {}
      }
    }
  }

  @Test("a panel of a matrix that stands turned already is its rows side by side", arguments: [1, 8, 15, 16, 17, 31, 32])
  func copiedPanels(count: Int) {
    let stride = 37, depth = 9
    // What stands beside the panel must not get into it.
    let source = Buffer(Matrix.random(depth, stride, 5).values)
    for set in instructionSets() {
      let panel = Buffer(count: depth * 32, filledWith: .nan)
      set.kernels.copy_panel(source.floats, stride, count, depth, panel.floats)
      let found = panel.values, values = source.values
      let isRight = (0..<depth * 32).allSatisfy { found[$0] == ($0 % 32 < count ? values[$0 / 32 * stride + $0 % 32] : 0) }
      #expect(isRight && panel.isIntact, "\(set.name)")
    }
  }

  @Test("rows stand in tiles, turned, the last tile with as many as are left", arguments: [1, 2, 3])
  func tiles(threads: Int) throws {
    for set in instructionSets() {
      let machine = try Machine(set, threads: threads), tileRows = machine.executor.tileRows
      for (rows, depth, stride) in [(1, 1, 1), (tileRows, 5, 5), (tileRows + 1, 5, 8), (5 * tileRows - 1, 17, 20), (129, 3, 3)] {
        let x = Buffer(Matrix.random(rows, stride, 6).values), tiles = Buffer(count: rows * depth, filledWith: .nan)
        machine.executor.pack(.plain(x.floats, stride: stride), into: PackedRows(tiles: tiles.floats, rows: rows, depth: depth))
        #expect(tiles.isIntact)
        let found = tiles.values, values = x.values
        for row in 0..<rows {
          let first = row / tileRows * tileRows, count = min(tileRows, rows - first)
          let isRight = (0..<depth).allSatisfy { found[first * depth + $0 * count + row - first] == values[row * stride + $0] }
          #expect(isRight, "\(set.name): row \(row) of \(rows) by \(depth)")
        }
      }
      #expect(machine.isIntact)
    }
  }
}
