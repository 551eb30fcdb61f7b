// PickleGraph: the values that a pickle makes, in flat lists that refer to each other by index, so that neither depth nor cycles cost
// anything. Texts and names stay in the pickle's bytes. An object is what would have been called, and with what: nothing is ever called.
// PickleMachine makes it; what a name of Python means stands in TorchPickle.swift. Refuses nothing.

enum PickleValue {
  case none, bool(Bool), integer(Int), fraction(Double)
  /// Bytes of the pickle, in UTF-8.
  case text(start: Int32, count: Int32)
  /// Elements that follow each other.
  case tuple(start: Int32, count: Int32)
  /// Indices into `containers`; a dict's keys and values take turns there.
  case list(Int32), dict(Int32)
  /// Indices into `names` and `objects`.
  case name(Int32), object(Int32)
  /// What stands outside of the pickle: the place of its id among the elements.
  case persistent(Int32)
  case opaque(OpaqueValue)
}

/// Values that nothing is read from.
enum OpaqueValue {
  case bytes, set, largeInteger, escapedText, extensionCode
}

/// A class or function of Python: bytes of the pickle.
struct PickledName {
  let module: Range<Int32>
  let name: Range<Int32>
}

struct PickledObject {
  /// Its class, or the function whose result it is: a name, or another object.
  let callee: PickleValue
  let arguments: PickleTuple
  var state: PickleValue?
  /// The dict of what was set in it by key.
  var items: Int32?
}

struct PickleTuple {
  let start: Int32
  let count: Int32
}

final class PickleGraph {
  /// Those of the pickle alone.
  let bytes: UnsafeRawBufferPointer
  private(set) var elements: [PickleValue] = []
  private(set) var names: [PickledName] = []
  private(set) var objects: [PickledObject] = []
  private var containers: [Container] = []
  fileprivate private(set) var pieces: [Piece] = []

  /// Pieces that follow each other; -1 where there is none.
  private struct Container {
    var first: Int32 = -1
    var last: Int32 = -1
  }

  /// Elements that were added together.
  fileprivate struct Piece {
    let start: Int32
    let count: Int32
    var next: Int32 = -1
  }

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }
}

// MARK: - Making it

extension PickleGraph {
  /// The values of a list from a place on. Careful: a slice of the list would share it, and the list then be copied where it is shortened.
  func newElements(_ values: [PickleValue], from start: Int = 0) throws(DitqError) -> PickleTuple {
    let tuple = PickleTuple(start: Int32(elements.count), count: Int32(values.count - start))
    try elements.makeRoom(for: values.count - start)
    for place in start..<values.count { elements.append(values[place]) }
    return tuple
  }

  /// Of a list or dict.
  func newContainer() throws(DitqError) -> Int32 {
    try containers.add(Container())
    return Int32(containers.count - 1)
  }

  func add(_ values: [PickleValue], from start: Int, to container: Int32) throws(DitqError) {
    guard start < values.count else { return }
    let added = try newElements(values, from: start), last = containers[Int(container)].last, piece = Int32(pieces.count)
    try pieces.add(Piece(start: added.start, count: added.count))
    if last < 0 { containers[Int(container)].first = piece } else { pieces[Int(last)].next = piece }
    containers[Int(container)].last = piece
  }

  func newName(_ module: Range<Int>, _ name: Range<Int>) throws(DitqError) -> PickleValue {
    func narrow(_ range: Range<Int>) -> Range<Int32> { Int32(range.lowerBound)..<Int32(range.upperBound) }
    try names.add(PickledName(module: narrow(module), name: narrow(name)))
    return .name(Int32(names.count - 1))
  }

  func newObject(_ callee: PickleValue, _ arguments: PickleTuple) throws(DitqError) -> PickleValue {
    try objects.add(PickledObject(callee: callee, arguments: arguments))
    return .object(Int32(objects.count - 1))
  }

  func setState(_ state: PickleValue, of object: Int32) { objects[Int(object)].state = state }

  /// The dict of an object's items, made where it has none yet.
  func items(ofObject object: Int32) throws(DitqError) -> Int32 {
    if let items = objects[Int(object)].items { return items }
    let items = try newContainer()
    objects[Int(object)].items = items
    return items
  }
}

// MARK: - Looking at it

extension PickleGraph {
  var containerCount: Int { containers.count }

  /// The elements of a tuple.
  subscript(_ tuple: PickleTuple) -> ArraySlice<PickleValue> { elements[Int(tuple.start)..<Int(tuple.start) + Int(tuple.count)] }

  /// A dict's keys and values, in the order in which they were set.
  func items(_ dict: Int32) -> PickleItems { PickleItems(self, piece: containers[Int(dict)].first) }

  /// The bytes of a string; nil where this is none.
  func textBytes(_ value: PickleValue) -> UnsafeRawBufferPointer? {
    guard case .text(let start, let count) = value else { return nil }
    return UnsafeRawBufferPointer(rebasing: bytes[Int(start)..<Int(start) + Int(count)])
  }

  /// A string; nil where this is none, or one that is too long. Careful: a short pickle may ask for a long string again and again.
  func text(_ value: PickleValue, limit: Int = Limit.pickleTextByteCount) -> String? {
    guard let bytes = textBytes(value), bytes.count <= limit else { return nil }
    return DitqCore.text(bytes, 0..<bytes.count)
  }

  /// Careful: asked of each key that a short pickle names again and again, so nothing is made of their bytes.
  func isText(_ value: PickleValue, _ expected: String) -> Bool {
    guard let bytes = textBytes(value) else { return false }
    return isEqual(bytes, expected)
  }

  /// "torch._utils._rebuild_tensor_v2"; nil where this names nothing. Careful: the same holds for names.
  func name(_ value: PickleValue) -> String? {
    guard case .name(let index) = value else { return nil }
    let name = names[Int(index)]
    guard name.module.count + name.name.count <= 256 else { return "a class with a long name" }
    func part(_ range: Range<Int32>) -> String { DitqCore.text(bytes, Int(range.lowerBound)..<Int(range.upperBound)) }
    return part(name.module) + "." + part(name.name)
  }

  /// "a string", for errors.
  func kind(of value: PickleValue) -> String {
    switch value {
    case .none: "None"
    case .bool: "a bool"
    case .integer: "an integer"
    case .fraction: "a fraction"
    case .text, .opaque(.escapedText): "a string"
    case .list: "a list"
    case .tuple: "a tuple"
    case .dict: "a dict"
    case .name: "a name"
    case .object: isTensor(value) ? "a tensor" : "an object of \(className(of: value))"
    case .persistent: "a storage"
    case .opaque(.bytes): "bytes"
    case .opaque(.set): "a set"
    case .opaque(.largeInteger): "an integer of more than 64 bits"
    case .opaque(.extensionCode): "an extension"
    }
  }
}

struct PickleItems: Sequence, IteratorProtocol {
  private let graph: PickleGraph
  private var nextPiece: Int32
  private var place = 0
  private var end = 0

  fileprivate init(_ graph: PickleGraph, piece: Int32) { (self.graph, nextPiece) = (graph, piece) }

  mutating func next() -> (key: PickleValue, value: PickleValue)? {
    if place == end {
      guard nextPiece >= 0 else { return nil }
      let piece = graph.pieces[Int(nextPiece)]
      (place, end, nextPiece) = (Int(piece.start), Int(piece.start + piece.count), piece.next)
    }
    place += 2
    return (graph.elements[place - 2], graph.elements[place - 1])
  }
}
