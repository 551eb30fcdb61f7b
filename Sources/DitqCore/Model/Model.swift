// Model: everything that was opened, immutable, shared by any number of sessions. What opens it is a reader, one file a layout.

/// What a file records of how the model was trained and is best sampled. Plain data: the Sampling floor gives it meaning.
package struct SamplingSettings {
  /// Linear betas from `betaStart` to `betaEnd` over `trainSteps` steps.
  package var trainSteps = 1000
  package var betaStart = 1e-4
  package var betaEnd = 0.02
  /// The sampler's name in lower case, and the steps and guidance scale it is best used with, where the file says.
  package var sampler = "ddim"
  package var steps: Int?
  package var guidanceScale: Double?
}

/// How most linear layers of the blocks are kept; of a float model 32, 0, 32.
package struct NumberFormat {
  package var weightBits = 32
  package var weightGroup = 0
  package var activationBits = 32
}

package final class Model {
  package let config: DiTConfig
  package let format: NumberFormat
  package let sampling: SamplingSettings
  package let classNames: ClassNames
  let dit: DiTWeights
  let decoder: VAEDecoder?
  /// Elements of all tensors that are used, and the bytes they stand in.
  package let parameterCount: Int
  package let weightsByteCount: Int
  /// "safetensors" or "diffusers directory".
  package let source: String
  /// Kept alive: files that weights point into, and memory that was filled from them.
  /// The transformer's, then the decoder's.
  let tensors: [TensorCollection]
  private let blocks: [Block]

  init(
    config: DiTConfig, format: NumberFormat, sampling: SamplingSettings, classNames: ClassNames, transformer: LoadedTransformer,
    decoder: LoadedDecoder?, source: String
  ) {
    (self.config, self.format, self.sampling, self.classNames, self.source) = (config, format, sampling, classNames, source)
    (dit, self.decoder) = (transformer.weights, decoder?.decoder)
    tensors = [transformer.tensors] + (decoder.map { [$0.tensors] } ?? [])
    blocks = [transformer.block] + (decoder.map { [$0.block] } ?? [])
    parameterCount = transformer.parameterCount + (decoder?.parameterCount ?? 0)
    weightsByteCount = transformer.byteCount + (decoder?.byteCount ?? 0)
  }

  /// A model with other weights, which stand in `block` or where those of `source` do.
  init(_ source: Model, weights: DiTWeights, in block: Block, format: NumberFormat, weightsByteCount: Int) {
    (config, sampling, classNames, self.source) = (source.config, source.sampling, source.classNames, source.source)
    (dit, decoder, parameterCount) = (weights, source.decoder, source.parameterCount)
    (self.format, self.weightsByteCount) = (format, weightsByteCount)
    tensors = source.tensors
    blocks = source.blocks + [block]
  }

  /// Height and width of the image in pixels; nil for a latent model without a decoder.
  package var imageSize: Int? { config.isPixelSpace ? config.latentSize : decoder.map { config.latentSize * $0.config.upscaling } }
  package var imageChannels: Int? { config.isPixelSpace ? config.channels : decoder?.config.imageChannels }
  /// Bytes of weights that are no linear layers of the transformer.
  var fixedByteCount: Int {
    var linears = 0
    _ = dit.mappingLinears { _, linear in
      linears += linear.weights.byteCount
      return linear
    }
    return weightsByteCount - linears
  }
  package var hasDecoder: Bool { decoder != nil }

  /// Values of an image [height, width, channels].
  package var imageCount: Int? {
    guard let size = imageSize, let channels = imageChannels else { return nil }
    return size * size * channels
  }
}

/// A transformer with what keeps it in memory.
struct LoadedTransformer {
  let weights: DiTWeights
  let tensors: TensorCollection
  let block: Block
  let parameterCount: Int
  let byteCount: Int

  init(
    _ tensors: TensorCollection, _ config: DiTConfig, _ layout: CheckpointLayout, _ packed: [PackedLayer], _ allocator: Allocator
  ) throws(DitqError) {
    try config.check()
    self.tensors = tensors
    (weights, block) = try ParameterLoader.load(tensors, packed, allocator) { loader throws(DitqError) in
      try DiTWeights(&loader, config, layout)
    }
    (parameterCount, byteCount) = tensors.total { !layout.isRepeated($0) }
  }
}

/// A decoder with what keeps it in memory.
struct LoadedDecoder {
  let decoder: VAEDecoder
  let tensors: TensorCollection
  let block: Block
  let parameterCount: Int
  let byteCount: Int

  init(_ tensors: TensorCollection, _ config: VAEConfig, _ allocator: Allocator) throws(DitqError) {
    self.tensors = tensors
    (decoder, block) = try ParameterLoader.load(tensors, [], allocator) { loader throws(DitqError) in try VAEDecoder(&loader, config) }
    parameterCount = tensors.total { VAEDecoder.uses($0) }.elements
    byteCount = block.byteCount
  }
}

extension CheckpointLayout {
  /// Whether a tensor is a copy of another one's.
  fileprivate func isRepeated(_ name: String) -> Bool {
    guard case .diffusers = self, name.starts(withBytesOf: "transformer_blocks.") else { return false }
    return !name.starts(withBytesOf: "transformer_blocks.0.") && name.contains(bytesOf: ".norm1.emb.")
  }
}

extension TensorCollection {
  fileprivate func total(where counts: (String) -> Bool) -> (elements: Int, bytes: Int) {
    var total = (elements: 0, bytes: 0)
    for tensor in tensors where counts(tensor.name) { total = (total.elements + tensor.elementCount, total.bytes + tensor.byteCount) }
    return total
  }
}
