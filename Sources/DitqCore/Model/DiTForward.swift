// One call of the transformer (Peebles & Xie 2023). B images, T tokens, D hidden, C channels, p patch: shapes stand at the right.
// Relies on Compute for every product; the loops here only move patches.

/// The linear layers of a block, in the order in which they run.
enum BlockLayer: Int, CaseIterable {
  case modulation, qkv, proj, fc1, fc2

  /// In the checkpoint's words.
  var name: String {
    switch self {
    case .modulation: "adaLN_modulation.1"
    case .qkv: "attn.qkv"
    case .proj: "attn.proj"
    case .fc1: "mlp.fc1"
    case .fc2: "mlp.fc2"
    }
  }
}

/// Told of each linear layer of a block before it runs: the rows it is about to be applied to.
typealias LayerTap = (_ layer: BlockLayer, _ linear: Linear, _ source: RowSource, _ rows: Int) -> Void

struct DiTForward {
  let config: DiTConfig
  let weights: DiTWeights
  let workspace: DiTWorkspace
  let executor: Executor
  var tap: LayerTap?

  /// output [B, outputChannels, S, S] of x [inputs, C, S, S]; image i of B looks at input i mod inputs, so that the two halves of a guided
  /// batch share what depends on x alone. Throws only what `checkpoint` throws, which is called between layers.
  func callAsFunction(
    x: UnsafePointer<Float>, inputs: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int,
    output: UnsafeMutablePointer<Float>, checkpoint: () throws(DitqError) -> Void
  ) throws(DitqError) {
    begin(x: x, inputs: inputs, timesteps: timesteps, labels: labels, images: images)
    for block in weights.blocks {
      try checkpoint()
      run(block, images)
    }
    finish(images, output)  // (B, outputChannels, S, S)
  }

  /// All that comes before the blocks.
  func begin(x: UnsafePointer<Float>, inputs: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int) {
    precondition(images <= workspace.images && images % inputs == 0)
    embedPatches(x, inputs: inputs, images: images)  // stream (B, T, D)
    condition(timesteps, labels, images)  // conditioning (B, D)
  }

  // MARK: - Embeddings

  private func embedPatches(_ x: UnsafePointer<Float>, inputs: Int, images: Int) {
    let tokens = config.tokenCount, width = config.hiddenSize, w = workspace
    for input in 0..<inputs { cutPatches(x + input * config.latentCount, into: w.attended + input * tokens * config.patchInputs) }
    for input in 0..<inputs { (w.stream + input * tokens * width).update(from: weights.positions, count: tokens * width) }
    executor.apply(
      weights.patchEmbedding, to: .plain(w.attended, stride: config.patchInputs), rows: inputs * tokens, w.packed, into: w.stream,
      stride: width, Epilogue(accumulate: true))
    for copy in stride(from: inputs, to: images, by: inputs) {
      (w.stream + copy * tokens * width).update(from: w.stream, count: inputs * tokens * width)
    }
  }

  /// Rows of a patch's values (c, y, x), tokens in row-major order: (C, S, S) → (T, C·p·p).
  private func cutPatches(_ image: UnsafePointer<Float>, into rows: UnsafeMutablePointer<Float>) {
    let p = config.patchSize, grid = config.gridSize, size = config.latentSize
    var target = rows
    for token in 0..<config.tokenCount {
      for channel in 0..<config.channels {
        for y in 0..<p {
          target.update(from: image + (channel * size + token / grid * p + y) * size + token % grid * p, count: p)
          target += p
        }
      }
    }
  }

  /// SiLU(c) with c = MLP(features of t) + embedding of the label.
  private func condition(_ timesteps: UnsafePointer<Float>, _ labels: UnsafePointer<Int32>, _ images: Int) {
    let width = config.hiddenSize, w = workspace, features = DiTConfig.timestepFeatures
    for image in 0..<images {
      fillTimestepFeatures(
        w.features + image * features, timestep: timesteps[image], divisor: config.compatibility.frequencyDivisor)
    }
    executor.apply(
      weights.timestepIn, to: .plain(w.features, stride: features), rows: images, w.packedConditioning, into: w.embedded, stride: width)
    executor.silu(w.embedded, count: images * width)
    for image in 0..<images { weights.labels.copyRow(Int(labels[image]), to: w.conditioning + image * width, executor.kernels) }
    executor.apply(
      weights.timestepOut, to: .plain(w.embedded, stride: width), rows: images, w.packedConditioning, into: w.conditioning, stride: width,
      Epilogue(accumulate: true))
    executor.silu(w.conditioning, count: images * width)
  }

  // MARK: - Blocks

  /// x += gate · attention(LN(x) · (1 + scale) + shift), then the same with the MLP.
  func run(_ block: DiTBlock, _ images: Int) {
    let width = config.hiddenSize, mlp = config.mlpSize, w = workspace
    modulate(block.modulation, .modulation, chunks: 6, images)  // (B, 6D)

    apply(block.qkv, .qkv, to: modulated(0, of: 6, DiTConfig.normEpsilon), images, into: w.qkv)  // (B, T, 3D)
    executor.attend(attentionInput(images), w.attentionBuffers, into: w.attended)  // (B, T, D)
    apply(block.proj, .proj, to: .plain(w.attended, stride: width), images, into: w.stream, gated(by: 2))

    apply(block.fc1, .fc1, to: modulated(3, of: 6, config.secondNormEpsilon), images, into: w.expanded, Epilogue(gelu: true))
    apply(block.fc2, .fc2, to: .plain(w.expanded, stride: mlp), images, into: w.stream, gated(by: 5))
  }

  /// A linear over all tokens of all images, its outputs side by side.
  private func apply(
    _ linear: Linear, _ layer: BlockLayer? = nil, to source: RowSource, _ images: Int, into output: UnsafeMutablePointer<Float>,
    _ epilogue: Epilogue = Epilogue()
  ) {
    if let tap, let layer { tap(layer, linear, source, images * config.tokenCount) }
    executor.apply(
      linear, to: source, rows: images * config.tokenCount, workspace.packed, into: output, stride: linear.outputs, epilogue)
  }

  /// The parameters of a LayerNorm's modulation, for each image.
  private func modulate(_ linear: Linear, _ layer: BlockLayer? = nil, chunks: Int, _ images: Int) {
    let source = RowSource.plain(workspace.conditioning, stride: config.hiddenSize)
    if let tap, let layer { tap(layer, linear, source, images) }
    executor.apply(
      linear, to: source, rows: images, workspace.packedConditioning, into: workspace.modulation, stride: chunks * config.hiddenSize)
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
    let w = workspace
    modulate(weights.finalModulation, chunks: 2, images)  // (B, 2D)
    apply(weights.finalLinear, to: modulated(0, of: 2, DiTConfig.normEpsilon), images, into: w.expanded)  // (B, T, p·p·outputChannels)
    for image in 0..<images {
      unpatchify(w.expanded + image * config.tokenCount * config.patchOutputs, into: output + image * config.outputCount)
    }
  }

  /// (h, w, y, x, c) → (c, h y, w x): the channel is the fastest index of a row.
  private func unpatchify(_ rows: UnsafePointer<Float>, into image: UnsafeMutablePointer<Float>) {
    let p = config.patchSize, grid = config.gridSize, size = config.latentSize, channels = config.outputChannels
    var source = rows
    for token in 0..<config.tokenCount {
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
