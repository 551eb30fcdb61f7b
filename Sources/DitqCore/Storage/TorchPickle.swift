// What the objects in a pickle of torch.save mean: tensors, parameters, storages, dtypes. An extension of the graph in PickleGraph.swift, asked
// about what weights are read from alone: all else in a file stays an object of some class, whatever it is. Refuses storages that leave
// their bytes, and says which class it is where a weight is of one that is not known.

/// The dtype of a class of storages, or of a dtype.
private func dtype(ofTorch name: String) -> String? {
  switch name {
  case "torch.FloatStorage", "torch.float32": "F32"
  case "torch.HalfStorage", "torch.float16": "F16"
  case "torch.BFloat16Storage", "torch.bfloat16": "BF16"
  case "torch.DoubleStorage", "torch.float64": "F64"
  case "torch.LongStorage", "torch.int64": "I64"
  case "torch.IntStorage", "torch.int32": "I32"
  case "torch.ShortStorage", "torch.int16": "I16"
  case "torch.CharStorage", "torch.int8": "I8"
  case "torch.ByteStorage", "torch.uint8", "torch.storage.UntypedStorage": "U8"
  case "torch.BoolStorage", "torch.bool": "BOOL"
  case "torch.uint64": "U64"
  case "torch.uint32": "U32"
  case "torch.uint16": "U16"
  case "torch.float8_e4m3fn": "F8_E4M3"
  case "torch.float8_e5m2": "F8_E5M2"
  default: nil
  }
}

/// Functions of torch that make a tensor of their arguments.
private enum TensorFunction {
  /// (storage, offset, sizes, strides, requires_grad, hooks, …, how its numbers are to be read); with a dtype of its own before the last.
  case numbers, typedNumbers
  /// (tensor, …): the same tensor.
  case parameter
  /// (function, class, arguments, …): what that function makes, as an object of the class.
  case subclass

  init?(_ name: String) {
    switch name {
    case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2": self = .numbers
    case "torch._utils._rebuild_tensor_v3": self = .typedNumbers
    case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state": self = .parameter
    case "torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2": self = .subclass
    default: return nil
    }
  }
}

/// A call of a function that makes a tensor of numbers.
struct TensorCall {
  let isTyped: Bool
  let arguments: PickleTuple
}

/// What a weight turned out to be.
enum TorchWeight {
  case numbers(TorchTensor)
  /// Numbers that only a class knows how to read, in words.
  case opaque(String)
}

extension PickleGraph {
  /// The call behind a tensor, or behind a parameter; nil for everything else. A parameter of a parameter of … is followed a few times.
  func tensorCall(_ value: PickleValue) -> TensorCall? {
    var value = value
    for _ in 0..<8 {
      guard case .object(let index) = value else { return nil }
      let object = objects[Int(index)], arguments = self[object.arguments]
      guard object.state == nil, let name = name(object.callee), let function = TensorFunction(name) else { return nil }
      switch function {
      case .numbers, .typedNumbers: return TensorCall(isTyped: function == .typedNumbers, arguments: object.arguments)
      case .parameter:
        guard let tensor = arguments.first else { return nil }
        value = tensor
      case .subclass:
        let parts = Array(arguments.prefix(3))
        guard parts.count == 3, isPlain(parts[1]), case .tuple(let start, let count) = parts[2], let inner = self.name(parts[0]),
          let made = TensorFunction(inner), made == .numbers || made == .typedNumbers
        else { return nil }
        return TensorCall(isTyped: made == .typedNumbers, arguments: PickleTuple(start: start, count: count))
      }
    }
    return nil
  }

  /// Whether a class has the numbers of a tensor as they are: torch writes its own so where somebody gave a tensor attributes.
  private func isPlain(_ type: PickleValue) -> Bool {
    switch name(type) ?? "" {
    case "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer": true
    default: false
    }
  }

  /// Whether torch makes a tensor of this, of whatever kind.
  func isTensor(_ value: PickleValue) -> Bool {
    guard case .object(let index) = value, let name = name(objects[Int(index)].callee) else { return false }
    return name.starts(withBytesOf: "torch._utils._rebuild_") || name.starts(withBytesOf: "torch._tensor._rebuild_")
  }

