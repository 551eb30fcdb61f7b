// Quantizing a float model: each linear layer's weights to integers, layer by layer, on all threads. Activations are quantized as they run,
// each token by its own range, so nothing is calibrated. The source is left as it was, and shared for what stays in float.

import CKernels

package struct QuantizeOptions {
  package var weightBits = 8
  /// 0 = the whole row; nil = automatic: the row for 8 bits, 128 for 4.
  package var weightGroup: Int?
  package var leastSquares = false
  /// 8, or 32 for float activations.
  package var activationBits = 8
  /// 0 = every CPU this process may use.
  package var threads = 0
  package var rules: [LayerRule] = []
  package init() {}
}

/// Quantizes a float model; `progress` is told after each layer.
@export(interface)
package func quantize(_ source: Model, _ options: QuantizeOptions, progress: Progress) throws(DitqError) -> Model {
  let start = nanoseconds()
  let plans = try planned(source, options)
  var measure = Arena()
  _ = try replaced(source, plans, &measure)
  let block = try Block(byteCount: max(64, try measure.checkedSize("quantized weights")), from: .system, for: "quantized weights")
  var arena = Arena(block.start)
  let weights = try replaced(source, plans, &arena)
  let pool = try ThreadPool(threads: options.threads == 0 ? availableCPUs() : options.threads)
  var done = 0
  try forEachPair(source.dit, weights) { name, from, to throws(DitqError) in
    try fill(name, from, to, plans, pool)
    done += 1
    guard progress(.quantize, done, plans.count, seconds(since: start), nil) else {
      throw DitqError(.cancelled, "the progress callback ended the call")
    }
  }
  return Model(source, weights: weights, in: block, format: summary(options))
}

/// A layer's name and how it is quantized, nil for float.
private struct PlannedLayer {
  let name: String
  let plan: LayerPlan?
}

private func planned(_ source: Model, _ options: QuantizeOptions) throws(DitqError) -> [PlannedLayer] {
  guard source.format.weightBits == 32 else {
    throw DitqError(.unsupported, "source: a float model expected, one of \(source.format.weightBits)-bit weights found")
  }
  guard (0...SessionOptions.threadLimit).contains(options.threads) else {
    throw DitqError(.invalidArgument, "threads: 0 to \(SessionOptions.threadLimit) expected, \(options.threads) found")
  }
  let standard = LayerPlan(
    format: WeightFormat(bits: options.weightBits, group: options.weightGroup ?? 0, method: options.leastSquares ? .leastSquares : .round),
    activationBits: options.activationBits)
  try standard.format.check()
  var layers: [PlannedLayer] = []
  var matched = [Bool](repeating: false, count: options.rules.count)
  _ = try source.dit.mappingLinears { name, linear throws(DitqError) in
    let plan = LayerPlan(name, standard: standard, groupIsAutomatic: options.weightGroup == nil, rules: options.rules)
    do throws(DitqError) { try plan?.format.check() } catch { throw error.said(of: name) }
    for (index, rule) in options.rules.enumerated() where rule.matches(name) { matched[index] = true }
    layers.append(PlannedLayer(name: name, plan: plan))
    return linear
  }
  if let index = matched.firstIndex(of: false) {
    throw DitqError(.notFound, "rules[\(index)]: \"\(options.rules[index].pattern)\" matches no layer; the first is \"\(layers[0].name)\"")
  }
  return layers
}

/// The weights with room for integers, not yet filled, where the plans say so.
private func replaced(_ source: Model, _ plans: [PlannedLayer], _ arena: inout Arena) throws(DitqError) -> DiTWeights {
  var index = 0
  return try source.dit.mappingLinears { name, linear throws(DitqError) in
    defer { index += 1 }
    guard let plan = plans[index].plan else { return linear }
    guard linear.inputs <= 65536 else {
      throw DitqError(.unsupported, "\(name): at most 65536 inputs expected, so that sums fit 32 bits, \(linear.inputs) found")
    }
    let integers = IntegerWeights(
      &arena, outputs: linear.outputs, inputs: linear.inputs, bits: plan.format.bits, group: plan.format.group)
    return Linear(
      weights: plan.activationBits == 8 ? .integers(integers) : .weightOnly(integers), outputs: linear.outputs, inputs: linear.inputs,
      bias: linear.bias)
  }
}

/// Calls `body` with each layer of one set of weights and the same layer of the other.
private func forEachPair(
  _ one: DiTWeights, _ other: DiTWeights, _ body: (String, Linear, Linear) throws(DitqError) -> Void
) throws(DitqError) {
  var others: [Linear] = []
  _ = other.mappingLinears { _, linear in
    others.append(linear)
    return linear
  }
  var index = 0
  _ = try one.mappingLinears { name, linear throws(DitqError) in
    try body(name, linear, others[index])
    index += 1
    return linear
  }
}

private func fill(_ name: String, _ from: Linear, _ to: Linear, _ plans: [PlannedLayer], _ pool: ThreadPool) throws(DitqError) {
  guard let plan = plans.first(where: { $0.name == name })?.plan, case .stored(let matrix) = from.weights else { return }
  switch to.weights {
  case .integers(let integers), .weightOnly(let integers):
    let job = FillJob(matrix: matrix, integers: integers, format: plan.format, instructionSet: try InstructionSet.best(limit: 0))
    if let row = job.firstRowTooLarge() {
      throw DitqError(.malformed, "\(name).weight: magnitudes of at most \(WeightFormat.largest) expected, row \(row) has another")
    }
    pool.run(job)
  case .stored, .packed: return
  }
}

private struct FillJob: ParallelJob {
  let matrix: StoredMatrix
  let integers: IntegerWeights
  let format: WeightFormat
  let instructionSet: InstructionSet

  func run(part: Int, of parts: Int) {
    let kernels = instructionSet.kernels
    for panel in share(of: panelCount(integers.outputs), part: part, of: parts) {
      integers.fillPanel(panel, from: matrix, format, kernels)
    }
  }

  func firstRowTooLarge() -> Int? {
    let kernels = instructionSet.kernels
    let row = UnsafeMutablePointer<Float>.allocate(capacity: matrix.inputs)
    defer { row.deallocate() }
    for index in 0..<matrix.outputs {
      matrix.copyRow(index, to: row, kernels)
      for k in 0..<matrix.inputs where !(row[k].magnitude <= WeightFormat.largest) { return index }
    }
    return nil
  }
}

private func summary(_ options: QuantizeOptions) -> NumberFormat {
  NumberFormat(
    weightBits: options.weightBits, weightGroup: options.weightGroup ?? (options.weightBits == 4 ? LayerPlan.automaticGroup : 0),
    activationBits: options.activationBits)
}
