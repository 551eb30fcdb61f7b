// Saving a quantized model as a .ditq file, and checking one. The file, byte by byte: docs/format.md. Packed layers come first, the zeros last of them;
// the others of these are multiples of 64 bytes, so that a mapped file is used in place. Refuses to write what the reader would refuse.

extension Model {
  /// Writes the file, whole or not at all. Refuses the place of what the model was opened from or made of: that may be the one copy.
  @export(interface)
  package func save(to path: String, libraryVersion: String) throws(DitqError) {
    guard isQuantized else { throw DitqError(.unsupported, "model: a quantized model expected, a float one found") }
    if let there = FileIdentity(of: path), tensors.contains(where: { $0.isMapped(from: there) }) {
      throw DitqError(.invalidArgument, "\(path): another file than the one that the model came from expected, which saving would destroy")
    }
    let tensors = try tensorsToWrite()
    var checksums = LongText()
    try checksums.add("{")
    for tensor in tensors { try checksums.add("\(jsonLiteral(tensor.name)): \"\(tensor.checksum)\", ") }
    var metadata: [(name: String, value: String)] = [
      ("format", "pt"), ("ditq.format", String(formatVersion)), ("ditq.packing", RecordedConfig.packing),
      ("ditq.version", libraryVersion), ("ditq.config", try recordedJSON()), ("ditq.layers", try packedLayersJSON()),
      ("ditq.calibration", calibration ?? "{}"),
    ]
    // What the reader would refuse is not written.
    _ = try RecordedConfig(TensorCollection([], metadata: metadata, in: []))
    try checksums.add("\"\(RecordedConfig.metadata)\": \"\(checksum(of: metadata))\"}")
    metadata.append((RecordedConfig.checksums, try checksums.text()))
    try writeSafetensors(tensors, metadata: metadata, to: path)
  }

  /// Reads every byte and compares it with the checksums that the file records. Those of files older than this have none for the metadata;
  /// as many as there are is what tells a name that was damaged.
  @export(interface)
  package func verify() throws(DitqError) {
    guard let record = tensors[0].metadataValue(RecordedConfig.checksums) else {
      throw DitqError(.unsupported, "model: the file records no checksums")
    }
    let recorded = try Settings(text: record, named: RecordedConfig.checksums)
    let members = recorded.json.members ?? [], names = try NameIndex(members.mapped { $0.name })
    var unchecked = members.count
    func check(_ name: String, _ found: String) throws(DitqError) {
      let expected = names.find(name).flatMap { members[$0].value.string } ?? "none"
      guard expected == found else { throw DitqError(.checksumMismatch, "\(name): SHA-256 \(expected) expected, \(found) found") }
      unchecked -= 1
    }
    for (index, collection) in tensors.enumerated() {
      for tensor in collection.tensors {
        try checkCall()
        let name = (index == 0 ? "" : RecordedConfig.decoderPrefix) + tensor.name
        try check(name, TensorToWrite(whole: tensor, as: name).checksum)
      }
    }
    if unchecked != 0 { try check(RecordedConfig.metadata, checksum(of: tensors[0].metadata)) }
  }

  private func tensorsToWrite() throws(DitqError) -> [TensorToWrite] {
    let width = config.hiddenSize
    var packed: [TensorToWrite] = [], zeros: [TensorToWrite] = [], others: [TensorToWrite] = []
    for layer in try dit.linears() {
      try checkCall()
      let (name, linear) = (layer.name, layer.linear)
      switch linear.weights {
      case .integers(let weights):
        for tensor in weights.tensors(name + ".weight") { try packed.add(tensor) }
        if weights.bits == 4 { try zeros.add(weights.zerosTensor(name + ".weight")) }
      case .stored(let matrix): try others.add(TensorToWrite(name + ".weight", matrix, shape: patchShape(name)))
      case .packed: preconditionFailure("a model has no float panels")
      }
      if let bias = linear.bias { try others.add(TensorToWrite(name + ".bias", bias, [linear.outputs])) }
      if let factors = linear.inputFactors { try others.add(TensorToWrite(name + ".input_factors", factors, [linear.inputs])) }
      if let ranges = linear.ranges { try others.add(TensorToWrite(name + ".input_ranges", ranges)) }
    }
    for (index, embedder) in dit.embedders.enumerated() {
      try others.add(TensorToWrite(ConditionEmbedder.prefix(index) + ConditionEmbedder.labels + ".weight", embedder.labels, shape: nil))
    }
    try others.add(TensorToWrite("pos_embed", dit.positions.baseAddress!, [1, config.tokenCount, width]))
    if let decoder {
      var replaced: [String] = []  // with what stands beside them: .scales, .sums
      for layer in decoder.convolutions {
        guard let weights = layer.convolution.integers else { continue }
        for tensor in weights.tensors(RecordedConfig.decoderPrefix + layer.name + ".weight") { try packed.add(tensor) }
        try replaced.add(layer.name + ".weight")
      }
      for tensor in tensors[1].tensors
      where VAEDecoder.uses(tensor.name) && !replaced.contains(where: { tensor.name.starts(withBytesOf: $0) }) {
        try others.add(TensorToWrite(whole: tensor, as: RecordedConfig.decoderPrefix + tensor.name))
      }
    }
    for tensor in zeros { try packed.add(tensor) }
    for tensor in others { try packed.add(tensor) }
    return packed
  }

