// Tensor: a named array of numbers inside a file's bytes. TensorCollection: the tensors of a model, found by name.
// Relies on Platform; knows no file format. Refuses two tensors of one name, and names the tensor in every error.

/// The element types that weights may have.
enum ElementType {
  case f32, f16, bf16

  /// In the file's words.
  var name: String {
    switch self {
    case .f32: "F32"
    case .f16: "F16"
    case .bf16: "BF16"
    }
  }

  var byteCount: Int {
    switch self {
    case .f32: 4
    case .f16, .bf16: 2
    }
  }
}

/// Row-major elements at `start`, little endian, not necessarily aligned; they live as long as the collection that the tensor came from.
struct Tensor {
  let name: String
  /// The element type in the file's words: "F32", "I64".
  let dtype: String
  let shape: [Int]
  let start: UnsafeRawPointer
  let byteCount: Int
  let elementCount: Int

  /// Whether it counts or indexes ("num_batches_tracked"), which is no weight.
  var isCounter: Bool { dtype == "I64" }

  /// nil when these elements are no weights.
  var elementType: ElementType? {
    switch dtype {
    case "F32": .f32
    case "F16": .f16
    case "BF16": .bf16
    default: nil
    }
  }
}

/// Of an element, by its type in a file's words; nil where that is not known.
func byteCount(ofDtype dtype: String) -> Int? {
  switch dtype {
  case "F64", "I64", "U64": 8
  case "F32", "I32", "U32": 4
  case "F16", "BF16", "I16", "U16": 2
  case "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2": 1
  default: nil
  }
}

/// nil where no Int can hold it.
func product(_ factors: [Int]) -> Int? {
  var product = 1
  for factor in factors {
    let (next, overflow) = product.multipliedReportingOverflow(by: factor)
    guard !overflow else { return nil }
    product = next
  }
  return product
}

extension Tensor {
  fileprivate func renamed(droppingPrefix prefix: String) -> Tensor {
    Tensor(
      name: name.bytes(from: prefix.utf8.count), dtype: dtype, shape: shape, start: start, byteCount: byteCount, elementCount: elementCount)
  }
}

/// A tensor of a class that only its own code reads.
struct OpaqueTensor {
  let name: String
  /// The class, in words.
  let kind: String
}

final class TensorCollection {
  /// In the order of the file. Of merged files, one after the other: the first of a name counts.
  let metadata: [(name: String, value: String)]
  /// In the byte order of their names.
  let tensors: [Tensor]
  /// In the order of the file.
  private let opaque: [OpaqueTensor]
  private let files: [Bytes]

  /// A convenience initializer, as names may repeat: see Block.
  convenience init(
    _ tensors: [Tensor], opaque: [OpaqueTensor] = [], metadata: [(name: String, value: String)], in files: [Bytes]
  ) throws(DitqError) {
    let (order, repeated) = try order(ofNames: tensors.mapped { $0.name })
    if let repeated { throw DitqError(.malformed, "\(tensors[repeated].name): two tensors of this name") }
    self.init(sorted: try order.mapped { tensors[$0] }, opaque, metadata, files)
  }

  private init(sorted tensors: [Tensor], _ opaque: [OpaqueTensor], _ metadata: [(name: String, value: String)], _ files: [Bytes]) {
    (self.tensors, self.opaque, self.metadata, self.files) = (tensors, opaque, metadata, files)
  }

  /// The tensors of several files as one collection.
  convenience init(merging parts: [TensorCollection]) throws(DitqError) {
    var tensors: [Tensor] = [], opaque: [OpaqueTensor] = [], metadata: [(name: String, value: String)] = [], files: [Bytes] = []
    for part in parts {
      for tensor in part.tensors { try tensors.add(tensor) }
      for each in part.opaque { try opaque.add(each) }
      for entry in part.metadata { try metadata.add(entry) }
      for file in part.files { try files.add(file) }
    }
    try self.init(tensors, opaque: opaque, metadata: metadata, in: files)
  }

