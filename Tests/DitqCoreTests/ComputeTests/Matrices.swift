// The reference GEMM of the tests: a triple loop of fused multiply-adds, the specification of the driver's order; and running the driver.

import Testing

@testable import DitqCore

/// [rows, columns], row-major.
struct Matrix {
  let rows: Int
  let columns: Int
  var values: [Float]

  init(_ rows: Int, _ columns: Int, _ values: [Float]) {
    precondition(values.count == rows * columns)
    (self.rows, self.columns, self.values) = (rows, columns, values)
  }

  static func random(_ rows: Int, _ columns: Int, _ seed: UInt64, _ low: Double = -1, _ high: Double = 1) -> Matrix {
    var random = SplitMix(seed)
    return Matrix(rows, columns, random.floats(rows * columns, low, high))
  }

  subscript(row: Int, column: Int) -> Float { values[row * columns + column] }

  /// The first rows and columns.
  func corner(_ rows: Int, _ columns: Int) -> Matrix {
    Matrix(rows, columns, (0..<rows).flatMap { row in values[row * self.columns..<row * self.columns + columns] })
  }
}

/// x · weightsᵀ: each sum one chain of fused multiply-adds along the depth, from 0.
func chains(_ x: Matrix, _ weights: Matrix) -> Matrix {
  precondition(x.columns == weights.columns)
  var result = [Float](repeating: 0, count: x.rows * weights.rows)
  for row in 0..<x.rows {
    for output in 0..<weights.rows {
      var sum: Float = 0
      for k in 0..<x.columns { sum = sum.addingProduct(x[row, k], weights[output, k]) }
      result[row * weights.rows + output] = sum
    }
  }
  return Matrix(x.rows, weights.rows, result)
}

/// Weights as a file may hold them: in one, or three tensors, of this type, `shift` bytes after an aligned address.
final class StoredWeights {
  let matrix: StoredMatrix
  private let memory: UnsafeMutableRawPointer

  init(_ weights: Matrix, _ type: ElementType, shift: Int = 0, blocks: Int = 1) {
    let rows = weights.rows / blocks, size = weights.values.count * type.byteCount
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size + shift, alignment: 64)
    self.memory = memory
    for (i, value) in weights.values.enumerated() {
      let p = memory + shift + i * type.byteCount
      switch type {
      case .f32: p.storeBytes(of: value, as: Float.self)
      case .f16: p.storeBytes(of: Float16(value).bitPattern, as: UInt16.self)
      case .bf16: p.storeBytes(of: UInt16(value.bitPattern >> 16), as: UInt16.self)
      }
    }
    let dtype = type == .f32 ? "F32" : type == .f16 ? "F16" : "BF16", each = size / blocks
    let tensors = (0..<blocks).map { block in
      Tensor(
        name: "w", dtype: dtype, shape: [rows, weights.columns], start: UnsafeRawPointer(memory + shift + block * each), byteCount: each,
        elementCount: rows * weights.columns)
    }
    matrix = StoredMatrix(tensors, type: type, inputs: weights.columns)
  }

  deinit { memory.deallocate() }
}

/// A linear layer and the memory that it points into.
final class Layer {
  let linear: Linear
  private let stored: StoredWeights?
  private let panels: Buffer?
  private let bias: Buffer?

  /// Weights as they stand in a file.
  init(_ stored: StoredWeights, bias: Matrix? = nil) {
    (self.stored, panels, self.bias) = (stored, nil, bias.map { Buffer($0.values) })
    let matrix = stored.matrix
    linear = Linear(
      weights: .stored(matrix), outputs: matrix.outputs, inputs: matrix.inputs, bias: self.bias.map { UnsafePointer($0.floats) })
  }

  /// Weights packed once, as PackedLinear does it.
  init(packing weights: Matrix, _ machine: Machine, bias: Matrix? = nil) {
    let (outputs, inputs) = (weights.rows, weights.columns), stored = StoredWeights(weights, .f32)
    let panels = Buffer(count: panelCount(outputs) * panelColumns * inputs, filledWith: .nan)
    for panel in 0..<panelCount(outputs) {
      stored.matrix.packPanel(panel, into: panels.floats + panel * panelColumns * inputs, machine.executor.kernels)
    }
    (self.stored, self.panels, self.bias) = (stored, panels, bias.map { Buffer($0.values) })
    linear = Linear(
      weights: .packed(panels.floats), outputs: outputs, inputs: inputs, bias: self.bias.map { UnsafePointer($0.floats) })
  }

  var isIntact: Bool { (panels?.isIntact ?? true) && (bias?.isIntact ?? true) }
}

/// x · weightsᵀ by the driver, through `epilogue`, onto `before` where it accumulates. Three floats between the rows of the output and
/// everything around it are checked to stay as they are.
func multiply(
  _ machine: Machine, _ x: Matrix, _ layer: Layer, _ epilogue: Epilogue = Epilogue(), onto before: Matrix? = nil
) -> Matrix {
  let linear = layer.linear, gap = 3, stride = linear.outputs + gap, untouched: Float = 4321.125
  let input = Buffer(x.values), tiles = Buffer(count: x.rows * x.columns, filledWith: .nan)
  let output = Buffer(count: x.rows * stride, filledWith: untouched)
  if let before {
    for row in 0..<x.rows { for column in 0..<linear.outputs { output.floats[row * stride + column] = before[row, column] } }
  }
  let packed = PackedRows(tiles: tiles.floats, rows: x.rows, depth: x.columns)
  machine.executor.pack(.plain(input.floats, stride: x.columns), into: packed)
  machine.executor.gemm(packed, linear, into: output.floats, stride: stride, epilogue)
  #expect(tiles.isIntact && output.isIntact && input.isIntact && layer.isIntact && machine.isIntact)
  var values: [Float] = []
  values.reserveCapacity(x.rows * linear.outputs)
  for row in 0..<x.rows {
    values += UnsafeBufferPointer(start: output.floats + row * stride, count: linear.outputs)
    let rest = (linear.outputs..<stride).allSatisfy { output.floats[row * stride + $0] == untouched }
    if !rest { Issue.record("row \(row) of \(x.rows) × \(linear.outputs): written beyond its end") }
  }
  return Matrix(x.rows, linear.outputs, values)
}
