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
      blocks.append(
        try DiTBlock { layer throws(DitqError) in
          try linear("blocks.\(index).\(layer.name)", config.outputs(of: layer), config.inputs(of: layer))
        })
      for (original, copy) in layout.repeatedNames(block: index) { try loader.requireEqual(original, copy) }
    }
    self.blocks = blocks
    finalModulation = try linear("final_layer.adaLN_modulation.1", 2 * width, width)
    finalLinear = try linear("final_layer.linear", config.patchOutputs, width)
    bins = loader.packed.bins
    try loader.requireAllUsed()
  }

  /// All linear layers, in the order in which they run. Number `index` is meant wherever a layer is known by a number.
  var linears: [NamedLinear] {
    var result = [
      NamedLinear(name: "x_embedder.proj", linear: patchEmbedding), NamedLinear(name: "t_embedder.mlp.0", linear: timestepIn),
      NamedLinear(name: "t_embedder.mlp.2", linear: timestepOut),
    ]
    for (index, block) in blocks.enumerated() {
      for layer in BlockLayer.allCases { result.append(NamedLinear(name: "blocks.\(index).\(layer.name)", linear: block[layer])) }
    }
    return result + [
      NamedLinear(name: "final_layer.adaLN_modulation.1", linear: finalModulation),
      NamedLinear(name: "final_layer.linear", linear: finalLinear),
    ]
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
    for layer in linears { total += layer.linear.outputs * (layer.linear.inputs + 1) }
    return total
  }

  /// Bytes of all parameters as they are kept: linears, labels, and vectors as floats.
  func byteCount(_ config: DiTConfig) -> Int {
    var total = labels.outputs * labels.inputs * labels.type.byteCount + config.tokenCount * config.hiddenSize * 4
    for layer in linears { total += layer.linear.byteCount + layer.linear.outputs * 4 }
    return total
  }

  /// The table that the file has, or else the one that the public code computes.
  private static func positions(
    _ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout
  ) throws(DitqError) -> UnsafeBufferPointer<Float> {
    let name = layout.names(of: "pos_embed")[0], count = config.tokenCount * config.hiddenSize
    let values =
      loader.contains(name)
      ? try loader.floats(name, shape: [1, config.tokenCount, config.hiddenSize])
      : loader.computed(count) { fillPositions($0, grid: config.gridSize, width: config.hiddenSize) }
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
