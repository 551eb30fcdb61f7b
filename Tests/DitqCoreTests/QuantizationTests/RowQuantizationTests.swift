// Rows of floats to 8 bits, by their own range or a given one, and 4-bit panels to 8 bits: against scalar definitions, to the bit, and by
// what must hold of any quantizer.

import Testing

@testable import DitqCore

private let depths = Array(1...40) + [64, 65, 127, 128, 129, 1152]

/// A row by the definition: q = clamp(round(x / scale + zero)).
private func quantized(_ x: [Float], scale: Float, zero: Float) -> [UInt8] {
  let inverse = scale > 0 ? 1 / scale : 0
  return x.map { value in
    let q = zero.addingProduct(value, inverse)
    return q > 0 ? UInt8(min(q, 255).rounded(.toNearestOrEven)) : 0
  }
}

private func ownRange(_ x: [Float]) -> (scale: Float, zero: Float) {
  let low = min(0, x.min()!), high = max(0, x.max()!), scale = (high - low) / 255
  return (scale, scale > 0 ? (-low / scale).rounded(.toNearestOrEven) : 0)
}

private func ownSignedRange(_ x: [Float]) -> (scale: Float, zero: Float) { (x.map(abs).max()! / 127, 128) }

private struct QuantizedRow: Equatable {
  var q: [UInt8]
  var scale: Float
  var zero: Float

  var values: [Float] { q.map { scale * (Float($0) - zero) } }
}

/// Row `place` of a tile of `rows`, the others holding x backwards, or a column of a panel: what a set makes of it, and that it keeps to the tile.
private func quantize(
  _ x: [Float], _ set: InstructionSet, by range: ActivationRange? = nil, place: Int = 0, rows: Int = 1, isSigned: Bool = false
) -> QuantizedRow {
  let source = Buffer(x), others = Buffer(Array(x.reversed())), layout = set.kernels.layout
  let byteCount = isSigned ? IntegerWeights.depth(x.count) * 32 : layout.rowSize(depth: x.count) * rows
  let memory = Buffer(count: byteCount / 4), tile = UnsafeMutableRawPointer(memory.floats).assumingMemoryBound(to: UInt8.self)
  let scales = Buffer([Float](repeating: range?.scale ?? -1, count: rows)),
    zeros = Buffer([Float](repeating: range?.zero ?? -1, count: rows))
  withRowPointers { pointers in
    for row in 0..<rows { pointers[row] = UnsafePointer(row == place ? source.floats : others.floats) }
    for row in stride(from: 0, to: rows, by: 4) {
      let count = min(4, rows - row), scales = scales.floats + row, zeros = zeros.floats + row
      if range == nil { set.kernels.row_ranges(pointers + row, count, x.count, scales, zeros, isSigned ? 1 : 0) }
      if isSigned {
        set.kernels.quantize_keys(
          pointers + row, count, x.count, scales, zeros, row, UnsafeMutableRawPointer(tile).assumingMemoryBound(to: Int8.self))
      } else {
        set.kernels.quantize_rows(pointers + row, count, x.count, scales, zeros, tile + layout.place(row: row, input: 0, rows: rows), rows)
      }
    }
  }
  let q = (0..<x.count).map { k in
    isSigned ? tile[(k / 4 * 32 + place) * 4 + k % 4] ^ 0x80 : tile[layout.place(row: place, input: k, rows: rows)] ^ layout.sign
  }
  #expect(
    memory.isIntact && source.isIntact && others.isIntact && scales.isIntact && zeros.isIntact,
    "\(set.name): row \(place) of \(rows), \(x.count) inputs")
  return QuantizedRow(q: q, scale: scales.floats[place], zero: zeros.floats[place])
}

/// Rows of many kinds: of both signs, of one, nearly constant, with an outlier, large and small, with zeros.
private func rows(_ count: Int, _ seed: UInt64) -> [[Float]] {
  var random = SplitMix(seed)
  let ranges: [(Double, Double)] = [
    (-1, 1), (0, 1), (-1, 0), (-0.01, 5), (-7, 0.3), (0.99, 1), (-2, -1.99), (-1e30, 1e30), (-1e-30, 2e-30),
  ]
  var result = ranges.map { random.floats(count, $0.0, $0.1) }
  result.append(result[0].map { $0 < 0 ? 0 : $0 })
  var outlier = result[0]
  outlier[count / 2] = -1000
  result.append(outlier)
  return result
}

