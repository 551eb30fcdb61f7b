// Model: everything that was opened, immutable, shared by any number of sessions. What opens it is a reader, one file a layout. Its parts fit
// each other: see ModelCheck.swift.

import CKernels

package final class Model {
  package let config: DiTConfig
  /// What its file records of sampling, and all that follows from it.
  let sampled: SampledModel
  var sampling: SamplingSettings { sampled.settings }
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
  /// The names of the files that were read: in a directory that was opened from there on, those of a chosen decoder as the host gave it. None
  /// of bytes in memory.
  let files: [String]
  /// Fields of ditq.config that no source said of it: what is usual was taken.
  let assumed: [String]
  /// How it was quantized, a JSON object; nil for a model that was not.
  let calibration: String?
  /// The transformer's, then the decoder's: the files that weights point into.
  let tensors: [TensorCollection]
  /// Memory that was filled from them, kept alive.
  private let blocks: [Block]

  /// What a reader opened. Refuses parts that do not fit each other. A convenience initializer: see Block.
  convenience init(
    config: DiTConfig, sampling: SamplingSettings, classNames: ClassNames, transformer: LoadedTransformer,
    decoder: LoadedDecoder?, source: String, files: [String], calibration: String? = nil, assumed: [String] = []
  ) throws(DitqError) {
    let parts = ModelParts(
      config: config, sampling: sampling, classNames: classNames, transformer: transformer.weights, decoder: decoder?.decoder)
    try parts.check()
    self.init(
      parts, source: source, files: files, assumed: assumed, calibration: calibration,
      parameterCount: transformer.parameterCount + (decoder?.parameterCount ?? 0),
      byteCounts: (transformer.byteCount, decoder?.byteCount ?? 0), tensors: [transformer.tensors] + (decoder.map { [$0.tensors] } ?? []),
      blocks: [transformer.block] + (decoder.map { [$0.block] } ?? []))
  }

  /// A model with other weights, which stand in `memory` or where those of `source` do.
  convenience init(
    _ source: Model, weights: DiTWeights, decoder: VAEDecoder?, in memory: [Block], calibration: String
  ) throws(DitqError) {
    let parts = ModelParts(
      config: source.config, sampling: source.sampling, classNames: source.classNames, transformer: weights, decoder: decoder)
    try parts.check()
    let growth = (decoder?.convolutionByteCount ?? 0) - (source.decoder?.convolutionByteCount ?? 0)
    self.init(
      parts, source: source.source, files: source.files, assumed: source.assumed, calibration: calibration,
      parameterCount: source.parameterCount,
      byteCounts: (weights.byteCount(source.config), source.decoderByteCount + growth), tensors: source.tensors,
      blocks: source.blocks + memory)
  }

  /// Of parts that were checked.
  private init(
    _ parts: ModelParts, source: String, files: [String], assumed: [String], calibration: String?, parameterCount: Int,
    byteCounts: (transformer: Int, decoder: Int), tensors: [TensorCollection], blocks: [Block]
  ) {
    (config, classNames, dit, ownDecoder) = (parts.config, parts.classNames, parts.transformer, parts.decoder)
    sampled = SampledModel(
      settings: parts.sampling, compatibility: config.compatibility,
      schedule: NoiseSchedule(parts.sampling, SchedulePrecision(config.compatibility)), channels: config.channels,
      outputChannels: config.outputChannels, area: config.latentSize * config.latentSize, hasNullClass: config.hasNullClass,
      assumesPrediction: assumed.contains { $0 == "prediction" })
    (self.files, self.assumed) = (files, assumed)
    (self.source, self.calibration, self.parameterCount) = (source, calibration, parameterCount)
    (transformerByteCount, decoderByteCount) = byteCounts
    (self.tensors, self.blocks) = (tensors, blocks)
  }

  /// What was read of mapped files need not stay in memory.
  func forgetPages() { for collection in tensors { collection.forgetPages() } }

  /// A build without its kernels, which opens no model with a decoder, has no code that would use one.
  var decoder: VAEDecoder? { ditqk_decodes() == 0 ? nil : ownDecoder }
  /// Height and width of the image in pixels; nil for a latent model without a decoder.
  package var imageSize: Int? { config.isPixelSpace ? config.latentSize : decoder.map { config.latentSize * $0.config.upscaling } }
  package var imageChannels: Int? { config.isPixelSpace ? config.channels : decoder?.config.imageChannels }
  /// Multiply-accumulates of one call of the transformer on one image.
  package var macsPerForward: UInt64 { config.macsPerForward + dit.ownEmbedderMacs }
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
