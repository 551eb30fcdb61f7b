// What readers make a model of: a transformer and a decoder, each with the file that its weights point into and the memory that was filled from it.
// Sizes that a file asks for are checked before anything is loaded for them.

/// A transformer with what keeps it in memory.
struct LoadedTransformer {
  let weights: DiTWeights
  let tensors: TensorCollection
  let block: Block
  let parameterCount: Int
  let byteCount: Int

  init(
    _ tensors: TensorCollection, _ config: DiTConfig, _ layout: CheckpointLayout, _ packed: PackedLayers, _ allocator: Allocator
  ) throws(DitqError) {
    try config.check()
    self.tensors = tensors
    (weights, block) = try ParameterLoader.load(tensors, packed, allocator) { loader throws(DitqError) in
      try DiTWeights(&loader, config, layout)
    }
    parameterCount = weights.parameterCount(config)
    byteCount = weights.byteCount(config)
  }
}

/// A decoder with what keeps it in memory.
struct LoadedDecoder {
  let decoder: VAEDecoder
  let tensors: TensorCollection
  let block: Block
  let parameterCount: Int
  let byteCount: Int

  init(
    _ tensors: TensorCollection, _ config: VAEConfig, _ packed: PackedLayers, _ allocator: Allocator
  ) throws(DitqError) {
    self.tensors = tensors
    (decoder, block) = try ParameterLoader.load(tensors, packed, allocator) { loader throws(DitqError) in
      try VAEDecoder(&loader, config)
    }
    // Float convolutions were copied, so that their weights are in memory once.
    tensors.forgetPages()
    // What stands beside packed numbers is no parameter.
    let integers = decoder.convolutions.filter { $0.convolution.integers != nil }
    parameterCount =
      tensors.elementCount { name in VAEDecoder.uses(name) && !integers.contains { name.starts(withBytesOf: $0.name + ".weight") } }
      + integers.reduce(0) { $0 + $1.convolution.outputs * $1.convolution.depth }
    byteCount = block.byteCount + integers.reduce(0) { $0 + $1.convolution.byteCount }
  }
}

extension TensorCollection {
  /// Elements of the tensors whose names count.
  fileprivate func elementCount(where counts: (String) -> Bool) -> Int {
    tensors.reduce(0) { counts($1.name) ? $0 + $1.elementCount : $0 }
  }
}
