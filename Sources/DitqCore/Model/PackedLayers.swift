// PackedLayers: which layers a file holds packed, and how, as "ditq.layers" in its metadata says. Refuses formats that are not implemented.

/// The layers that a file holds packed.
struct PackedLayers {
  let layers: [PackedLayer]
  private let names: NameIndex
  var bins = TimestepBins()
  var isOfQuantizedModel = false

  /// None.
  init() { (layers, names) = ([], NameIndex()) }

  init(_ layers: [PackedLayer]) throws(DitqError) { (self.layers, names) = (layers, try NameIndex(layers.mapped { $0.name })) }

  func index(of name: String) -> Int? { names.find(name) }

  /// Whether a layer may have factors of its inputs: those of blocks that balance is for, in a quantized model. Those of other layers would be
  /// dropped or ignored in silence.
  func mayBalance(_ name: String) -> Bool {
    isOfQuantizedModel && name.starts(withBytesOf: "blocks.") && !name.ends(withBytesOf: ".adaLN_modulation.1")
  }

  /// Those whose names do not begin with a prefix.
  func part(without prefix: String) throws(DitqError) -> PackedLayers {
    var rest = try PackedLayers(layers.kept { !$0.name.starts(withBytesOf: prefix) })
    (rest.bins, rest.isOfQuantizedModel) = (bins, isOfQuantizedModel)
    return rest
  }

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
    PackedLayer(self, name: name.bytes(from: prefix.utf8.count))
  }

  init(name: String, _ settings: Settings) throws(DitqError) {
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
