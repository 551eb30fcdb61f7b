// DiTWeights: the parameters of the transformer, by the checkpoint's own names. Read-only once loaded.

/// The linear layers of a block, in the order in which they run.
enum BlockLayer: Int, CaseIterable {
  case modulation, qkv, proj, fc1, fc2

  /// In the checkpoint's words.
  var name: String {
    switch self {
    case .modulation: "adaLN_modulation.1"
    case .qkv: "attn.qkv"
    case .proj: "attn.proj"
    case .fc1: "mlp.fc1"
    case .fc2: "mlp.fc2"
    }
  }
}

struct DiTBlock {
  private var linears: InlineArray<5, Linear>

  init(_ linear: (BlockLayer) throws(DitqError) -> Linear) throws(DitqError) {
    linears = [try linear(.modulation), try linear(.qkv), try linear(.proj), try linear(.fc1), try linear(.fc2)]
  }

  subscript(layer: BlockLayer) -> Linear {
    get { linears[layer.rawValue] }
    set { linears[layer.rawValue] = newValue }
  }
}

extension DiTBlock {
  /// Attention's products run on integers where its inputs come from a layer that does.
  var attendsOnIntegers: Bool { self[.qkv].integers != nil && self[.qkv].activationBits == 8 }
}

/// Parts of a run that have activation ranges of their own: a timestep belongs to the nearest of these.
struct TimestepBins {
  var timesteps: [Float] = [0]

  var isValid: Bool { (1...1000).contains(timesteps.count) && timesteps.allSatisfy { $0.isFinite } }

  func number(of timestep: Float) -> Int {
    var best = 0
    for (index, candidate) in timesteps.enumerated()
    where (timestep - candidate).magnitude < (timestep - timesteps[best]).magnitude { best = index }
    return best
  }
}

/// A linear layer with the checkpoint's name.
struct NamedLinear {
  let name: String
  let linear: Linear
}

struct DiTWeights {
  /// x_embedder.proj, a convolution whose kernel is its stride: [hidden, channels · patch · patch].
  private(set) var patchEmbedding: Linear
  /// [tokens, hidden].
  let positions: UnsafeBufferPointer<Float>
  private(set) var timestepIn: Linear
  private(set) var timestepOut: Linear
  /// [classes, hidden], and where there is "no class" a last row for it.
  let labels: StoredMatrix
  private(set) var blocks: [DiTBlock]
  /// final_layer.adaLN_modulation.1: [2 · hidden, hidden].
  private(set) var finalModulation: Linear
  private(set) var finalLinear: Linear
  /// Of the layers with static ranges.
  var bins: TimestepBins

  init(_ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout) throws(DitqError) {
    let width = config.hiddenSize
    func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws(DitqError) -> Linear {
      try loader.linear(layout.names(of: name), outputs: outputs, inputs: inputs)
    }
    patchEmbedding = try loader.linear(
      layout.names(of: "x_embedder.proj"), outputs: width, inputs: config.patchInputs,
      shape: [config.channels, config.patchSize, config.patchSize])
    positions = try DiTWeights.positions(&loader, config, layout)
    timestepIn = try linear("t_embedder.mlp.0", width, DiTConfig.timestepFeatures)
    timestepOut = try linear("t_embedder.mlp.2", width, width)
    labels = try loader.matrix(
      layout.names(of: "y_embedder.embedding_table").map { $0 + ".weight" }, outputs: config.labelCount, inputs: width)
    var blocks: [DiTBlock] = []
    for index in 0..<config.depth {
      try blocks.add(
        try DiTBlock { layer throws(DitqError) in
          try linear("blocks.\(index).\(layer.name)", config.outputs(of: layer), config.inputs(of: layer))
        })
      for (original, copy) in layout.repeatedNames(block: index) { try loader.requireEqual(original, copy) }
    }
    self.blocks = blocks
    finalModulation = try linear("final_layer.adaLN_modulation.1", 2 * width, width)
    finalLinear = try linear("final_layer.linear", config.patchOutputs, width)
    bins = loader.packed.bins
    try loader.requireAllUsed(ignoring: layout.ignoredNames)
  }

  /// All linear layers, in the order in which they run. Number `index` is meant wherever a layer is known by a number.
  func linears() throws(DitqError) -> [NamedLinear] {
    var result = try [NamedLinear](room: linearCount)
    for number in 0..<linearCount { try result.add(NamedLinear(name: name(ofLinear: number), linear: self[number])) }
    return result
  }

