// What a file says of its model beside the tensors, in the safetensors metadata:
//
//   ditq.config   a JSON object: head_count, compatibility, pixel_space, class_names, learned_variance, sampler, steps, guidance_scale,
//                 prediction, train_steps, beta_start, beta_end, norm_eps, decoder, and where the prediction is "velocity" noise_timestep
//                 (0 or 1: t of pure noise) and timestep_scale (the network is told t times this), and where x_embedder.proj is packed
//                 latent_channels and patch_size, which its shape does not say then; what is missing has its usual value, and other fields
//                 (training, license, …) inform people. steps and guidance_scale do too: generating has its own. prediction may be "epsilon",
//                 "v_prediction", "sample" or "velocity"; sampling may say more, see Model/SamplingFields.swift
//   ditq.format   of .ditq files: the version of their format: "3" where sampling has one of these, else "2" where layers of the decoder
//                 are packed, else "1"
//   ditq.packing  the layout of packed layers, now "panels-32"
//   ditq.layers   a JSON object of the packed layers, {"blocks.0.attn.qkv": {"bits": 4, "group": 128, "activation_bits": 8}, …}: 4 or 8 bits;
//                 inputs that share a scale, 0 = the whole row, the last group having what is left; 8, or 32 where activations stay floats
//   ditq.calibration  a JSON object of how activation ranges were found (Quantization/CalibrationRecord.swift); "bins" lists the timesteps that
//                 have ranges of their own, where there are any
//   ditq.version  of the library that wrote the file
//   ditq.checksums a JSON object of SHA-256 by tensor, of its data; and under "__metadata__" that of the names and values of all the other
//                 entries here, "format" ("pt", for other readers) among them, one after another as they stand
//
// Refuses a newer format and another packing.

struct RecordedConfig {
  static let formatVersion = 3
  static let packing = "panels-32"
  static let checksums = "ditq.checksums"
  /// Where they have that of the metadata: no tensor has this name.
  static let metadata = "__metadata__"
  /// Before the names of a decoder's tensors.
  static let decoderPrefix = LayerRule.decoderPrefix

  private(set) var headCount: Int?
  private(set) var compatibility: Compatibility?
  private(set) var isPixelSpace: Bool?
  private(set) var hasLearnedVariance: Bool?
  private(set) var classNames: [String] = []
  private(set) var normEpsilon: Float?
  private(set) var decoder: VAEConfig?
  /// Channels and size of patches, where their embedding is packed.
  private(set) var packedPatches: (channels: Int, size: Int)?
  private(set) var sampling = SamplingSettings()
  private(set) var isPacked = false
  private(set) var packed = PackedLayers()
  private(set) var calibration: String?

  init(_ tensors: TensorCollection) throws(DitqError) {
    let settings = try tensors.metadataValue("ditq.config").map { text throws(DitqError) in try Settings(text: text, named: "ditq.config") }
    if let settings { try readSampling(settings) }
    if let version = tensors.metadataValue("ditq.format") { try readPacking(tensors, version) }
    guard let settings else { return }
    if settings.value("head_count") != nil { headCount = try settings.integer("head_count", in: Limit.heads) }
    if let name = try settings.string("compatibility") {
      try settings.require("compatibility", "official", "diffusers")
      compatibility = name == "official" ? .official : .diffusers
    }
    if settings.value("pixel_space") != nil { isPixelSpace = try settings.bool("pixel_space", default: false) }
    if settings.value("learned_variance") != nil { hasLearnedVariance = try settings.bool("learned_variance", default: false) }
    if settings.value("norm_eps") != nil { normEpsilon = Float(try settings.number("norm_eps", above: 0, below: 1, default: 1e-5)) }
    if packed.layers.contains(where: { $0.name == "x_embedder.proj" }) {
      packedPatches = (try settings.integer("latent_channels", in: Limit.channels), try settings.integer("patch_size", in: Limit.patchSize))
    }
    try readClassNames(settings)
    if let value = settings.value("decoder") {
      decoder = try vaeConfig(Settings(value, named: "ditq.config: decoder"))
    }
  }

  private mutating func readClassNames(_ settings: Settings) throws(DitqError) {
    guard let names = settings.value("class_names") else { return }
    guard let array = names.array else { throw settings.wrong("class_names", "an array of strings", names, .malformed) }
    for name in array {
      guard let name = name.string else { throw settings.wrong("class_names", "strings", name, .malformed) }
      try classNames.add(name)
    }
  }

  private mutating func readSampling(_ settings: Settings) throws(DitqError) {
    let sampler = try settings.choice("sampler", among: Sampler.allCases.map { $0.name }).map { Sampler.allCases[$0] }
    let prediction = try settings.choice("prediction", among: Prediction.allCases.map { $0.name }).map { Prediction.allCases[$0] }
    sampling.prediction = prediction ?? sampler?.prediction ?? .epsilon
    sampling.sampler = sampler ?? (sampling.prediction == .velocity ? .flowEuler : .ddim)
    guard sampling.sampler.goes(by: sampling.prediction) else {
      let needed = sampling.sampler.prediction.name + ", as the sampler " + sampling.sampler.name + " needs it,"
      throw settings.wrong("prediction", needed, settings.value("prediction"), .malformed)
    }
    if sampling.prediction == .velocity {
      sampling.noiseTimestep = Double(try settings.integer("noise_timestep", in: 0...1, default: 0))
      sampling.timestepScale = try settings.number("timestep_scale", above: 0, below: 100_001, default: 1)
    } else {
      for field in ["noise_timestep", "timestep_scale"] { try settings.requireNothing(field) }
    }
    if settings.value("steps") != nil { sampling.steps = try settings.integer("steps", in: 1...1000) }
    if settings.value("guidance_scale") != nil {
      sampling.guidanceScale = try settings.number("guidance_scale", above: -0.5, below: 1001, default: 1)
    }
    sampling.trainSteps = try settings.integer("train_steps", in: 1...100_000, default: 1000)
    sampling.betaStart = try settings.number("beta_start", above: 0, below: 1, default: 1e-4)
    sampling.betaEnd = try settings.number("beta_end", above: 0, below: 1, default: 0.02)
    try sampling.readUnusualFields(settings)
  }

