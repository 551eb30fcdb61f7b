// One call of the transformer (Peebles & Xie 2023). B images, T tokens, D hidden, C channels, p patch: shapes stand at the right.
// Relies on Compute for every product; the loops here only move patches.

/// Told of each linear layer, by its number, before it runs: the rows it is about to be applied to.
typealias LayerTap = (_ number: Int, _ linear: Linear, _ source: RowSource, _ rows: Int) -> Void

struct DiTForward {
  let config: DiTConfig
  var weights: DiTWeights
  let workspace: DiTWorkspace
  let executor: Executor
  var tap: LayerTap?

  /// output [B, outputChannels, S, S] of x [inputs, C, S, S]; image i of B looks at input i mod inputs, so that the two halves of a guided
  /// batch share what depends on x alone. Ends with DITQ_CANCELLED where that is asked.
  func callAsFunction(
    x: UnsafePointer<Float>, inputs: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int,
    output: UnsafeMutablePointer<Float>
  ) throws(DitqError) {
    begin(x: x, inputs: inputs, timesteps: timesteps, labels: labels, images: images)
    for block in weights.blocks.indices {
      try executor.cancellation.check()
      run(block: block, timesteps: timesteps, labels: labels, images: images)
    }
    finish(images, output)  // (B, outputChannels, S, S)
    // Where a layer was left undone the output is worth nothing.
    try executor.cancellation.check()
  }

  /// All that comes before the blocks.
  func begin(x: UnsafePointer<Float>, inputs: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int) {
    precondition(images <= workspace.images && images % inputs == 0)
    for image in 0..<images { workspace.bins[image] = Int32(weights.bins.number(of: timesteps[image])) }
    embedPatches(x, inputs: inputs, images: images)  // stream (B, T, D)
    condition(0, timesteps, labels, images, number: 1, into: workspace.conditioning)  // (B, D)
  }

  // MARK: - Embeddings

  private func embedPatches(_ x: UnsafePointer<Float>, inputs: Int, images: Int) {
    let tokens = config.tokenCount, width = config.hiddenSize, w = workspace
    let positions = weights.positions.part(0, tokens * width).baseAddress!
    for input in 0..<inputs { cutPatches(x + input * config.latentCount, into: w.attended + input * tokens * config.patchInputs) }
    for input in 0..<inputs { executor.move(tokens * width, from: positions, to: w.stream + input * tokens * width) }
    apply(0, weights.patchEmbedding, to: .plain(w.attended, stride: config.patchInputs), inputs, into: w.stream, Epilogue(accumulate: true))
    for copy in stride(from: inputs, to: images, by: inputs) {
      executor.move(inputs * tokens * width, from: w.stream, to: w.stream + copy * tokens * width)
    }
  }

  /// Rows of a patch's values (c, y, x), tokens in row-major order: (C, S, S) → (T, C·p·p).
  private func cutPatches(_ image: UnsafePointer<Float>, into rows: UnsafeMutablePointer<Float>) {
    let p = config.patchSize, grid = config.gridSize, size = config.latentSize
    var target = rows
    for token in 0..<config.tokenCount {
      if executor.cancellation.isAsked { return }
      for channel in 0..<config.channels {
        for y in 0..<p {
          target.update(from: image + (channel * size + token / grid * p + y) * size + token % grid * p, count: p)
          target += p
        }
      }
    }
  }

  /// SiLU(c) with c = MLP(features of t) + embedding of the label, by an embedder whose first linear has this number.
  private func condition(
    _ index: Int, _ timesteps: UnsafePointer<Float>, _ labels: UnsafePointer<Int32>, _ images: Int, number: Int,
    into conditioning: UnsafeMutablePointer<Float>
  ) {
    let width = config.hiddenSize, w = workspace, features = DiTConfig.timestepFeatures, embedder = weights.embedders[index]
    for image in 0..<images {
      fillTimestepFeatures(
        w.features + image * features, timestep: timesteps[image], divisor: config.compatibility.frequencyDivisor)
    }
    applyToImages(number, embedder.timestepIn, w.features, images, into: w.embedded)
    executor.silu(w.embedded, count: images * width)
    for image in 0..<images { embedder.labels.copyRow(Int(labels[image]), to: conditioning + image * width, executor.kernels) }
    applyToImages(number + 1, embedder.timestepOut, w.embedded, images, into: conditioning, Epilogue(accumulate: true))
    executor.silu(conditioning, count: images * width)
  }

  // MARK: - Blocks