  var linearCount: Int { DiTWeights.number(of: .modulation, block: blocks.count) + 2 }

  /// In the checkpoint's words.
  func name(ofLinear number: Int) -> String {
    let place = number - 3, layers = BlockLayer.allCases.count
    return switch number {
    case 0: "x_embedder.proj"
    case 1: "t_embedder.mlp.0"
    case 2: "t_embedder.mlp.2"
    case 3..<3 + blocks.count * layers: "blocks.\(place / layers).\(BlockLayer(rawValue: place % layers)!.name)"
    case 3 + blocks.count * layers: "final_layer.adaLN_modulation.1"
    default: "final_layer.linear"
    }
  }

  /// The number of a block's layer among all.
  static func number(of layer: BlockLayer, block: Int) -> Int { 3 + block * BlockLayer.allCases.count + layer.rawValue }

  subscript(number: Int) -> Linear {
    get {
      let place = number - 3, layers = BlockLayer.allCases.count
      return switch number {
      case 0: patchEmbedding
      case 1: timestepIn
      case 2: timestepOut
      case 3..<3 + blocks.count * layers: blocks[place / layers][BlockLayer(rawValue: place % layers)!]
      case 3 + blocks.count * layers: finalModulation
      default: finalLinear
      }
    }
    set {
      let place = number - 3, layers = BlockLayer.allCases.count
      switch number {
      case 0: patchEmbedding = newValue
      case 1: timestepIn = newValue
      case 2: timestepOut = newValue
      case 3..<3 + blocks.count * layers: blocks[place / layers][BlockLayer(rawValue: place % layers)!] = newValue
      case 3 + blocks.count * layers: finalModulation = newValue
      default: finalLinear = newValue
      }
    }
  }

  /// Memory of a token's packed row, in floats, for the layer that asks for most of it.
  var packedFloatsPerToken: Int {
    blocks.reduce(max(patchEmbedding.packedFloats, finalLinear.packedFloats)) { most, block in
      max(most, block[.qkv].packedFloats, block[.proj].packedFloats, block[.fc1].packedFloats, block[.fc2].packedFloats)
    }
  }

  /// How most linear layers of the blocks are kept; of several as frequent formats the first.
  var format: NumberFormat {
    var found: [(format: NumberFormat, count: Int)] = []
    for block in blocks {
      for layer in BlockLayer.allCases {
        let format = NumberFormat(block[layer])
        if let index = found.firstIndex(where: { $0.format == format }) { found[index].count += 1 } else { found.append((format, 1)) }
      }
    }
    return found.reduce(found[0]) { $1.count > $0.count ? $1 : $0 }.format
  }

  /// Of all blocks.
  var attendsOnIntegers: Bool { blocks.allSatisfy { $0.attendsOnIntegers } }

  /// Numbers of all parameters, whatever they are kept in, the table of positions among them.
  func parameterCount(_ config: DiTConfig) -> Int {
    var total = labels.outputs * labels.inputs + config.tokenCount * config.hiddenSize
    for number in 0..<linearCount { total += self[number].outputs * (self[number].inputs + 1) }
    return total
  }

  /// Bytes of all parameters as they are kept: linears, labels, and vectors as floats.
  func byteCount(_ config: DiTConfig) -> Int {
    var total = labels.outputs * labels.inputs * labels.type.byteCount + config.tokenCount * config.hiddenSize * 4
    for number in 0..<linearCount { total += self[number].byteCount + self[number].outputs * 4 }
    return total
  }

  /// The table that a file has in a layout that reads one, or else the one that the public code computes.
  private static func positions(
    _ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout
  ) throws(DitqError) -> UnsafeBufferPointer<Float> {
    let count = config.tokenCount * config.hiddenSize
    if let name = layout.positionsName, loader.contains(name) {
      return UnsafeBufferPointer(start: try loader.floats(name, shape: [1, config.tokenCount, config.hiddenSize]), count: count)
    }
    let values = loader.computed(count) { fillPositions($0, grid: config.gridSize, width: config.hiddenSize) }
    return UnsafeBufferPointer(start: values, count: count)
  }
}

/// How a linear layer is kept; floats are 32, 0, 32.
package struct NumberFormat: Equatable {
  package let weightBits: Int
  package let weightGroup: Int
  package let activationBits: Int

  init(_ linear: Linear) {
    (weightBits, weightGroup) = linear.integers.map { ($0.bits, $0.recordedGroup) } ?? (32, 0)
    activationBits = linear.activationBits
  }
}