  /// The tensors whose names begin with a prefix, under the rest of their names; or all the others.
  func part(under prefix: String, inverted: Bool = false) throws(DitqError) -> TensorCollection {
    let chosen = try tensors.kept { $0.name.starts(withBytesOf: prefix) != inverted }
    let opaque = try opaque.kept { $0.name.starts(withBytesOf: prefix) != inverted }
    guard !inverted else { return try TensorCollection(chosen, opaque: opaque, metadata: metadata, in: files) }
    return try TensorCollection(
      chosen.mapped { $0.renamed(droppingPrefix: prefix) },
      opaque: opaque.mapped { OpaqueTensor(name: $0.name.bytes(from: prefix.utf8.count), kind: $0.kind) }, metadata: metadata, in: files)
  }

  /// Of all files together.
  var fileByteCount: Int { files.reduce(0) { $0 + $1.count } }

  /// Whether some of the tensors are in this file, as it is mapped.
  func isMapped(from file: FileIdentity) -> Bool { files.contains { $0.file == file } }

  /// What was read of mapped files need not stay in memory.
  func forgetPages() { for file in files { file.forgetPages() } }

  func find(_ name: String) -> Tensor? { index(of: name).map { tensors[$0] } }

  /// Where in `tensors` a name stands.
  func index(of name: String) -> Int? {
    let index = firstIndex(notBefore: name)
    return index < tensors.count && tensors[index].name == name ? index : nil
  }

  /// The names that begin with these bytes, in order.
  func names(startingWith prefix: String) throws(DitqError) -> [String] {
    // What begins with the prefix stands together, from the prefix itself on.
    var names: [String] = [], index = firstIndex(notBefore: prefix)
    while index < tensors.count && tensors[index].name.starts(withBytesOf: prefix) {
      try names.add(tensors[index].name)
      index += 1
    }
    return names
  }

  /// The weights of this name and shape.
  func require(_ name: String, shape: [Int]) throws(DitqError) -> Tensor {
    let tensor = try requireWeights(name)
    guard tensor.shape == shape else {
      throw DitqError(.malformed, "\(name): shape \(text(ofShape: shape)) expected, \(text(ofShape: tensor.shape)) found")
    }
    return tensor
  }

  /// The tensor of this name, type and shape.
  func require(_ name: String, dtype: String, shape: [Int]) throws(DitqError) -> Tensor {
    guard let tensor = find(name) else { throw missing(name) }
    guard tensor.dtype == dtype && tensor.shape == shape else {
      throw DitqError(
        .malformed, "\(name): \(dtype) \(text(ofShape: shape)) expected, \(tensor.dtype) \(text(ofShape: tensor.shape)) found")
    }
    return tensor
  }

  /// The weights of this name, with so many dimensions.
  func requireAnyShape(_ name: String, rank: Int) throws(DitqError) -> Tensor {
    let tensor = try requireWeights(name)
    guard tensor.shape.count == rank else {
      throw DitqError(.malformed, "\(name): a shape of rank \(rank) expected, \(text(ofShape: tensor.shape)) found")
    }
    return tensor
  }

  private func requireWeights(_ name: String) throws(DitqError) -> Tensor {
    guard let tensor = find(name) else { throw missing(name) }
    guard tensor.elementType != nil else {
      throw DitqError(.unsupported, "\(name): dtype F32, F16 or BF16 expected, \(tensor.dtype) found")
    }
    return tensor
  }

  /// The file has no numbers of this name.
  private func missing(_ name: String) -> DitqError {
    if let opaque = opaque.first(where: { $0.name == name }) {
      return DitqError(.unsupported, "\(name): a plain tensor expected, \(opaque.kind) found: its numbers are read by its own code alone")
    }
    return DitqError(.notFound, "\(name): no such tensor")
  }

  private func firstIndex(notBefore name: String) -> Int { firstPlace(notBefore: name, of: tensors.count) { tensors[$0].name } }
}
