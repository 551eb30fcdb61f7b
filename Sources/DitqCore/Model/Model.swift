// Model: everything that was opened, immutable, shared by any number of sessions. What opens it is a reader, one file a layout.

import CKernels

package final class Model {
  package let config: DiTConfig
  let sampling: SamplingSettings
  package let classNames: ClassNames
  let dit: DiTWeights
  /// How most linear layers of the blocks are kept.
  package var format: NumberFormat {
    @export(interface) get { dit.format }
  }
  private let ownDecoder: VAEDecoder?
  /// Of the transformer and the decoder; bytes are those of the weights as they are kept.
  package let parameterCount: Int
  private let transformerByteCount: Int
  private let decoderByteCount: Int
  /// "safetensors", "ditq", "torch checkpoint", "torch checkpoint, \"ema\"" or "diffusers directory".
  package let source: String
  /// How it was quantized, a JSON object; nil for a model that was not.
  let calibration: String?
  /// The transformer's, then the decoder's: the files that weights point into.
  let tensors: [TensorCollection]
  /// Memory that was filled from them, kept alive.
  private let blocks: [Block]

  init(
    config: DiTConfig, sampling: SamplingSettings, classNames: ClassNames, transformer: LoadedTransformer,
    decoder: LoadedDecoder?, source: String, calibration: String? = nil
  ) {
    self.calibration = calibration
    (self.config, self.sampling, self.classNames, self.source) = (config, sampling, classNames, source)
    (dit, ownDecoder) = (transformer.weights, decoder?.decoder)
    tensors = [transformer.tensors] + (decoder.map { [$0.tensors] } ?? [])
    blocks = [transformer.block] + (decoder.map { [$0.block] } ?? [])
    parameterCount = transformer.parameterCount + (decoder?.parameterCount ?? 0)
    transformerByteCount = transformer.byteCount
    decoderByteCount = decoder?.byteCount ?? 0
  }

  /// A model with other weights, which stand in `memory` or where those of `source` do.
  init(_ source: Model, weights: DiTWeights, decoder: VAEDecoder?, in memory: [Block], calibration: String) {
    self.calibration = calibration
    (config, sampling, classNames, self.source) = (source.config, source.sampling, source.classNames, source.source)
    (dit, ownDecoder, parameterCount) = (weights, decoder, source.parameterCount)
    decoderByteCount = source.decoderByteCount + (decoder?.convolutionByteCount ?? 0) - (source.decoder?.convolutionByteCount ?? 0)
    transformerByteCount = weights.byteCount(config)
    tensors = source.tensors
    blocks = source.blocks + memory
  }

  /// What was read of mapped files need not stay in memory.
  func forgetPages() { for collection in tensors { collection.forgetPages() } }

  /// A build without its kernels, which opens no model with a decoder, has no code that would use one.
  var decoder: VAEDecoder? { ditqk_decodes() == 0 ? nil : ownDecoder }
  /// Height and width of the image in pixels; nil for a latent model without a decoder.
  package var imageSize: Int? { config.isPixelSpace ? config.latentSize : decoder.map { config.latentSize * $0.config.upscaling } }
  package var imageChannels: Int? { config.isPixelSpace ? config.channels : decoder?.config.imageChannels }
  /// Bytes that the weights take.
  package var weightsByteCount: Int { transformerByteCount + decoderByteCount }
  /// Whether it came from `quantize`, even where rules and budgets left every layer in float.
  var isQuantized: Bool { calibration != nil }
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
