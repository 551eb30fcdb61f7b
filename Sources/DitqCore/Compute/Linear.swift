// A linear layer, whatever its weights are, and applying it: rows are brought into the form that the weights ask for, floats in tiles or 8-bit
// numbers in tiles, through LayerNorm and modulation where asked, in one pass; then the GEMM of that form puts the result out.

import CKernels

/// y = x · weightsᵀ + bias.
struct Linear {
  enum Weights {
    /// Floats, used in place.
    case stored(StoredMatrix)
    /// Floats in panels, one after the other.
    case packed(UnsafePointer<Float>)
    case integers(IntegerWeights)
  }
  /// What rows are brought into before they are multiplied with integers.
  enum Activations {
    /// Floats: weights are turned to floats a panel at a time.
    case floats
    /// 8 bits, each row by its own range.
    case ownRange
    /// 8 bits by given ranges, one for each bin of timesteps.
    case ranges(UnsafeBufferPointer<ActivationRange>)
  }
  let weights: Weights
  let outputs: Int
  let inputs: Int
  /// [outputs], or nil.
  let bias: UnsafePointer<Float>?
  var activations = Activations.floats
  /// [inputs] that whatever makes the rows multiplies them with, so that their channels are balanced; or nil.
  var inputFactors: UnsafePointer<Float>?
}

extension Linear {
  /// nil for floats.
  var integers: IntegerWeights? { if case .integers(let weights) = weights { weights } else { nil } }

  /// nil where they are not given.
  var ranges: UnsafeBufferPointer<ActivationRange>? { if case .ranges(let ranges) = activations { ranges } else { nil } }

  var takesOwnRanges: Bool { if case .ownRange = activations { true } else { false } }

  /// 8, or 32 for floats.
  var activationBits: Int { if case .floats = activations { 32 } else { 8 } }

  /// Memory of one packed row, in floats.
  func packedFloats(_ layout: TileLayout) -> Int { integers != nil && activationBits == 8 ? layout.rowSize(depth: inputs) / 4 : inputs }

  /// Bytes that are read when the layer is applied.
  var byteCount: Int {
    switch weights {
    case .stored(let matrix): matrix.outputs * matrix.inputs * matrix.type.byteCount
    case .packed: 0
    case .integers(let weights): weights.byteCount
    }
  }
}

/// Which of a layer's given ranges a row has: the one of its image's bin. Where nothing says, it is the first.
struct RowBins {
  /// [images].
  let bins: UnsafePointer<Int32>
  let rowsPerImage: Int

  func bin(ofRow row: Int) -> Int { Int(bins[row / rowsPerImage]) }
}

/// The rows that a linear is applied to.
enum RowSource {
  /// [rows, inputs], so many floats apart.
  case plain(UnsafePointer<Float>, stride: Int)
  /// [rows, inputs] side by side, which an epilogue put out and kept the extremes of.
  case measured(UnsafePointer<Float>, RowExtremes)
  /// LayerNorm(x) · (1 + scale) + shift of x [rows, inputs].
  case modulated(UnsafePointer<Float>, Modulation)

  var values: UnsafePointer<Float> {
    switch self {
    case .plain(let x, _), .measured(let x, _), .modulated(let x, _): x
    }
  }

  func stride(inputs: Int) -> Int { if case .plain(_, let stride) = self { stride } else { inputs } }

  var extremes: RowExtremes? { if case .measured(_, let extremes) = self { extremes } else { nil } }

  var modulation: Modulation? { if case .modulated(_, let modulation) = self { modulation } else { nil } }
}

/// Room for packed rows: floats, or as many 8-bit numbers with a scale and a zero point each.
struct RowBuffers {
  let packed: UnsafeMutablePointer<Float>
  let scales: UnsafeMutablePointer<Float>
  let zeros: UnsafeMutablePointer<Float>

  init(packed: UnsafeMutablePointer<Float>, scales: UnsafeMutablePointer<Float>, zeros: UnsafeMutablePointer<Float>) {
    (self.packed, self.scales, self.zeros) = (packed, scales, zeros)
  }

  /// For rows of a layer that takes so many, see `packedFloats`.
  init(_ arena: inout Arena, rows: Int, floatsPerRow: Int) {
    self.init(packed: arena.floats(rows, floatsPerRow), scales: arena.floats(rows), zeros: arena.floats(rows))
  }

  /// For rows in any form.
  init(_ arena: inout Arena, rows: Int, inputs: Int, _ layout: TileLayout) {
    self.init(&arena, rows: rows, floatsPerRow: max(inputs, layout.rowSize(depth: inputs) / 4))
  }
}

extension Executor {
  /// output [rows, stride] ← epilogue(source · weightsᵀ + bias). Scratch: `linearScratch`.
  func apply(
    _ linear: Linear, to source: RowSource, rows: Int, bins: RowBins? = nil, _ buffers: RowBuffers,
    into output: UnsafeMutablePointer<Float>, stride: Int, _ epilogue: Epilogue = Epilogue()
  ) {
    if let weights = linear.integers, linear.activationBits == 8 {
      let quantized = QuantizedRows(buffers, rows: rows, inputs: linear.inputs, layout)
      quantize(source, by: linear.ranges, bins, into: quantized)
      gemm(quantized, weights, bias: linear.bias, into: output, stride: stride, epilogue)
    } else {
      let packed = PackedRows(tiles: buffers.packed, rows: rows, depth: linear.inputs)
      pack(source, into: packed)
      gemm(packed, linear, into: output, stride: stride, epilogue)
    }
  }

  /// output ← epilogue(second(GELU(first(source)))), the rows between the two as 8-bit numbers alone; false where the second layer's ranges are
  /// not given, or the first is in float, and nothing was done.
  func apply(
    _ first: Linear, _ second: Linear, to source: RowSource, rows: Int, _ bins: RowBins, _ buffers: RowBuffers, _ between: RowBuffers,
    into output: UnsafeMutablePointer<Float>, _ epilogue: Epilogue
  ) -> Bool {
    guard let weights = first.integers, first.activationBits == 8, let next = second.integers, let ranges = second.ranges,
      first.outputs % 8 == 0
    else { return false }
    let x = QuantizedRows(buffers, rows: rows, inputs: first.inputs, layout)
    let y = QuantizedRows(between, rows: rows, inputs: second.inputs, layout)
    quantize(source, by: first.ranges, bins, into: x)
    gemm(x, weights, bias: first.bias, into: y, by: ranges, bins, Epilogue(gelu: true, factors: second.inputFactors))
    gemm(y, next, bias: second.bias, into: output, stride: second.outputs, epilogue)
    return true
  }

  /// Scratch floats a thread needs for a linear of so many inputs.
  static func linearScratch(inputs: Int, _ kernels: ditqk_kernels) -> Int {
    max(gemmScratch(depth: inputs), modulationScratch(depth: inputs, kernels))
  }
}