/// The scale is rounded twice, the zero point's quotient once, 1 / scale once and the sum once: each may move a value by half an ulp of 255 steps.
private let halfStep = 0.5 + 5 * 255 * roundoff

@Suite("Row quantization")
struct RowQuantizationTests {
  @Test("a row of any length and kind is the definition's to the bit, for every set, in every place of a tile")
  func definition() {
    for set in instructionSets() {
      for count in depths {
        for (i, x) in rows(count, UInt64(count)).enumerated() {
          for isSigned in [false, true] {
            let height = 1 + (count + i) % (isSigned ? 32 : Int(set.kernels.layout.rows)), place = (count * 7 + i) % height
            let (scale, zero) = isSigned ? ownSignedRange(x) : ownRange(x)
            let found = quantize(x, set, place: place, rows: height, isSigned: isSigned)
            let expected = QuantizedRow(q: quantized(x, scale: scale, zero: zero), scale: scale, zero: zero)
            #expect(found == expected, "\(set.name): \(count) inputs, row \(i)\(isSigned ? ", signed" : "")")
          }
        }
      }
    }
  }

  @Test("each value is within half a step, zero is exact, and a zero point is one of 0 … 255")
  func error() {
    for set in instructionSets() {
      for x in rows(1000, 1).map({ $0 + [0] }) {
        let found = quantize(x, set)
        #expect((0...255).contains(found.zero) && found.zero == found.zero.rounded())
        #expect(found.q.last.map(Float.init) == found.zero, "zero is exact")
        for (value, q) in zip(x, found.q) {
          let error = abs(Double(value) - Double(found.scale) * (Double(q) - Double(found.zero)))
          #expect(error <= halfStep * Double(found.scale), "\(set.name): \(value) became \(q)")
        }
      }
    }
  }

  @Test("what is quantized stays the same when it is quantized again")
  func idempotence() {
    for set in instructionSets() {
      for x in rows(1000, 2) {
        let once = quantize(x, set), twice = quantize(once.values, set)
        #expect(twice.q == once.q && twice.zero == once.zero, "\(set.name)")
        #expect(abs(twice.scale - once.scale) <= 2 * once.scale.ulp, "\(set.name)")
      }
    }
  }

  @Test("a row of zeros has scale 0 and zero point 0")
  func zeros() {
    for set in instructionSets() {
      for zero in [0, -0.0] as [Float] {
        for count in depths {
          let found = quantize([Float](repeating: zero, count: count), set)
          #expect(found == QuantizedRow(q: [UInt8](repeating: 0, count: count), scale: 0, zero: 0), "\(set.name), \(count) inputs")
        }
      }
    }
  }