  /// The patch embedding is a convolution.
  private func patchShape(_ name: String) -> [Int]? {
    name == "x_embedder.proj" ? [config.hiddenSize, config.channels, config.patchSize, config.patchSize] : nil
  }

  private func packedLayersJSON() throws(DitqError) -> String {
    var text = LongText()
    try text.add("{")
    func add(_ name: String, _ weights: IntegerWeights?, activationBits: Int) throws(DitqError) {
      guard let weights else { return }
      try text.add((text.bytes.count == 1 ? "" : ", ") + "\"\(name)\": {\"bits\": \(weights.bits), \"group\": \(weights.recordedGroup)")
      try text.add(", \"activation_bits\": \(activationBits)}")
    }
    for number in 0..<dit.linearCount {
      try add(dit.name(ofLinear: number), dit[number].integers, activationBits: dit[number].activationBits)
    }
    for layer in decoder?.convolutions ?? [] {
      try add(RecordedConfig.decoderPrefix + layer.name, layer.convolution.integers, activationBits: 8)
    }
    try text.add("}")
    return try text.text()
  }

  private var formatVersion: Int {
    RecordedConfig.version(hasDecoder: decoder?.isQuantized == true, isUnusual: sampling.isUnusual || !config.hasNullClass)
  }

  private func recordedJSON() throws(DitqError) -> String {
    var text = LongText()
    try text.add("{\"head_count\": \(config.headCount), \"compatibility\": \"\(config.compatibility.name)\"")
    try text.add(", \"pixel_space\": \(config.isPixelSpace), \"learned_variance\": \(config.outputChannels == 2 * config.channels)")
    try text.add(", \"norm_eps\": \(config.secondNormEpsilon), \(sampling.jsonFields)")
    if !config.hasNullClass { try text.add(", \"null_class\": false") }
    if let decoder { try text.add(", \"decoder\": \(decoder.config.json)") }
    // What the shape of packed weights does not say.
    if dit[0].integers != nil { try text.add(", \"latent_channels\": \(config.channels), \"patch_size\": \(config.patchSize)") }
    try text.add(", ")
    try text.add(classNames)
    try text.add("}")
    return try text.text()
  }
}

/// SHA-256 of what a file says beside its tensors and checksums.
private func checksum(of metadata: [(name: String, value: String)]) -> String {
  var hash = SHA256()
  for entry in metadata where !(entry.name == RecordedConfig.checksums) {
    for part in [entry.name, entry.value] { withBytes(of: part) { hash.update(UnsafeRawBufferPointer($0)) } }
  }
  return hexadecimal(hash.digest())
}

extension TensorToWrite {
  fileprivate init(_ name: String, _ ranges: UnsafeBufferPointer<ActivationRange>) {
    // A range is its scale and its zero point, one after the other.
    self.init(name: name, dtype: "F32", shape: [ranges.count, 2], pieces: [UnsafeRawBufferPointer(ranges)])
  }

  fileprivate init(_ name: String, _ values: UnsafePointer<Float>, _ shape: [Int]) {
    let bytes = UnsafeRawBufferPointer(start: values, count: shape.reduce(4, *))
    self.init(name: name, dtype: "F32", shape: shape, pieces: [bytes])
  }

  /// The blocks of a matrix on top of each other.
  fileprivate init(_ name: String, _ matrix: StoredMatrix, shape: [Int]?) {
    let blockBytes = matrix.rowsPerBlock * matrix.inputs * matrix.type.byteCount
    var pieces: [UnsafeRawBufferPointer] = []
    for block in 0..<matrix.outputs / matrix.rowsPerBlock {
      pieces.append(UnsafeRawBufferPointer(start: matrix.row(block * matrix.rowsPerBlock), count: blockBytes))
    }
    self.init(name: name, dtype: matrix.type.name, shape: shape ?? [matrix.outputs, matrix.inputs], pieces: pieces)
  }

  fileprivate init(whole tensor: Tensor, as name: String) {
    let bytes = UnsafeRawBufferPointer(start: tensor.start, count: tensor.byteCount)
    self.init(name: name, dtype: tensor.dtype, shape: tensor.shape, pieces: [bytes])
  }
}

extension IntegerWeights {
  fileprivate func tensors(_ name: String) -> [TensorToWrite] {
    let panels = panelCount(outputs)
    let bytes = UnsafeRawBufferPointer(start: numbers, count: panels * panelByteCount)
    return [
      TensorToWrite(name: name, dtype: "U8", shape: [panels, panelByteCount], pieces: [bytes]),
      TensorToWrite(name + ".scales", scales, [panels, groups, panelColumns]), TensorToWrite(name + ".sums", sums, [panels, panelColumns]),
    ]
  }

  fileprivate func zerosTensor(_ name: String) -> TensorToWrite {
    let shape = [panelCount(outputs), groups, panelColumns]
    let bytes = UnsafeRawBufferPointer(start: zeros, count: shape.reduce(1, *))
    return TensorToWrite(name: name + ".zeros", dtype: "U8", shape: shape, pieces: [bytes])
  }
}
