// The decoder's convolutions in 8 bits: which ones the rules ask for, and their weights, which are rounded by the second moments of what the
// convolutions are given (GPTQ) unless the options name another method. Ranges are not calibrated: a convolution measures each block as it runs.

import CKernels

extension QuantizeOptions {
  /// Numbers of the convolutions that become integers. Decoders stay in float but for rules whose pattern begins with "vae.".
  func decoderPlan(_ decoder: VAEDecoder?) throws(DitqError) -> [Int] {
    let layers = try decoder?.quantizable() ?? []
    var chosen = try [Bool](repeating: false, room: layers.count)
    for (index, rule) in rules.enumerated() where rule.isOfDecoder {
      guard decoder != nil else {
        throw DitqError(.notFound, "rules[\(index)]: \"\(rule.pattern)\": a model with a decoder expected, one without found")
      }
      guard rule.weightBits != 4, rule.weightGroup ?? 0 == 0, rule.activationBits != 32 || rule.weightBits == 32 else {
        throw DitqError(
          .unsupported, "rules[\(index)]: \"\(rule.pattern)\": 8-bit weights by row with 8-bit activations, or float, expected of a decoder"
        )
      }
      try checkCall()
      var isMatched = false
      for place in layers.indices where rule.matches(LayerRule.decoderPrefix + decoder!.convolutions[layers[place]].name) {
        isMatched = true
        if let bits = rule.weightBits { chosen[place] = bits == 8 }
      }
      guard isMatched else { throw DitqError(.notFound, "rules[\(index)]: \"\(rule.pattern)\" matches no layer of a decoder") }
    }
    var numbers: [Int] = []
    for place in layers.indices where chosen[place] { try numbers.add(layers[place]) }
    return numbers
  }
}

extension Quantizer {
  func quantizeDecoder(_ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    guard var decoder, !decoderPlan.isEmpty else { return }
    let (method, name): (WeightFormat.Method, WeightMethod) =
      switch options.method {
      case .round: (.round, .round)
      case .leastSquares: (.leastSquares, .leastSquares)
      case .automatic, .gptq: (.spread, .gptq)
      }
    record.decoderWeights = name.name
    let moments = method == .spread ? try DecoderMoments(source, decoder, decoderPlan, threads: pool.threads) : nil
    try moments?.run(source.config, decoder)
    for (index, number) in decoderPlan.enumerated() {
      try checkCall()
      let spreading = try moments.map { moments throws(DitqError) in
        do throws(DitqError) { return try moments.spreading(index, pool) } catch {
          throw error.said(of: LayerRule.decoderPrefix + decoder.convolutions[number].name)
        }
      }
      decoder.convolutions[number].convolution = try quantized(decoder.convolutions[number], method, spreading)
      try progress(layers.count + index + 1, layers.count + decoderPlan.count)
    }
    self.decoder = decoder
  }

  private func quantized(
    _ layer: NamedConvolution, _ method: WeightFormat.Method, _ spreading: ErrorSpreading?
  ) throws(DitqError) -> Convolution {
    let source = layer.convolution
    guard case .floats(let panels) = source.weights else { preconditionFailure("a float model has float convolutions") }
    try IntegerWeights.check(inputs: source.depth, of: layer.name)
    let rows = try Block(byteCount: source.outputs * source.depth * 4, from: .system, for: layer.name)
    for output in 0..<source.outputs {
      let column = panels + output / panelColumns * panelColumns * source.depth + output % panelColumns
      for k in 0..<source.depth { rows.floats[output * source.depth + k] = column[k * panelColumns] }
    }
    let matrix = StoredMatrix(floats: rows.floats, outputs: source.outputs, inputs: source.depth)
    let linear = Linear(weights: .stored(matrix), outputs: source.outputs, inputs: source.depth, bias: source.bias)
    let plan = LayerPlan(format: WeightFormat(bits: 8, group: 0, method: method), activationBits: 8)
    let result = try quantizedLayer(
      NamedLinear(name: layer.name, linear: linear), plan, LayerFolding(), nil, spreading, pool, kernels)
    withExtendedLifetime(rows) {}
    try decoderMemory.add(result.block)
    return Convolution(
      inputs: source.inputs, outputs: source.outputs, size: source.size, weights: .integers(result.linear.integers!), bias: source.bias)
  }
}
