// DiTWeights: the parameters of the transformer, by the checkpoint's own names. Read-only once loaded.

struct DiTBlock {
  /// adaLN_modulation.1: [6 · hidden, hidden].
  let modulation: Linear
  let qkv: Linear
  let proj: Linear
  let fc1: Linear
  let fc2: Linear
}

struct DiTWeights {
  /// x_embedder.proj, a convolution whose kernel is its stride: [hidden, channels · patch · patch].
  private(set) var patchEmbedding: Linear
  /// [tokens, hidden].
  let positions: UnsafePointer<Float>
  private(set) var timestepIn: Linear
  private(set) var timestepOut: Linear
  /// [classes + 1, hidden]; the last row is "no class".
  let labels: StoredMatrix
  private(set) var blocks: [DiTBlock]
  /// final_layer.adaLN_modulation.1: [2 · hidden, hidden].
  private(set) var finalModulation: Linear
  private(set) var finalLinear: Linear

  init(_ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout) throws(DitqError) {
    let width = config.hiddenSize
    func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws(DitqError) -> Linear {
      try loader.linear(layout.names(of: name), outputs: outputs, inputs: inputs)
    }
    patchEmbedding = try loader.linear(
      layout.names(of: "x_embedder.proj"), outputs: width, inputs: config.patchInputs,
      shape: [config.channels, config.patchSize, config.patchSize])
    positions = try DiTWeights.positions(&loader, config, layout)
    timestepIn = try linear("t_embedder.mlp.0", width, DiTConfig.timestepFeatures)
    timestepOut = try linear("t_embedder.mlp.2", width, width)
    labels = try loader.matrix(
      layout.names(of: "y_embedder.embedding_table").map { $0 + ".weight" }, outputs: config.classCount + 1, inputs: width)
    var blocks: [DiTBlock] = []
    for index in 0..<config.depth {
      let name = "blocks.\(index)."
      blocks.append(
        DiTBlock(
          modulation: try linear(name + "adaLN_modulation.1", 6 * width, width), qkv: try linear(name + "attn.qkv", 3 * width, width),
          proj: try linear(name + "attn.proj", width, width), fc1: try linear(name + "mlp.fc1", config.mlpSize, width),
          fc2: try linear(name + "mlp.fc2", width, config.mlpSize)))
      for (original, copy) in layout.repeatedNames(block: index) { try loader.requireEqual(original, copy) }
    }
    self.blocks = blocks
    finalModulation = try linear("final_layer.adaLN_modulation.1", 2 * width, width)
    finalLinear = try linear("final_layer.linear", config.patchOutputs, width)
    try loader.requireAllUsed()
  }

  /// The same weights with each linear layer replaced by what `transform` makes of it, in the order in which they run.
  func mappingLinears<E>(_ transform: (_ name: String, _ linear: Linear) throws(E) -> Linear) throws(E) -> DiTWeights {
    var result = self
    result.patchEmbedding = try transform("x_embedder.proj", patchEmbedding)
    result.timestepIn = try transform("t_embedder.mlp.0", timestepIn)
    result.timestepOut = try transform("t_embedder.mlp.2", timestepOut)
    for (index, block) in blocks.enumerated() {
      let name = "blocks.\(index)."
      result.blocks[index] = DiTBlock(
        modulation: try transform(name + "adaLN_modulation.1", block.modulation), qkv: try transform(name + "attn.qkv", block.qkv),
        proj: try transform(name + "attn.proj", block.proj), fc1: try transform(name + "mlp.fc1", block.fc1),
        fc2: try transform(name + "mlp.fc2", block.fc2))
    }
    result.finalModulation = try transform("final_layer.adaLN_modulation.1", finalModulation)
    result.finalLinear = try transform("final_layer.linear", finalLinear)
    return result
  }

  /// Numbers of all parameters, whatever they are kept in, the table of positions among them.
  func parameterCount(_ config: DiTConfig) -> Int {
    var total = labels.outputs * labels.inputs + config.tokenCount * config.hiddenSize
    _ = mappingLinears { _, linear in
      total += linear.outputs * (linear.inputs + 1)
      return linear
    }
    return total
  }

  /// Bytes of all parameters as they are kept: linears, labels, and vectors as floats.
  func byteCount(_ config: DiTConfig) -> Int {
    var total = labels.outputs * labels.inputs * labels.type.byteCount + config.tokenCount * config.hiddenSize * 4
    _ = mappingLinears { _, linear in
      total += linear.weights.byteCount + linear.outputs * 4
      return linear
    }
    return total
  }

  /// The table that the file has, or else the one that the public code computes.
  private static func positions(
    _ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout
  ) throws(DitqError) -> UnsafePointer<Float> {
    let name = layout.names(of: "pos_embed")[0]
    if loader.contains(name) { return try loader.floats(name, shape: [1, config.tokenCount, config.hiddenSize]) }
    return loader.computed(config.tokenCount * config.hiddenSize) { fillPositions($0, grid: config.gridSize, width: config.hiddenSize) }
  }
}
