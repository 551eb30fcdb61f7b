// ParameterLoader: turns named tensors into what the forward pass reads. Large matrices stay in the mapped file; vectors and convolutions
// are copied as floats into one block of memory. Loading runs twice, first on a measuring arena to learn the size of that block; both
// times every name, type and shape is checked. Refuses tensors that nothing asked for: they would mean another architecture.

import CKernels
import CPlatform

struct ParameterLoader {
  /// Elements that are copied between two looks at the call.
  private static let pieceCount = 1 << 14

  private let tensors: TensorCollection
  let packed: PackedLayers
  private let kernels: ditqk_kernels
  private let isMeasuring: Bool
  private(set) var arena: Arena
  /// By index into `tensors.tensors`: asked for.
  private var used: [Bool]
  /// By index into `packed.layers`.
  private var usedLayers: [Bool]

  private init(_ tensors: TensorCollection, _ packed: PackedLayers, _ arena: Arena, isMeasuring: Bool) throws(DitqError) {
    (self.tensors, self.packed, self.arena, self.isMeasuring) = (tensors, packed, arena, isMeasuring)
    kernels = try InstructionSet.best(limit: 0).kernels
    used = [Bool](repeating: false, count: tensors.tensors.count)
    usedLayers = [Bool](repeating: false, count: packed.layers.count)
  }

  /// Runs `body` twice and answers with what the second run loaded and the memory it stands in. Layers of `packed` are integers.
  static func load<T>(
    _ tensors: TensorCollection, _ packed: PackedLayers, _ allocator: Allocator, _ body: (inout ParameterLoader) throws(DitqError) -> T
  ) throws(DitqError) -> (T, Block) {
    var measuring = try ParameterLoader(tensors, packed, Arena(), isMeasuring: true)
    _ = try body(&measuring)
    let size = try measuring.arena.checkedSize("weights")
    guard size <= max(Limit.copiedByteCount, Limit.copiesPerByte * tensors.fileByteCount) else {
      throw DitqError(
        .unsupported,
        "weights: \(size) bytes of memory for \(tensors.fileByteCount) bytes in files: more names share their numbers than is likely")
    }
    let block = try Block(byteCount: max(64, size), from: allocator, for: "weights")
    var loader = try ParameterLoader(tensors, packed, Arena(block.start), isMeasuring: false)
    return (try body(&loader), block)
  }

  // MARK: - Tensors

  mutating func tensor(_ name: String, shape: [Int]) throws(DitqError) -> (tensor: Tensor, type: ElementType) {
    try checkCall()
    let tensor = try tensors.require(name, shape: shape)
    markUsed(tensor.name)
    return (tensor, tensor.elementType!)
  }

  func contains(_ name: String) -> Bool { tensors.find(name) != nil }

  /// A tensor's elements as floats, copied.
  mutating func floats(_ name: String, shape: [Int]) throws(DitqError) -> UnsafePointer<Float> {
    let (tensor, type) = try tensor(name, shape: shape)
    let copy = arena.floats(tensor.elementCount)
    if !isMeasuring {
      for piece in stride(from: 0, to: tensor.elementCount, by: ParameterLoader.pieceCount) {
        try checkCall()
        let count = min(ParameterLoader.pieceCount, tensor.elementCount - piece)
        kernels.convert(tensor.start + piece * type.byteCount, type.kernelNumber, count, copy + piece)
      }
    }
    return UnsafePointer(copy)
  }

  /// A matrix [outputs, inputs], used where it stands; from one tensor, or three on top of each other.
  mutating func matrix(_ names: [String], outputs: Int, inputs: Int, shape tail: [Int]? = nil) throws(DitqError) -> StoredMatrix {
    var parts: [Tensor] = []
    for name in names { parts.append(try tensor(name, shape: [outputs / names.count] + (tail ?? [inputs])).tensor) }
    for part in parts where part.dtype != parts[0].dtype {
      throw DitqError(.unsupported, "\(part.name): dtype \(parts[0].dtype) expected, as \(parts[0].name) has, \(part.dtype) found")
    }
    return StoredMatrix(parts, type: parts[0].elementType!, inputs: inputs)
  }

