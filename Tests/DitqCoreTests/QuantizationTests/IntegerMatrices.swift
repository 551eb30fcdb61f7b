// The integer GEMM of the tests: matrices given by their numbers, packed and read by the layouts of CKernels.h written once more, and the
// product by its definition, a triple loop.

import CKernels
import Testing

@testable import DitqCore

// MARK: - The definition

/// x̂ [rows, inputs] = row scale · (q − row zero) and ŵ [outputs, inputs] = scale · p, p = nibble − zero in 4 bits.
struct IntegerProblem {
  let rows: Int, outputs: Int, inputs: Int
  let bits: Int
  /// Inputs that share a scale; 0 = the whole row.
  let group: Int
  /// [rows][inputs].
  var q: [UInt8]
  var rowScales: [Float]
  var rowZeros: [Float]
  /// [outputs][inputs].
  var p: [Int8]
  /// [outputs][groups].
  var scales: [Float]
  var zeros: [UInt8]
  /// [outputs]. A kernel is given them: nothing here says that they are Σ scale · Σ p.
  var sums: [Float]
  var bias: [Float]

  var groupSize: Int { group == 0 ? inputs : group }
  var groups: Int { (inputs + groupSize - 1) / groupSize }

  init(_ rows: Int, _ outputs: Int, _ inputs: Int, bits: Int, group: Int, seed: UInt64) {
    (self.rows, self.outputs, self.inputs, self.bits, self.group) = (rows, outputs, inputs, bits, group)
    var random = SplitMix(seed)
    func positive(_ count: Int) -> [Float] { random.floats(count, 0.001, 0.1) }
    let groupSize = group == 0 ? inputs : group, groups = (inputs + groupSize - 1) / groupSize
    q = (0..<rows * inputs).map { _ in UInt8(random.next() % 256) }
    rowScales = positive(rows)
    rowZeros = (0..<rows).map { _ in Float(random.next() % 256) }
    scales = positive(outputs * groups)
    zeros = (0..<outputs * groups).map { _ in bits == 8 ? 0 : group == 0 ? 8 : UInt8(random.next() % 16) }
    p = [Int8](repeating: 0, count: outputs * inputs)
    for i in p.indices {
      let zero = zeros[i / inputs * groups + i % inputs / groupSize]
      p[i] = bits == 8 ? Int8(Int(random.next() % 255) - 127) : Int8(Int(random.next() % 16) - Int(zero))
    }
    sums = random.floats(outputs)
    bias = random.floats(outputs)
  }

  /// [rows][outputs]: exact sums a group; the first times its scale, the others added by fused multiply-adds; the zero point; times the row's
  /// scale added to the bias, rounded once.
  func product(withBias: Bool) -> [Float] {
    var result = [Float](repeating: 0, count: rows * outputs)
    for row in 0..<rows {
      for output in 0..<outputs {
        var total: Float = 0
        for number in 0..<groups {
          var sum = 0
          for k in number * groupSize..<min((number + 1) * groupSize, inputs) {
            sum += Int(q[row * inputs + k]) * Int(p[output * inputs + k])
          }
          precondition(abs(sum) < 1 << 31)
          let scale = scales[output * groups + number]
          total = number == 0 ? Float(sum) * scale : total.addingProduct(Float(sum), scale)
        }
        let value = total.addingProduct(-rowZeros[row], sums[output])
        result[row * outputs + output] = (withBias ? bias[output] : 0).addingProduct(value, rowScales[row])
      }
    }
    return result
  }
}

// MARK: - Scales

/// What the library chooses for some weights.
func scale(of values: [Float], _ format: WeightFormat, _ set: InstructionSet = instructionSets()[0]) -> WeightScale {
  let source = Buffer(values + [Float](repeating: 0, count: -values.count & 15)),
    scale = WeightScale(source.floats, values.count, format, set.kernels)
  #expect(source.isIntact)
  return scale
}

extension WeightScale {
  /// As it is stored: p, or what is zero more where there is a zero point.
  func level(_ weight: Float) -> Float { number(weight) + zero }
}

// MARK: - Layouts

/// Where numbers stand in packed weights.
extension IntegerWeights {
  func place(output: Int, groupOf input: Int) -> Int {
    (output / panelColumns * groups + input / group) * panelColumns + output % panelColumns
  }

  /// The byte of a number, and whether it is the high half.
  private func byte(_ output: Int, _ input: Int) -> (byte: UnsafeMutablePointer<UInt8>, isHigh: Bool) {
    let panel = numbers.assumingMemoryBound(to: UInt8.self) + output / panelColumns * panelByteCount
    let column = output % panelColumns * 4 + input % 4
    return bits == 8 ? (panel + input / 4 * 128 + column, false) : (panel + input / 8 * 128 + column, input % 8 >= 4)
  }

  /// p; also of the outputs and inputs that fill up the last panel.
  func number(_ output: Int, _ input: Int) -> Int {
    let (byte, isHigh) = byte(output, input)
    if bits == 8 { return Int(Int8(bitPattern: byte.pointee)) }
    return Int(isHigh ? byte.pointee >> 4 : byte.pointee & 15) - Int(zeros[place(output: output, groupOf: input)])
  }

  fileprivate func put(_ p: Int, _ output: Int, _ input: Int) {
    let (byte, isHigh) = byte(output, input)
    guard bits == 4 else { return byte.pointee = UInt8(bitPattern: Int8(p)) }
    let nibble = UInt8(p + Int(zeros[place(output: output, groupOf: input)]))
    byte.pointee = isHigh ? byte.pointee & 0x0f | nibble << 4 : byte.pointee & 0xf0 | nibble
  }
}