  /// x += gate · attention(LN(x) · (1 + scale) + shift), then the same with the MLP.
  func run(block index: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int) {
    let width = config.hiddenSize, mlp = config.mlpSize, w = workspace, block = weights.blocks[index]
    func number(_ layer: BlockLayer) -> Int { weights.number(of: layer, block: index) }
    var conditioning = w.conditioning
    // The final layer has the first block's, so that this stays.
    if weights.hasOwnEmbedders && index > 0 {
      conditioning = w.ownConditioning
      condition(index, timesteps, labels, images, number: weights.numbers(ofBlock: index).lowerBound, into: conditioning)
    }
    // Of this step alone. Four steps at once, each in 0.82 of the time, would save 0.1 % of a step of DiT-XL/2 for 1.5 MB of memory a step.
    applyToImages(number(.modulation), block[.modulation], conditioning, images, into: w.modulation)  // (B, 6D)

    apply(number(.qkv), block[.qkv], to: modulated(0, of: 6, DiTConfig.normEpsilon), images, into: w.qkv)  // (B, T, 3D)
    executor.attend(attentionInput(images), w.attentionBuffers, onIntegers: block.attendsOnIntegers, into: w.attended)  // (B, T, D)
    apply(number(.proj), block[.proj], to: .plain(w.attended, stride: width), images, into: w.stream, gated(by: 2))

    let source = modulated(3, of: 6, config.secondNormEpsilon), bins = RowBins(bins: w.bins, rowsPerImage: config.tokenCount)
    // A tap is to see floats between the two.
    if tap == nil,
      executor.apply(
        block[.fc1], block[.fc2], to: source, rows: images * config.tokenCount, bins, w.packed, w.expandedRows, into: w.stream, gated(by: 5)
      )
    {
      return
    }
    let extremes = block[.fc2].takesOwnRanges ? w.expandedExtremes : nil
    apply(
      number(.fc1), block[.fc1], to: source, images, into: w.expanded,
      Epilogue(gelu: true, factors: block[.fc2].inputFactors, extremes: extremes))
    let expanded = extremes.map { RowSource.measured(w.expanded, $0) } ?? .plain(w.expanded, stride: mlp)
    apply(number(.fc2), block[.fc2], to: expanded, images, into: w.stream, gated(by: 5))
  }

  /// A linear over all tokens of all images, its outputs side by side.
  private func apply(
    _ number: Int, _ linear: Linear, to source: RowSource, _ images: Int, into output: UnsafeMutablePointer<Float>,
    _ epilogue: Epilogue = Epilogue()
  ) {
    let rows = images * config.tokenCount
    tap?(number, linear, source, rows)
    executor.apply(
      linear, to: source, rows: rows, bins: RowBins(bins: workspace.bins, rowsPerImage: config.tokenCount), workspace.packed, into: output,
      stride: linear.outputs, epilogue)
  }

  /// A linear over a vector of each image.
  private func applyToImages(
    _ number: Int, _ linear: Linear, _ vectors: UnsafePointer<Float>, _ images: Int, into output: UnsafeMutablePointer<Float>,
    _ epilogue: Epilogue = Epilogue()
  ) {
    let source = RowSource.plain(vectors, stride: linear.inputs)
    tap?(number, linear, source, images)
    executor.apply(
      linear, to: source, rows: images, bins: RowBins(bins: workspace.bins, rowsPerImage: 1), workspace.packedConditioning, into: output,
      stride: linear.outputs, epilogue)
  }

  /// LN(x) with the shift at `chunk` and the scale after it, of `chunks` that an adaLN linear puts out.
  private func modulated(_ chunk: Int, of chunks: Int, _ epsilon: Float) -> RowSource {
    let width = config.hiddenSize, start = workspace.modulation + chunk * width
    return .modulated(
      workspace.stream,
      Modulation(shift: start, scale: start + width, stride: chunks * width, rowsPerImage: config.tokenCount, epsilon: epsilon))
  }

  private func gated(by chunk: Int) -> Epilogue {
    Epilogue(
      accumulate: true, gate: UnsafePointer(workspace.modulation + chunk * config.hiddenSize), gateStride: 6 * config.hiddenSize,
      rowsPerGate: config.tokenCount)
  }

  private func attentionInput(_ images: Int) -> AttentionInput {
    let width = config.hiddenSize, qkv = UnsafePointer(workspace.qkv)
    return AttentionInput(
      query: qkv, key: qkv + width, value: qkv + 2 * width, stride: 3 * width, images: images, tokens: config.tokenCount,
      heads: config.headCount, headSize: config.headSize)
  }

  // MARK: - Final layer

  func finish(_ images: Int, _ output: UnsafeMutablePointer<Float>) {
    let w = workspace, number = weights.linearCount - 2
    applyToImages(number, weights.finalModulation, w.conditioning, images, into: w.modulation)  // (B, 2D)
    // (B, T, p·p·outputChannels)
    apply(number + 1, weights.finalLinear, to: modulated(0, of: 2, DiTConfig.normEpsilon), images, into: w.expanded)
    for image in 0..<images {
      unpatchify(w.expanded + image * config.tokenCount * config.patchOutputs, into: output + image * config.outputCount)
    }
  }

  /// (h, w, y, x, c) → (c, h y, w x): the channel is the fastest index of a row.
  private func unpatchify(_ rows: UnsafePointer<Float>, into image: UnsafeMutablePointer<Float>) {
    let p = config.patchSize, grid = config.gridSize, size = config.latentSize, channels = config.outputChannels
    var source = rows
    for token in 0..<config.tokenCount {
      if executor.cancellation.isAsked { return }
      for y in 0..<p {
        for x in 0..<p {
          let target = image + (token / grid * p + y) * size + token % grid * p + x
          for channel in 0..<channels { target[channel * size * size] = source[channel] }
          source += channels
        }
      }
    }
  }
}