  private mutating func readPacking(_ tensors: TensorCollection, _ version: String) throws(DitqError) {
    guard let number = Int(version), number >= 1 else {
      throw DitqError(.malformed, "ditq.format: a version expected, \"\(version)\" found")
    }
    try requireKnown(number, RecordedConfig.formatVersion)
    let packing = tensors.metadataValue("ditq.packing") ?? ""
    guard packing == RecordedConfig.packing else {
      throw DitqError(.unsupported, "ditq.packing: \"\(RecordedConfig.packing)\" expected, \"\(packing)\" found")
    }
    isPacked = true
    let settings = try Settings(text: tensors.metadataValue("ditq.layers") ?? "{}", named: "ditq.layers")
    var layers: [PackedLayer] = []
    for member in settings.json.members ?? [] {
      try layers.add(try PackedLayer(name: member.name, Settings(member.value, named: "ditq.layers: \(member.name)")))
    }
    packed = try PackedLayers(layers)
    // A file has nothing that a version brought which its contents do not need.
    let hasDecoder = packed.layers.contains { $0.name.starts(withBytesOf: RecordedConfig.decoderPrefix) }
    try requireKnown(number, RecordedConfig.version(hasDecoder: hasDecoder, isUnusual: sampling.isUnusual))
    let calibration = tensors.metadataValue("ditq.calibration") ?? "{}"
    let record = try Settings(text: calibration, named: "ditq.calibration")
    // It goes into the model's JSON as it stands.
    guard record.json.isStrict else { throw DitqError(.malformed, "ditq.calibration: finite numbers expected, another found") }
    try readBins(record)
    self.calibration = calibration
  }

  /// The first version of the format that knows what a file holds.
  static func version(hasDecoder: Bool, isUnusual: Bool) -> Int { isUnusual ? 3 : hasDecoder ? 2 : 1 }

  private func requireKnown(_ version: Int, _ newest: Int) throws(DitqError) {
    guard version <= newest else {
      throw DitqError(.unsupported, "ditq.format: \(newest) or older expected, \(version) found: a newer libditq wrote this file")
    }
  }

  private mutating func readBins(_ settings: Settings) throws(DitqError) {
    guard let bins = settings.value("bins") else { return }
    let timesteps = (bins.array ?? []).compactMap { $0.number.map { Float($0) } }
    guard !timesteps.isEmpty && timesteps.count == bins.array?.count && timesteps.count <= 1000, timesteps.allSatisfy({ $0.isFinite })
    else {
      throw settings.wrong("bins", "an array of 1 to 1000 timesteps", bins, .malformed)
    }
    packed.bins.timesteps = timesteps
  }
}

/// The layers that a file holds packed.
struct PackedLayers {
  let layers: [PackedLayer]
  private let names: NameIndex
  var bins = TimestepBins()

  /// None.
  init() { (layers, names) = ([], NameIndex()) }

  init(_ layers: [PackedLayer]) throws(DitqError) { (self.layers, names) = (layers, try NameIndex(layers.mapped { $0.name })) }

  func find(_ name: String) -> PackedLayer? { names.find(name).map { layers[$0] } }

  /// Those whose names begin with a prefix, under the rest of their names.
  func part(under prefix: String) throws(DitqError) -> PackedLayers {
    try PackedLayers(layers.kept { $0.name.starts(withBytesOf: prefix) }.mapped { $0.renamed(droppingPrefix: prefix) })
  }
}

/// How a layer is packed.
struct PackedLayer {
  let name: String
  let bits: Int
  /// Inputs that share a scale; 0 = the whole row.
  let group: Int
  let activationBits: Int

  private init(_ layer: PackedLayer, name: String) {
    (self.name, bits, group, activationBits) = (name, layer.bits, layer.group, layer.activationBits)
  }

  fileprivate func renamed(droppingPrefix prefix: String) -> PackedLayer {
    PackedLayer(self, name: String(decoding: name.utf8.dropFirst(prefix.utf8.count), as: UTF8.self))
  }

  fileprivate init(name: String, _ settings: Settings) throws(DitqError) {
    self.name = name
    bits = try settings.integer("bits", in: 4...8)
    group = try settings.integer("group", in: 0...65536)
    activationBits = try settings.integer("activation_bits", in: 8...32)
    guard (bits == 4 || bits == 8) && (activationBits == 8 || activationBits == 32) && group % 8 == 0 else {
      throw DitqError(
        .unsupported,
        "ditq.layers: \(name): 4 or 8 bits, groups of a multiple of 8, activations of 8 or 32 bits expected, "
          + "\(bits), \(group), \(activationBits) found")
    }
  }
}

extension TensorCollection {
  func metadataValue(_ name: String) -> String? { metadata.first { $0.name == name }?.value }
}
