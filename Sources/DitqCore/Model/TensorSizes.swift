// TensorSizes: what the tensors of a checkpoint in the public layout say of its model by their shapes. Refuses shapes that fit no model, and
// what is said of the model where it says something else.

struct TensorSizes {
  let hiddenSize: Int
  let depth: Int
  let channels: Int
  let patchSize: Int
  /// Tokens along one side.
  let gridSize: Int
  let outputChannels: Int
  let mlpSize: Int
  /// Of the label table: a class each, and one more where there is "no class".
  let labelRows: Int

  var latentSize: Int { gridSize * patchSize }

  init(_ tensors: TensorCollection, _ packed: PackedLayers, _ settings: Settings) throws(DitqError) {
    let patches = try TensorSizes.patchShape(tensors, packed, settings)
    labelRows = try tensors.requireAnyShape("y_embedder.embedding_table.weight", rank: 2).shape[0]
    let positions = try tensors.requireAnyShape("pos_embed", rank: 3).shape
    let output = try TensorSizes.outputs(of: "final_layer.linear", tensors)
    mlpSize = try TensorSizes.outputs(of: "blocks.0.mlp.fc1", tensors)
    (hiddenSize, channels, patchSize) = (patches[0], patches[1], patches[2])
    guard hiddenSize > 0, Limit.patchSize.contains(patchSize), channels > 0, let grid = squareRoot(positions[1]),
      Limit.latentSize.contains(grid)
    else {
      throw DitqError(
        .malformed, "pos_embed: a square number of tokens expected, \(positions[1]) found, with patches \(text(ofShape: patches))")
    }
    gridSize = grid
    outputChannels = output / (patchSize * patchSize)
    depth = try TensorSizes.depth(tensors)
    try check(settings)
  }

  /// What is said of the model agrees with its tensors.
  private func check(_ settings: Settings) throws(DitqError) {
    for (field, known, range) in [
      ("hidden_size", hiddenSize, Limit.hiddenSize), ("depth", depth, Limit.depth), ("patch_size", patchSize, Limit.patchSize),
      ("latent_channels", channels, Limit.channels), ("latent_size", latentSize, Limit.latentSize),
    ] {
      try settings.require(field, known: known, in: range, by: "the tensors have")
    }
    let isLearned = outputChannels == 2 * channels
    guard try settings.bool("learned_variance", default: isLearned) == isLearned else {
      throw settings.wrong(
        "learned_variance", "\(isLearned), with \(outputChannels) outputs for \(channels) channels,", .bool(!isLearned), .malformed)
    }
  }

  /// [hidden, channels, size, size] of the patch embedding.
  private static func patchShape(
    _ tensors: TensorCollection, _ packed: PackedLayers, _ settings: Settings
  ) throws(DitqError) -> [Int] {
    guard packed.index(of: "x_embedder.proj") != nil else { return try tensors.requireAnyShape("x_embedder.proj.weight", rank: 4).shape }
    let size = try settings.integer("patch_size", in: Limit.patchSize)
    return [
      try tensors.requireAnyShape("x_embedder.proj.bias", rank: 1).shape[0], try settings.integer("latent_channels", in: Limit.channels),
      size, size,
    ]
  }

  /// Outputs of a linear layer: the height of its weights, or where they are packed the length of its bias.
  private static func outputs(of layer: String, _ tensors: TensorCollection) throws(DitqError) -> Int {
    let isPacked = tensors.find(layer + ".weight.scales") != nil
    return try tensors.requireAnyShape(layer + (isPacked ? ".bias" : ".weight"), rank: isPacked ? 1 : 2).shape[0]
  }

  /// One more than the largest number of a block.
  private static func depth(_ tensors: TensorCollection) throws(DitqError) -> Int {
    var depth = 0
    for name in try tensors.names(startingWith: "blocks.") {
      try checkCall()
      let parts = split(name, at: ".", into: 3)
      if parts.count > 1, let block = Int(parts[1]), block >= depth, block < Limit.depth.upperBound { depth = block + 1 }
    }
    return depth
  }
}

private func squareRoot(_ square: Int) -> Int? {
  guard square > 0 else { return nil }
  let root = Int(Double(square).squareRoot())
  return root * root == square ? root : nil
}
