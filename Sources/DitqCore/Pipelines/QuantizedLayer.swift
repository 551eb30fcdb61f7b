// One layer's new weights in memory of their own: integers by a plan, or floats with its neighbours' balance folded into them.

import CKernels

/// Integers, filled on all threads.
func quantizedLayer(
  _ layer: NamedLinear, _ plan: LayerPlan, _ folding: LayerFolding, _ ranges: [ActivationRange]?, _ spreading: ErrorSpreading?,
  _ pool: ThreadPool, _ kernels: ditqk_kernels
) throws(DitqError) -> (linear: Linear, block: Block) {
  let source = layer.linear
  guard case .stored(let matrix) = source.weights else { preconditionFailure("a float model has stored weights") }
  let (parts, block) = try reserve(layer.name) { arena in
    (
      IntegerWeights(&arena, outputs: source.outputs, inputs: source.inputs, bits: plan.format.bits, group: plan.format.group),
      LayerVectors(&arena, source, folding, ranges)
    )
  }
  let (rooms, working) = try reserve(layer.name) { arena in
    (0..<pool.threads).map { _ in PanelRoom(&arena, parts.0, spreads: spreading != nil) }
  }
  var rowsTooLarge = [Int?](repeating: nil, count: pool.threads)
  rowsTooLarge.withUnsafeMutableBufferPointer { rows in
    pool.run(
      FillJob(
        matrix: FoldedMatrix(matrix, folding), integers: parts.0, format: plan.format, spreading: spreading, rooms: rooms, kernels: kernels,
        rowsTooLarge: rows.baseAddress!))
  }
  withExtendedLifetime(working) {}
  if let row = rowsTooLarge.compactMap({ $0 }).first {
    throw DitqError(.malformed, "\(layer.name).weight: magnitudes of at most \(WeightFormat.largest) expected, row \(row) has another")
  }
  var linear = parts.1.linear(.integers(parts.0), source, folding)
  if plan.activationBits == 8 { linear.activations = parts.1.ranges.map { .ranges(UnsafeBufferPointer($0)) } ?? .ownRange }
  return (linear, block)
}

/// Floats.
func floatLayer(_ layer: NamedLinear, _ folding: LayerFolding, _ kernels: ditqk_kernels) throws(DitqError) -> (linear: Linear, block: Block)
{
  let source = layer.linear
  guard case .stored(let matrix) = source.weights else { preconditionFailure("a float model has stored weights") }
  let (parts, block) = try reserve(layer.name) { arena in
    (arena.floats(source.outputs, source.inputs), LayerVectors(&arena, source, folding, nil))
  }
  let folded = FoldedMatrix(matrix, folding)
  for row in 0..<source.outputs { folded.copyRow(row, to: parts.0 + row * source.inputs, kernels) }
  let stored = StoredMatrix(floats: parts.0, outputs: source.outputs, inputs: source.inputs)
  return (parts.1.linear(.stored(stored), source, folding), block)
}

/// Memory from the system, cut by `body`, which is called for the size too.
func reserve<T>(_ name: String, _ body: (inout Arena) -> T) throws(DitqError) -> (T, Block) {
  var measure = Arena()
  _ = body(&measure)
  let block = try Block(byteCount: try measure.checkedSize(name), from: .system, for: name)
  var arena = Arena(block.start)
  return (body(&arena), block)
}

/// What a layer has beside its weights; nil where it has none of its own.
private struct LayerVectors {
  let bias: UnsafeMutablePointer<Float>?
  let inputFactors: UnsafeMutablePointer<Float>?
  let ranges: UnsafeMutableBufferPointer<ActivationRange>?
  private let values: [ActivationRange]

  init(_ arena: inout Arena, _ source: Linear, _ folding: LayerFolding, _ ranges: [ActivationRange]?) {
    bias = folding.bias == nil ? nil : arena.floats(source.outputs)
    inputFactors = folding.balance == nil ? nil : arena.floats(source.inputs)
    values = ranges ?? []
    self.ranges = ranges.map { UnsafeMutableBufferPointer(start: arena.reserve(ActivationRange.self, $0.count), count: $0.count) }
  }

  func linear(_ weights: Linear.Weights, _ source: Linear, _ folding: LayerFolding) -> Linear {
    if let ranges { _ = ranges.initialize(from: values) }
    for (pointer, values) in [(bias, folding.bias), (inputFactors, folding.balance?.inputFactors)] {
      if let pointer, let values { for (index, value) in values.enumerated() { pointer[index] = value } }
    }
    var linear = Linear(
      weights: weights, outputs: source.outputs, inputs: source.inputs, bias: bias.map { UnsafePointer($0) } ?? source.bias)
    linear.inputFactors = inputFactors.map { UnsafePointer($0) }
    return linear
  }
}

private struct FillJob: ParallelJob {
  let matrix: FoldedMatrix
  let integers: IntegerWeights
  let format: WeightFormat
  let spreading: ErrorSpreading?
  let rooms: [PanelRoom]
  let kernels: ditqk_kernels
  /// Of each thread, which ends at the first.
  let rowsTooLarge: UnsafeMutablePointer<Int?>

  func run(part: Int, of parts: Int) {
    for panel in share(of: panelCount(integers.outputs), part: part, of: parts) {
      rowsTooLarge[part] = integers.fillPanel(panel, from: matrix, format, spreading, rooms[part], kernels)
      if rowsTooLarge[part] != nil { return }
    }
  }
}
