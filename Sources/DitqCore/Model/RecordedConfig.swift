// What a file says of its model beside the tensors, in the safetensors metadata:
//
//   ditq.config   a JSON object of the fields below; what is missing is looked for elsewhere (Model/ModelFacts.swift), and other fields
//                 (training, license, …) inform people
//   ditq.format   of .ditq files: the version of their format: "3" where the label table has no row of "no class", or sampling one of
//                 the fields of Model/SamplingFields.swift, else "2" where layers of the decoder are packed, else "1"
//   ditq.packing  the layout of packed layers, now "panels-32"
//   ditq.layers   a JSON object of the packed layers, {"blocks.0.attn.qkv": {"bits": 4, "group": 128, "activation_bits": 8}, …}: 4 or 8 bits;
//                 inputs that share a scale, 0 = the whole row, the last group having what is left; 8, or 32 where activations stay floats
//   ditq.calibration  a JSON object of how activation ranges were found (Quantization/CalibrationRecord.swift); "bins" lists the timesteps that
//                 have ranges of their own, where there are any
//   ditq.version  of the library that wrote the file
//   ditq.checksums a JSON object of SHA-256 by tensor, of its data; and under "__metadata__" that of the names and values of all the other
//                 entries here, "format" ("pt", for other readers) among them, one after another as they stand
//
// The fields of ditq.config, which a host and a file beside the checkpoint may give too:
//
//   head_count, compatibility ("official", "diffusers"), norm_eps
//   hidden_size, depth, patch_size, latent_channels, latent_size, learned_variance: what the tensors say, and refused where they say something
//                 else; but the shape of a packed x_embedder.proj does not say latent_channels and patch_size, and where latent_size is
//                 said, the table of positions may be any
//   pixel_space   whether what is denoised is the image itself
//   class_count, null_class: how many classes there are, and whether the label table has a row of "no class" behind theirs
//   class_names   an array of strings
//   prediction ("epsilon", "v_prediction", "sample", "velocity"), sampler, train_steps, beta_start, beta_end, and where the prediction is
//                 "velocity" noise_timestep (0 or 1: t of pure noise) and timestep_scale (the network is told t times this)
//   beta_schedule ("linear", "scaled_linear", "squaredcos_cap_v2"), trained_betas, rescale_betas_zero_snr, set_alpha_to_one, timestep_spacing
//                 ("leading", "trailing", "linspace"), steps_offset, clip_sample_range, variance_type ("fixed_small", "fixed_large")
//   steps, guidance_scale: for people; generating has its own
//   decoder       the configuration of the decoder whose tensors stand under "vae."
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

  /// ditq.config.
  private(set) var config: Settings?
  private(set) var isPacked = false
  private(set) var packed = PackedLayers()
  private(set) var calibration: String?

  init(_ tensors: TensorCollection) throws(DitqError) {
    if let record = tensors.metadataValue("ditq.config") { config = try Settings(text: record, named: "ditq.config") }
    if let version = tensors.metadataValue("ditq.format") { try readPacking(tensors, version) }
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
    packed.isOfQuantizedModel = true
    // A file has nothing that a version brought which its contents do not need.
    let hasDecoder = packed.layers.contains { $0.name.starts(withBytesOf: RecordedConfig.decoderPrefix) }
    let hasNullClass = try config?.bool("null_class", default: true) ?? true
    let isUnusual = try config.map { settings throws(DitqError) in try SamplingSettings(settings).isUnusual } ?? false
    try requireKnown(number, RecordedConfig.version(hasDecoder: hasDecoder, isUnusual: isUnusual || !hasNullClass))
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
    guard timesteps.count == bins.array?.count && TimestepBins(timesteps: timesteps).isValid else {
      throw settings.wrong("bins", "an array of 1 to 1000 timesteps", bins, .malformed)
    }
    packed.bins.timesteps = timesteps
  }
}

extension TensorCollection {
  func metadataValue(_ name: String) -> String? { metadata.first { $0.name == name }?.value }
}
