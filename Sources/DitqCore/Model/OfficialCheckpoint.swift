// Opening a checkpoint in the layout of the public DiT release: sizes follow from the tensors; what tensors cannot say may stand in the
// safetensors metadata: see RecordedConfig. A .ditq file is such a checkpoint with packed layers. Refuses sizes that disagree.

func openOfficialCheckpoint(_ checkpoint: CheckpointFile, _ options: OpenOptions) throws(DitqError) -> Model {
  let tensors = checkpoint.tensors
  let recorded = try RecordedConfig(tensors)
  let patches = try patchShape(tensors, recorded)
  let labels = try tensors.requireAnyShape("y_embedder.embedding_table.weight", rank: 2).shape
  let positions = try tensors.requireAnyShape("pos_embed", rank: 3).shape
  let output = try outputs(of: "final_layer.linear", tensors), mlp = try outputs(of: "blocks.0.mlp.fc1", tensors)
  let hidden = patches[0], channels = patches[1], patch = patches[2]
  guard hidden > 0, Limit.patchSize.contains(patch), channels > 0, let grid = squareRoot(positions[1]), Limit.latentSize.contains(grid)
  else {
    throw DitqError(
      .malformed, "pos_embed: a square number of tokens expected, \(positions[1]) found, with patches \(text(ofShape: patches))")
  }

  let compatibility = options.compatibility ?? recorded.compatibility ?? .official
  let config = DiTConfig(
    compatibility: compatibility, hiddenSize: hidden, depth: try depth(tensors),
    headCount: try headCount(options.headCount ?? recorded.headCount, hidden: hidden), patchSize: patch, channels: channels,
    outputChannels: output / (patch * patch), latentSize: grid * patch, mlpSize: mlp, classCount: labels[0] - 1,
    secondNormEpsilon: compatibility == .official ? DiTConfig.normEpsilon : recorded.normEpsilon ?? 1e-5,
    isPixelSpace: recorded.isPixelSpace ?? (channels == 1 || channels == 3))
  if let isLearned = recorded.hasLearnedVariance, isLearned != (config.outputChannels == 2 * channels) {
    throw DitqError(
      .malformed,
      "ditq.config: learned_variance: \(!isLearned) expected with \(config.outputChannels) outputs for \(channels) channels, \(isLearned) found"
    )
  }
  let classNames = try ClassNames(recorded.classNames, classCount: max(0, config.classCount))
  let own = try tensors.part(under: RecordedConfig.decoderPrefix, inverted: true)
  let transformer = try LoadedTransformer(own, config, .official, recorded.packed, options.allocator)
  var decoder: LoadedDecoder?
  if let vae = recorded.decoder {
    decoder = try LoadedDecoder(
      tensors.part(under: RecordedConfig.decoderPrefix), vae, recorded.packed.part(under: RecordedConfig.decoderPrefix), options.allocator)
  }
  return try Model(
    config: config, sampling: recorded.sampling, classNames: classNames, transformer: transformer,
    decoder: decoder, source: recorded.isPacked ? "ditq" : checkpoint.source, calibration: recorded.calibration)
}

/// What was given; else the heads of the public sizes, else 64 channels a head.
private func headCount(_ given: Int?, hidden: Int) throws(DitqError) -> Int {
  if let given { return given }
  switch hidden {
  case 384: return 6
  case 768: return 12
  case 1024, 1152: return 16
  default:
    guard hidden % 64 == 0 else {
      throw DitqError(
        .invalidArgument, "head_count: the file does not say it, and the hidden size \(hidden) is no multiple of 64: give it in the options"
      )
    }
    return hidden / 64
  }
}

/// [hidden, channels, size, size] of the patch embedding.
private func patchShape(_ tensors: TensorCollection, _ recorded: RecordedConfig) throws(DitqError) -> [Int] {
  guard let patches = recorded.packedPatches else { return try tensors.requireAnyShape("x_embedder.proj.weight", rank: 4).shape }
  return [try tensors.requireAnyShape("x_embedder.proj.bias", rank: 1).shape[0], patches.channels, patches.size, patches.size]
}

/// Outputs of a linear layer: the height of its weights, or where they are packed the length of its bias.
private func outputs(of layer: String, _ tensors: TensorCollection) throws(DitqError) -> Int {
  let isPacked = tensors.find(layer + ".weight.scales") != nil
  return try tensors.requireAnyShape(layer + (isPacked ? ".bias" : ".weight"), rank: isPacked ? 1 : 2).shape[0]
}

/// One more than the largest number of a block.
private func depth(_ tensors: TensorCollection) throws(DitqError) -> Int {
  var depth = 0
  for name in try tensors.names(startingWith: "blocks.") {
    try checkMemory()
    let parts = split(name, at: ".", into: 3)
    if parts.count > 1, let block = Int(parts[1]), block >= depth, block < Limit.depth.upperBound { depth = block + 1 }
  }
  return depth
}

private func squareRoot(_ square: Int) -> Int? {
  guard square > 0 else { return nil }
  let root = Int(Double(square).squareRoot())
  return root * root == square ? root : nil
}
