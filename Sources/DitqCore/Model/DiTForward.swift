// One call of the transformer in float (Peebles & Xie 2023). B images, T tokens, D hidden, C channels, p patch: shapes stand at the right.
// Relies on Compute for every product; the loops here only move patches.

struct DiTForward {
  let config: DiTConfig
  let weights: DiTWeights
  let workspace: DiTWorkspace
  let executor: Executor

  /// output [B, outputChannels, S, S] of x [inputs, C, S, S]; image i of B looks at input i mod inputs, so that the two halves of a guided
  /// batch share what depends on x alone. Throws only what `checkpoint` throws, which is called between layers.
  func callAsFunction(
    x: UnsafePointer<Float>, inputs: Int, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, images: Int,
    output: UnsafeMutablePointer<Float>, checkpoint: () throws(DitqError) -> Void
  ) throws(DitqError) {
    precondition(images <= workspace.images && images % inputs == 0)
    embedPatches(x, inputs: inputs, images: images)  // stream (B, T, D)
    let c = condition(timesteps, labels, images)  // (B, D), packed
    for block in weights.blocks {
      try checkpoint()
      run(block, c, images)
    }
    finish(c, images, output)  // (B, outputChannels, S, S)
  }

  // MARK: - Embeddings

  private func embedPatches(_ x: UnsafePointer<Float>, inputs: Int, images: Int) {
    let tokens = config.tokenCount, width = config.hiddenSize, w = workspace
    for input in 0..<inputs { cutPatches(x + input * config.latentCount, into: w.attended + input * tokens * config.patchInputs) }
    let patches = executor.pack(w.attended, rows: inputs * tokens, depth: config.patchInputs, stride: config.patchInputs, into: w.packed)
    for input in 0..<inputs { (w.stream + input * tokens * width).update(from: weights.positions, count: tokens * width) }
    executor.gemm(patches, weights.patchEmbedding, into: w.stream, stride: width, Epilogue(accumulate: true))
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

  /// SiLU(c), packed, with c = MLP(features of t) + embedding of the label.
  private func condition(_ timesteps: UnsafePointer<Float>, _ labels: UnsafePointer<Int32>, _ images: Int) -> PackedRows {
    let width = config.hiddenSize, w = workspace, features = DiTConfig.timestepFeatures
    for image in 0..<images {
      fillTimestepFeatures(
        w.features + image * features, timestep: timesteps[image], divisor: config.compatibility.frequencyDivisor)
    }
    var rows = executor.pack(w.features, rows: images, depth: features, stride: features, into: w.packedConditioning)
    executor.gemm(rows, weights.timestepIn, into: w.conditioning, stride: width)
    executor.silu(w.conditioning, count: images * width)
    rows = executor.pack(w.conditioning, rows: images, depth: width, stride: width, into: w.packedConditioning)
    for image in 0..<images { weights.labels.copyRow(Int(labels[image]), to: w.features + image * width, executor.kernels) }
    executor.gemm(rows, weights.timestepOut, into: w.features, stride: width, Epilogue(accumulate: true))
    executor.silu(w.features, count: images * width)
    return executor.pack(w.features, rows: images, depth: width, stride: width, into: w.packedConditioning)
  }

  // MARK: - Blocks

  /// x += gate · attention(LN(x) · (1 + scale) + shift), then the same with the MLP.
  private func run(_ block: DiTBlock, _ c: PackedRows, _ images: Int) {
    let width = config.hiddenSize, rows = images * config.tokenCount, w = workspace
    executor.gemm(c, block.modulation, into: w.modulation, stride: 6 * width)  // (B, 6D)

    var input = executor.packModulated(w.stream, rows: rows, depth: width, modulation(0, of: 6, DiTConfig.normEpsilon), into: w.packed)
    executor.gemm(input, block.qkv, into: w.qkv, stride: 3 * width)  // (B, T, 3D)
    executor.attend(attentionInput(images), w.attentionBuffers, into: w.attended)  // (B, T, D)
    input = executor.pack(w.attended, rows: rows, depth: width, stride: width, into: w.packed)
    executor.gemm(input, block.proj, into: w.stream, stride: width, gated(by: 2))

    input = executor.packModulated(w.stream, rows: rows, depth: width, modulation(3, of: 6, config.secondNormEpsilon), into: w.packed)
    executor.gemm(input, block.fc1, into: w.expanded, stride: config.mlpSize, Epilogue(gelu: true))  // (B, T, mlp)
    input = executor.pack(w.expanded, rows: rows, depth: config.mlpSize, stride: config.mlpSize, into: w.packed)
    executor.gemm(input, block.fc2, into: w.stream, stride: width, gated(by: 5))
  }

  /// Shift at `chunk` and scale after it, of `chunks` that an adaLN linear puts out.
  private func modulation(_ chunk: Int, of chunks: Int, _ epsilon: Float) -> Modulation {
    let width = config.hiddenSize, start = workspace.modulation + chunk * width
    return Modulation(shift: start, scale: start + width, stride: chunks * width, rowsPerImage: config.tokenCount, epsilon: epsilon)
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

  private func finish(_ c: PackedRows, _ images: Int, _ output: UnsafeMutablePointer<Float>) {
    let width = config.hiddenSize, rows = images * config.tokenCount, w = workspace
    executor.gemm(c, weights.finalModulation, into: w.modulation, stride: 2 * width)  // (B, 2D)
    let input = executor.packModulated(w.stream, rows: rows, depth: width, modulation(0, of: 2, DiTConfig.normEpsilon), into: w.packed)
    executor.gemm(input, weights.finalLinear, into: w.expanded, stride: config.patchOutputs)  // (B, T, p·p·outputChannels)
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