  /// The class of an object, or the function that it is a result of, as a sentence names it.
  func className(of value: PickleValue) -> String {
    var value = value
    for _ in 0..<8 {
      guard case .object(let index) = value else { return kind(of: value) }
      let object = objects[Int(index)], arguments = Array(self[object.arguments].prefix(2))
      guard let name = name(object.callee) else {
        value = object.callee
        continue
      }
      switch name {
      case "copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct":
        return arguments.first.flatMap { self.name($0) } ?? name
      default: break
      }
      switch TensorFunction(name) {
      case .subclass?: return arguments.last.flatMap { self.name($0) } ?? name
      case .parameter?:
        guard let tensor = arguments.first, case .object = tensor else { return name }
        value = tensor
      default: return name
      }
    }
    return "a class within classes"
  }

  func weight(_ object: Int32, in archive: TorchArchive) throws(DitqError) -> TorchWeight {
    guard let call = tensorCall(.object(object)) else {
      return .opaque(className(of: .object(object)) + (objects[Int(object)].state == nil ? "" : " with a state of its own"))
    }
    // Careful: any number of tensors may name one tuple of any length.
    let arguments = Array(self[call.arguments].prefix(8))
    guard arguments.count >= (call.isTyped ? 7 : 4), case .integer(let offset) = arguments[1],
      case .tuple(let sizes, let rank) = arguments[2],
      case .tuple(let steps, let stepCount) = arguments[3]
    else { throw DitqError(.malformed, "a storage, an offset, sizes and strides expected") }
    // The last argument tells of numbers that are to be negated or conjugated as they are read.
    let metadata = call.isTyped ? 7 : 6
    if arguments.count > metadata, case .dict(let dict) = arguments[metadata], items(dict).contains(where: { _ in true }) {
      return .opaque("a view with its own sign")
    }
    var own: String?
    if call.isTyped {
      guard let name = name(arguments[6]) else { throw DitqError(.malformed, "a dtype expected, \(kind(of: arguments[6])) found") }
      own = dtype(ofTorch: name)
      guard own != nil else { return .opaque(name) }
    }
    let (storage, type) = try storage(arguments[0], in: archive)
    guard let storage else { return .opaque(type) }
    let shape = try integers(PickleTuple(start: sizes, count: rank)), strides = try integers(PickleTuple(start: steps, count: stepCount))
    return .numbers(try TorchTensor(storage, own, offset: offset, shape: shape, strides: strides))
  }

  /// What ("storage", class, key, location, elements) stands for, of which the entry FOLDER/data/KEY holds the bytes, and its class; nil where
  /// nothing is known of that.
  private func storage(_ value: PickleValue, in archive: TorchArchive) throws(DitqError) -> (TorchStorage?, type: String) {
    guard case .persistent(let place) = value, case .tuple(let start, 5) = elements[Int(place)] else {
      throw DitqError(.malformed, "a storage expected, \(kind(of: value)) found")
    }
    let id = Array(self[PickleTuple(start: start, count: 5)])
    guard isText(id[0], "storage"), let type = name(id[1]), let key = text(id[2], limit: TorchArchive.keyByteCount),
      case .integer(let count) = id[4]
    else { throw DitqError(.malformed, "storage: (\"storage\", class, key, location, elements) expected") }
    guard let dtype = dtype(ofTorch: type) else { return (nil, type) }
    guard let entry = archive.storage(key) else {
      throw DitqError(.malformed, "storage \(jsonLiteral(key)): the zip has no \(jsonLiteral("data/" + key))")
    }
    guard count >= 0, let byteCount = product([count, byteCount(ofDtype: dtype)!]), byteCount <= entry.byteCount else {
      throw DitqError(.malformed, "storage \(jsonLiteral(key)): \(entry.byteCount) bytes found, too few for \(count) elements of \(dtype)")
    }
    return (TorchStorage(dtype: dtype, start: archive.bytes.baseAddress! + entry.start, byteCount: byteCount), type)
  }

  private func integers(_ tuple: PickleTuple) throws(DitqError) -> [Int] {
    guard tuple.count <= Limit.rank else { throw DitqError(.unsupported, "a tensor of rank \(tuple.count), more than \(Limit.rank)") }
    var integers: [Int] = []
    for value in self[tuple] {
      guard case .integer(let integer) = value, integer >= 0 else { throw DitqError(.malformed, "sizes and strides from 0 expected") }
      integers.append(integer)
    }
    return integers
  }
}