  /// A linear layer: `weight` and `bias` of each name.
  mutating func linear(
    _ names: [String], outputs: Int, inputs: Int, shape tail: [Int]? = nil, mayBePacked: Bool = true
  ) throws(DitqError) -> Linear {
    let layer = mayBePacked ? packedLayer(names[0]) : nil
    let weights: Linear.Weights
    if let layer {
      weights = .integers(try integers(layer, outputs: outputs, inputs: inputs))
    } else {
      weights = .stored(try matrix(names.map { $0 + ".weight" }, outputs: outputs, inputs: inputs, shape: tail))
    }
    let bias = arena.floats(outputs)
    let part = outputs / names.count
    for (index, name) in names.enumerated() {
      let (tensor, type) = try tensor(name + ".bias", shape: [part])
      if !isMeasuring { kernels.convert(tensor.start, type.kernelNumber, part, bias + index * part) }
    }
    var result = Linear(weights: weights, outputs: outputs, inputs: inputs, bias: bias)
    result.activations = try layer.map { layer throws(DitqError) in try activations(layer) } ?? .floats
    let factors = names[0] + ".input_factors"
    if packed.mayBalance(names[0]) && contains(factors) { result.inputFactors = try floats(factors, shape: [inputs]) }
    return result
  }

  /// What rows are brought into for a packed layer: by NAME.input_ranges, a scale and a zero point for each bin, where the file has it.
  private mutating func activations(_ layer: PackedLayer) throws(DitqError) -> Linear.Activations {
    guard layer.activationBits == 8 else { return .floats }
    let name = layer.name + ".input_ranges", bins = packed.bins.timesteps.count
    guard contains(name) else { return .ownRange }
    let pairs = try floats(name, shape: [bins, 2])
    let ranges = arena.reserve(ActivationRange.self, bins)
    if !isMeasuring {
      for bin in 0..<bins { (ranges + bin).initialize(to: ActivationRange(unchecked: pairs[2 * bin], pairs[2 * bin + 1])) }
    }
    return .ranges(UnsafeBufferPointer(start: ranges, count: bins))
  }

  /// How a layer is packed; nil where it is in float.
  private mutating func packedLayer(_ name: String) -> PackedLayer? {
    guard let index = packed.index(of: name) else { return nil }
    usedLayers[index] = true
    return packed.layers[index]
  }

  /// A packed layer, used where it stands: NAME.weight, .weight.scales, .weight.sums, and of 4 bits .weight.zeros.
  private mutating func integers(_ layer: PackedLayer, outputs: Int, inputs: Int) throws(DitqError) -> IntegerWeights {
    try IntegerWeights.check(inputs: inputs, of: layer.name)
    let name = layer.name + ".weight"
    var shape = Arena()
    let expected = IntegerWeights(&shape, outputs: outputs, inputs: inputs, bits: layer.bits, group: layer.group)
    let panels = panelCount(outputs), scaleShape = [panels, expected.groups, panelColumns]
    let numbers = try packedTensor(name, "U8", [panels, expected.panelByteCount])
    let scales = try packedTensor(name + ".scales", "F32", scaleShape)
    let zeros = layer.bits == 4 ? try packedTensor(name + ".zeros", "U8", scaleShape) : numbers
    let sums = try packedTensor(name + ".sums", "F32", [panels, panelColumns])
    return expected.standing(numbers: numbers.start, scales: scales.start, zeros: zeros.start, sums: sums.start)
  }

  private mutating func packedTensor(_ name: String, _ dtype: String, _ shape: [Int]) throws(DitqError) -> Tensor {
    let tensor = try tensors.require(name, dtype: dtype, shape: shape)
    markUsed(name)
    return tensor
  }