  @Test("a given range clips what is outside, and is widened to include 0")
  func givenRange() {
    let ranges: [(Float, Float)] = [(-1, 1), (-0.3, 0.7), (0, 2), (-2, 0), (0.5, 1), (-3, -1), (0, 0)]
    for (low, high) in ranges {
      let range = ActivationRange(low: low, high: high), x = rows(500, 3).joined() + [0, low, high, 1e38, -1e38, .infinity, -.infinity]
      let bottom = Double(min(low, 0)), top = Double(max(high, 0))
      #expect(range.scale == Float(top - bottom) / 255 && (0...255).contains(range.zero) && range.zero == range.zero.rounded())
      for set in instructionSets() {
        let found = quantize(Array(x), set, by: range)
        #expect(found.q == quantized(Array(x), scale: range.scale, zero: range.zero), "\(set.name): \(low) … \(high)")
        for (value, approximation) in zip(x, found.values) where range.scale > 0 {
          let error = abs(max(bottom, min(top, Double(value))) - Double(approximation))
          #expect(
            error <= (halfStep + 255 * roundoff) * Double(range.scale), "\(set.name), \(low) … \(high): \(value) became \(approximation)")
        }
      }
    }
  }

  @Test("NaN and infinities do the same for every set, and leave the other values of a given range alone")
  func specials() {
    var x = rows(100, 4)[0]
    let clean = x, range = ActivationRange(low: -1, high: 1)
    (x[3], x[50], x[99]) = (.nan, .infinity, -.infinity)
    var first: [QuantizedRow] = []
    for set in instructionSets() {
      let found = quantize(x, set, by: range), expected = quantize(clean, set, by: range)
      #expect((0..<100).allSatisfy { [3, 50, 99].contains($0) || found.q[$0] == expected.q[$0] })
      #expect(found.q[50] == 255 && found.q[99] == 0)
      var justNaN = clean
      justNaN[17] = .nan
      let both = [found, quantize(justNaN, set)]
      if first.isEmpty { first = both } else { #expect(both == first, "\(set.name)") }
    }
  }

  @Test("rows are quantized the same by any number of threads, and rows of zeros give the bias")
  func executor() throws {
    let (count, outputs) = (64, 33)
    for rowCount in [1, 5, 14, 15, 31] {
      var x = Matrix.random(rowCount, count, 5)
      for k in 0..<count { x.values[k] = 0 }
      let matrix = Matrix.random(outputs, count, 6), source = Buffer(x.values), bias = Buffer(Matrix.random(1, outputs, 7).values)
      let weights = PackedWeights(quantizing: matrix, WeightFormat(bits: 8, group: 0, method: .round))
      for set in instructionSets() {
        let expected = (0..<rowCount).map { quantize(Array(x.values[$0 * count..<($0 + 1) * count]), set) }
        for threads in 1...3 {
          let machine = try Machine(set, threads: threads, scratchFloats: Executor.integerScratch(inputs: count))
          let output = Buffer(count: rowCount * outputs)
          let packed = PackedIntegerRows(rows: rowCount, inputs: count, machine.executor.layout)
          machine.executor.quantize(.plain(source.floats, stride: count), by: nil, nil, into: packed.rows)
          machine.executor.gemm(packed.rows, weights.weights, bias: UnsafePointer(bias.floats), into: output.floats, stride: outputs)
          #expect(
            packed.numbers == expected.flatMap { $0.q } && packed.scales == expected.map { $0.scale }, "\(set.name), \(threads) threads")
          #expect(packed.zeros == expected.map { $0.zero } && packed.isIntact && machine.isIntact)
          #expect(Array(output.values[..<outputs]) == bias.values && output.isIntact, "\(set.name), \(threads) threads")
        }
      }
      #expect(weights.isIntact && source.isIntact && bias.isIntact)
    }
  }
}

@Suite("4-bit panels")
struct PanelExpansionTests {
  @Test("every nibble less every zero point is expanded to its place, whatever the groups")
  func everyNibble() {
    // 24 steps of eight inputs for 32 outputs: every byte, three times over; zero points beyond 15 come of ranges of subnormals.
    let depth = 192
    let nibbles = (0..<depth * 16).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 / 256) }
    #expect(Set(nibbles).count == 256)
    for group in [8, 16, 32, 48, 64, 128, 192, 65536] {
      let groups = (depth + group - 1) / group
      for shift in 0..<16 {
        let zeros = (0..<groups * 32).map { UInt8(($0 + $0 / 32 + shift) % 16) }
        for set in instructionSets() {
          let memory = Buffer(count: depth * 8), panel = UnsafeMutableRawPointer(memory.floats).assumingMemoryBound(to: Int8.self)
          set.kernels.expand_panel(nibbles, zeros, depth, group, panel)
          let isRight = (0..<depth * 32).allSatisfy { i in
            let (k, output) = (i / 32, i % 32), byte = nibbles[k / 8 * 128 + output * 4 + k % 4]
            let nibble = Int(k % 8 < 4 ? byte & 15 : byte >> 4), zero = Int(zeros[k / group * 32 + output])
            return Int(panel[k / 4 * 128 + output * 4 + k % 4]) == nibble - zero
          }
          #expect(isRight && memory.isIntact, "\(set.name), groups of \(group)")
        }
      }
    }
  }
}
