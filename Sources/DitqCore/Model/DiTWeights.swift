// DiTWeights: the parameters of the transformer, by the checkpoint's own names. Read-only once loaded.

import CKernels

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
  /// One, which all blocks share, or one for each block; the final layer has the first block's.
  private(set) var embedders: [ConditionEmbedder]
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
    embedders = try DiTWeights.embedders(&loader, config, layout)
    var blocks: [DiTBlock] = []
    for index in 0..<config.depth {
      try blocks.add(
        try DiTBlock { layer throws(DitqError) in
          try linear("blocks.\(index).\(layer.name)", config.outputs(of: layer), config.inputs(of: layer))
        })
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

  var linearCount: Int { number(of: .modulation, block: blocks.count - 1) + BlockLayer.allCases.count + 2 }

  var hasOwnEmbedders: Bool { embedders.count > 1 }

  /// The number of a block's layer among all. Where blocks have embedders of their own, the two linears of each stand before its block's.
  func number(of layer: BlockLayer, block: Int) -> Int {
    3 + block * (BlockLayer.allCases.count + (hasOwnEmbedders ? 2 : 0)) + layer.rawValue
  }

  /// The numbers of what runs for a block alone.
  func numbers(ofBlock block: Int) -> Range<Int> {
    let first = number(of: .modulation, block: block)
    return first - (hasOwnEmbedders && block > 0 ? 2 : 0)..<first + BlockLayer.allCases.count
  }

  /// What a number is that of.
  private enum Place {
    case patchEmbedding
    case timestepIn(embedder: Int)
    case timestepOut(embedder: Int)
    case block(Int, BlockLayer)
    case finalModulation
    case finalLinear
  }

  private func place(of number: Int) -> Place {
    let layers = BlockLayer.allCases.count, perBlock = layers + (hasOwnEmbedders ? 2 : 0), last = linearCount - 2
    switch number {
    case 0: return .patchEmbedding
    case 1: return .timestepIn(embedder: 0)
    case 2: return .timestepOut(embedder: 0)
    case last: return .finalModulation
    case last + 1: return .finalLinear
    default:
      let block = (number - 3) / perBlock, layer = (number - 3) % perBlock
      if let layer = BlockLayer(rawValue: layer) { return .block(block, layer) }
      return layer == layers ? .timestepIn(embedder: block + 1) : .timestepOut(embedder: block + 1)
    }
  }

  /// In the checkpoint's words; what a block has for itself is named as the shared one is, under the block's name.
  func name(ofLinear number: Int) -> String {
    switch place(of: number) {
    case .patchEmbedding: "x_embedder.proj"
    case .timestepIn(let index): ConditionEmbedder.prefix(index) + ConditionEmbedder.timestepIn
    case .timestepOut(let index): ConditionEmbedder.prefix(index) + ConditionEmbedder.timestepOut
    case .block(let index, let layer): "blocks.\(index).\(layer.name)"
    case .finalModulation: "final_layer.adaLN_modulation.1"
    case .finalLinear: "final_layer.linear"
    }
  }

  subscript(number: Int) -> Linear {
    get {
      switch place(of: number) {
      case .patchEmbedding: patchEmbedding
      case .timestepIn(let index): embedders[index].timestepIn
      case .timestepOut(let index): embedders[index].timestepOut
      case .block(let index, let layer): blocks[index][layer]
      case .finalModulation: finalModulation
      case .finalLinear: finalLinear
      }
    }
    set {
      switch place(of: number) {
      case .patchEmbedding: patchEmbedding = newValue
      case .timestepIn(let index): embedders[index].timestepIn = newValue
      case .timestepOut(let index): embedders[index].timestepOut = newValue
      case .block(let index, let layer): blocks[index][layer] = newValue
      case .finalModulation: finalModulation = newValue
      case .finalLinear: finalLinear = newValue
      }
    }
  }

  /// Memory of a token's packed row, in floats, for the layer that asks for most of it.
  func packedFloatsPerToken(_ layout: TileLayout) -> Int {
    blocks.reduce(max(patchEmbedding.packedFloats(layout), finalLinear.packedFloats(layout))) { most, block in
      [BlockLayer.qkv, .proj, .fc1, .fc2].reduce(most) { max($0, block[$1].packedFloats(layout)) }
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
    var total = embedders.reduce(config.tokenCount * config.hiddenSize) { $0 + $1.labels.outputs * $1.labels.inputs }
    for number in 0..<linearCount { total += self[number].outputs * (self[number].inputs + 1) }
    return total
  }

  /// Bytes of all parameters as they are kept: linears, labels, and vectors as floats.
  func byteCount(_ config: DiTConfig) -> Int {
    var total = embedders.reduce(config.tokenCount * config.hiddenSize * 4) {
      $0 + $1.labels.outputs * $1.labels.inputs * $1.labels.type.byteCount
    }
    for number in 0..<linearCount { total += self[number].byteCount + self[number].outputs * 4 }
    return total
  }

  /// Multiply-accumulates of the embedders that blocks have for themselves, of one call on one image.
  var ownEmbedderMacs: UInt64 {
    embedders.dropFirst().reduce(0) {
      $0 + UInt64($1.timestepIn.outputs * $1.timestepIn.inputs) + UInt64($1.timestepOut.outputs * $1.timestepOut.inputs)
    }
  }

  private static func embedders(
    _ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout
  ) throws(DitqError) -> [ConditionEmbedder] {
    var embedders = [try ConditionEmbedder(&loader, config, layout, 0)]
    let isOwn = try layout.hasOwnEmbedders(&loader, depth: config.depth)
    for block in 1..<max(1, config.depth) where isOwn { try embedders.add(try ConditionEmbedder(&loader, config, layout, block)) }
    return embedders
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
