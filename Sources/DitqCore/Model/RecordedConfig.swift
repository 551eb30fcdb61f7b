// What a file says of its model beside the tensors, in the safetensors metadata: ditq.config, a JSON object that any checkpoint may have, and what
// .ditq files have besides. Their fields: docs/format.md. Refuses a newer format and another packing.

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