/// Packed weights and their memory.
final class PackedWeights {
  let weights: IntegerWeights
  private let memory: Buffer

  private init(outputs: Int, inputs: Int, bits: Int, group: Int) {
    var measure = Arena()
    _ = IntegerWeights(&measure, outputs: outputs, inputs: inputs, bits: bits, group: group)
    memory = Buffer(count: measure.peak / 4, filledWith: .nan)
    var arena = Arena(memory.floats)
    weights = IntegerWeights(&arena, outputs: outputs, inputs: inputs, bits: bits, group: group)
  }

  /// The first `outputs` of a problem. What fills up the last panel is arbitrary in its outputs, and 0 in its inputs.
  convenience init(_ problem: IntegerProblem, outputs: Int) {
    self.init(outputs: outputs, inputs: problem.inputs, bits: problem.bits, group: problem.group)
    for output in 0..<panelCount(outputs) * panelColumns {
      let o = output % problem.outputs
      weights.sums[output] = problem.sums[o]
      for k in 0..<weights.depth {
        let number = min(k, problem.inputs - 1) / problem.groupSize, place = weights.place(output: output, groupOf: k)
        weights.scales[place] = problem.scales[o * problem.groups + number]
        weights.zeros[place] = problem.zeros[o * problem.groups + number]
        weights.put(k < problem.inputs ? Int(problem.p[o * problem.inputs + k]) : 0, output, k)
      }
    }
  }

  /// A matrix, as the library quantizes it.
  convenience init(quantizing matrix: Matrix, _ format: WeightFormat, _ set: InstructionSet = instructionSets()[0]) {
    self.init(outputs: matrix.rows, inputs: matrix.columns, bits: format.bits, group: format.group)
    let source = Buffer(matrix.values)
    let stored = StoredMatrix(floats: source.floats, outputs: matrix.rows, inputs: matrix.columns)
    weights.fill(from: stored, format, set)
    #expect(memory.isIntact && source.isIntact)
  }

  /// The same panels with fewer outputs.
  func first(_ outputs: Int) -> IntegerWeights {
    precondition(panelCount(outputs) == panelCount(weights.outputs))
    var arena = Arena(memory.floats)
    return IntegerWeights(
      &arena, outputs: outputs, inputs: weights.inputs, bits: weights.bits, group: weights.group == weights.depth ? 0 : weights.group)
  }

  var isIntact: Bool { memory.isIntact }
}

/// Quantized rows and their memory.
final class PackedIntegerRows {
  let rows: QuantizedRows
  private let memory: Buffer

  /// Room for rows.
  init(rows: Int, inputs: Int, _ layout: TileLayout) {
    var measure = Arena()
    _ = RowBuffers(&measure, rows: rows, inputs: inputs, layout)
    memory = Buffer(count: measure.peak / 4, filledWith: .nan)
    var arena = Arena(memory.floats)
    self.rows = QuantizedRows(RowBuffers(&arena, rows: rows, inputs: inputs, layout), rows: rows, inputs: inputs, layout)
  }

  /// The first rows of a problem; arbitrary numbers past the inputs.
  convenience init(_ problem: IntegerProblem, rows count: Int, _ layout: TileLayout) {
    self.init(rows: count, inputs: problem.inputs, layout)
    for row in 0..<count {
      (rows.scales[row], rows.zeros[row]) = (problem.rowScales[row], problem.rowZeros[row])
      for k in 0..<rows.rowSize {
        byte(row, k).pointee =
          k < problem.inputs ? problem.q[row * problem.inputs + k] ^ rows.layout.sign : UInt8(truncatingIfNeeded: 251 * (k + row))
      }
    }
  }

  private func byte(_ row: Int, _ input: Int) -> UnsafeMutablePointer<UInt8> {
    let first = row / rows.tileRows * rows.tileRows, height = min(rows.tileRows, rows.rows - first)
    return rows.tile(at: first) + rows.layout.place(row: row - first, input: input, rows: height)
  }

  /// q [rows][inputs].
  var numbers: [UInt8] { (0..<rows.rows).flatMap { row in (0..<rows.inputs).map { byte(row, $0).pointee ^ rows.layout.sign } } }
  var scales: [Float] { Array(UnsafeBufferPointer(start: rows.scales, count: rows.rows)) }
  var zeros: [Float] { Array(UnsafeBufferPointer(start: rows.zeros, count: rows.rows)) }
  var isIntact: Bool { memory.isIntact }
}

extension IntegerWeights {
  /// Quantizes a matrix without GPTQ. Answers as fillPanel does.
  @discardableResult
  func fill(from matrix: StoredMatrix, _ format: WeightFormat, _ set: InstructionSet = instructionSets()[0]) -> Int? {
    withPanelRoom(spreads: false) { room in
      for panel in 0..<panelCount(outputs) {
        if let row = fillPanel(panel, from: FoldedMatrix(matrix), format, nil, room, set.kernels) { return row }
      }
      return nil
    }
  }

  func withPanelRoom<R>(spreads: Bool, _ body: (PanelRoom) -> R) -> R {
    var measure = Arena()
    _ = PanelRoom(&measure, self, spreads: spreads)
    let memory = Buffer(count: measure.peak / 4)
    var arena = Arena(memory.floats)
    defer { #expect(memory.isIntact) }
    return body(PanelRoom(&arena, self, spreads: spreads))
  }
}