  /// A convolution [outputs, inputs, size, size], packed in the order of the taps that the driver uses; or one of integers in the same order.
  mutating func convolution(_ name: String, outputs: Int, inputs: Int, size: Int) throws(DitqError) -> Convolution {
    let depth = inputs * size * size
    if let layer = packedLayer(name) {
      guard layer.bits == 8 && layer.group == 0 && layer.activationBits == 8 && inputs % 4 == 0 && size == 3 else {
        throw DitqError(
          .unsupported,
          "\(name): 8-bit weights by row, 8-bit activations, inputs of a multiple of 4 and 3×3 taps expected, "
            + "\(layer.bits), \(layer.group), \(layer.activationBits), \(inputs) and \(size) found")
      }
      return Convolution(
        inputs: inputs, outputs: outputs, size: size, weights: .integers(try integers(layer, outputs: outputs, inputs: depth)),
        bias: try floats(name + ".bias", shape: [outputs]))
    }
    let (tensor, type) = try tensor(name + ".weight", shape: [outputs, inputs, size, size])
    let panels = arena.floats(panelCount(outputs) * panelColumns, depth)
    if !isMeasuring { try packConvolution(tensor.start, type, outputs, inputs, taps: size * size, panels) }
    let bias = try floats(name + ".bias", shape: [outputs])
    return Convolution(inputs: inputs, outputs: outputs, size: size, weights: .floats(UnsafePointer(panels)), bias: bias)
  }

  private func packConvolution(
    _ source: UnsafeRawPointer, _ type: ElementType, _ outputs: Int, _ inputs: Int, taps: Int, _ panels: UnsafeMutablePointer<Float>
  ) throws(DitqError) {
    let depth = inputs * taps
    panels.initialize(repeating: 0, count: panelCount(outputs) * panelColumns * depth)
    try withUnsafeTemporaryAllocation(of: Float.self, capacity: depth) { row throws(DitqError) in
      for output in 0..<outputs {
        try checkCall()
        kernels.convert(source + output * depth * type.byteCount, type.kernelNumber, depth, row.baseAddress!)
        let target = panels + output / panelColumns * panelColumns * depth + output % panelColumns
        for input in 0..<inputs {
          for tap in 0..<taps { target[(tap * inputs + input) * panelColumns] = row[input * taps + tap] }
        }
      }
    }
  }

  /// `count` floats that a computation fills.
  mutating func computed(_ count: Int, _ fill: (UnsafeMutablePointer<Float>) -> Void) -> UnsafePointer<Float> {
    let values = arena.floats(count)
    if !isMeasuring { fill(values) }
    return UnsafePointer(values)
  }

  // MARK: - Completeness

  /// Whether a tensor holds the same numbers as another, which is asked for instead of it then.
  mutating func isCopy(_ copy: String, of original: String) throws(DitqError) -> Bool {
    guard let first = tensors.find(original), let second = tensors.find(copy) else {
      throw DitqError(.notFound, "\(copy): no such tensor")
    }
    markUsed(copy)
    return first.dtype == second.dtype && first.shape == second.shape && memcmp(first.start, second.start, first.byteCount) == 0
  }

  /// Refuses the file where it holds tensors that were not asked for, are no counters and whose names begin with none of `ignored`, or says how
  /// layers are packed that there are not.
  func requireAllUsed(ignoring ignored: [String] = []) throws(DitqError) {
    for (index, tensor) in tensors.tensors.enumerated() where !used[index] {
      guard tensor.isCounter || ignored.contains(where: { tensor.name.starts(withBytesOf: $0) }) else {
        throw DitqError(.unsupported, "\(tensor.name): a tensor that this architecture does not have")
      }
    }
    if let index = usedLayers.firstIndex(of: false) {
      throw DitqError(.unsupported, "ditq.layers: \(packed.layers[index].name): a layer that this architecture does not have packed")
    }
  }

  private mutating func markUsed(_ name: String) {
    if let index = tensors.index(of: name) { used[index] = true }
  }
}
