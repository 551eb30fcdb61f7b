// Pickle: Python's serialization (protocols 2 to 5), run as a machine that only arranges values: it imports and calls nothing. What a name
// of Python means to it stands in TorchPickle.swift. Values are numbers and indices into flat lists, so that neither depth nor cycles
// cost anything, and no count is believed beyond the bytes that are there. Refuses every other opcode by its number.

enum PickleValue {
  case none, bool(Bool), integer(Int)
  /// Bytes of the pickle, in UTF-8.
  case text(start: Int32, count: Int32)
  /// Indices into `lists`; a dict's keys and values take turns there.
  case list(Int), tuple(Int), dict(Int)
  /// Indices into `globals`, `storages` and `tensors`.
  case global(Int), storage(Int), tensor(Int)
  /// Fractions, bytes, namespaces: nothing that a tensor depends on.
  case other

  var kindName: String {
    switch self {
    case .none: "None"
    case .bool: "a bool"
    case .integer: "an integer"
    case .text: "a string"
    case .list: "a list"
    case .tuple: "a tuple"
    case .dict: "a dict"
    case .global: "a name"
    case .storage: "a storage"
    case .tensor: "a tensor"
    case .other: "something else"
    }
  }
}

final class PickleMachine {
  private let bytes: UnsafeRawBufferPointer
  let archive: TorchArchive
  private var reader: ByteReader
  private var stack: [PickleValue] = []
  /// Heights of the stack.
  private var marks: [Int] = []
  private var memo: [PickleValue] = []
  private var opcodeCount = 0
  var lists: [[PickleValue]] = []
  var globals: [String] = []
  var storages: [TorchStorage] = []
  var tensors: [TorchTensor] = []

  /// `bytes` are those of the pickle alone. A convenience initializer, as they may be too many: see Block.
  convenience init(_ bytes: UnsafeRawBufferPointer, in archive: TorchArchive) throws(DitqError) {
    guard bytes.count <= Limit.pickleByteCount else {
      throw DitqError(.unsupported, "\(bytes.count) bytes, more than \(Limit.pickleByteCount)")
    }
    self.init(checked: bytes, archive)
  }

  private init(checked bytes: UnsafeRawBufferPointer, _ archive: TorchArchive) {
    (self.bytes, self.archive) = (bytes, archive)
    reader = ByteReader(bytes, 0..<bytes.count)
  }

  /// The value that the pickle makes.
  func run() throws(DitqError) -> PickleValue {
    while true {
      let place = reader.position
      do throws(DitqError) {
        opcodeCount += 1
        try checkMemory()
        guard opcodeCount <= Limit.pickleOpcodes else { throw DitqError(.unsupported, "more than \(Limit.pickleOpcodes) opcodes") }
        let opcode = UInt8(try reader.number(1))
        if opcode == UInt8(ascii: ".") { return try pop() }
        if try constant(opcode) { continue }
        if try container(opcode) { continue }
        if try memory(opcode) { continue }
        if try call(opcode) { continue }
        throw DitqError(.unsupported, "opcode 0x\(hexadecimal([opcode])): only what torch.save writes is read, in protocols 2 to 5")
      } catch {
        throw error.said(of: "byte \(place)")
      }
    }
  }

  /// A string; nil when this is none, or one that is too long. Careful: a short pickle may ask for a long string again and again.
  func text(_ value: PickleValue) -> String? {
    guard case .text(let start, let count) = value, count <= Limit.pickleTextByteCount else { return nil }
    return DitqCore.text(bytes, Int(start)..<Int(start) + Int(count))
  }

  /// Careful: asked of each key that a short pickle names again and again, so nothing is made of their bytes.
  func isText(_ value: PickleValue, _ expected: String) -> Bool {
    guard case .text(let start, let count) = value, Int(count) == expected.utf8.count else { return false }
    return bytes[Int(start)..<Int(start) + Int(count)].elementsEqual(expected.utf8)
  }
}

// MARK: - The stack

extension PickleMachine {
  private func pop() throws(DitqError) -> PickleValue {
    guard stack.count > marks.last ?? 0 else { throw DitqError(.malformed, "a value expected on the stack") }
    return stack.removeLast()
  }

  /// The last `count` values, or all since the last mark.
  private func pop(_ count: Int?) throws(DitqError) -> [PickleValue] {
    let height: Int
    if let count {
      height = stack.count - count
      guard height >= marks.last ?? 0 else { throw DitqError(.malformed, "\(count) values expected on the stack") }
    } else {
      guard let mark = marks.popLast() else { throw DitqError(.malformed, "a mark expected on the stack") }
      height = mark
    }
    let values = Array(stack[height...])
    stack.removeLast(values.count)
    return values
  }

  @inline(never)
  private func push(_ value: PickleValue) { stack.append(value) }

  @inline(never)
  func newList(_ values: [PickleValue]) -> Int {
    lists.append(values)
    return lists.count - 1
  }
}

// MARK: - Opcodes, each by the character or number that Python's pickletools gives it; false where it is of another group

extension PickleMachine {
  private func constant(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "N"): push(.none)
    case 0x88, 0x89: push(.bool(opcode == 0x88))
    case UInt8(ascii: "J"): push(.integer(Int(Int32(truncatingIfNeeded: try reader.number(4)))))
    case UInt8(ascii: "K"): push(.integer(try reader.number(1)))
    case UInt8(ascii: "M"): push(.integer(try reader.number(2)))
    case 0x8a: push(try long(reader.number(1)))
    case 0x8b: push(try long(reader.number(4)))
    case UInt8(ascii: "G"): push(try skipped(8))
    case 0x8c: push(try string(reader.number(1)))
    case UInt8(ascii: "X"): push(try string(reader.number(4)))
    case 0x8d: push(try string(reader.number(8)))
    case UInt8(ascii: "C"): push(try skipped(reader.number(1)))
    case UInt8(ascii: "B"): push(try skipped(reader.number(4)))
    case 0x8e, 0x96: push(try skipped(reader.number(8)))
    default: return false
    }
    return true
  }

  private func container(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "("):
      guard marks.count < Limit.pickleNesting else { throw DitqError(.unsupported, "nested deeper than \(Limit.pickleNesting)") }
      marks.append(stack.count)
    case UInt8(ascii: ")"): push(.tuple(newList([])))
    case UInt8(ascii: "]"): push(.list(newList([])))
    case UInt8(ascii: "}"): push(.dict(newList([])))
    case UInt8(ascii: "t"): push(.tuple(newList(try pop(nil))))
    case 0x85...0x87: push(.tuple(newList(try pop(Int(opcode) - 0x84))))
    case UInt8(ascii: "a"): try extendList(pop(1))
    case UInt8(ascii: "e"): try extendList(pop(nil))
    case UInt8(ascii: "s"): try extendDict(pop(2))
    case UInt8(ascii: "u"): try extendDict(pop(nil))
    default: return false
    }
    return true
  }

  private func memory(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "q"): try put(reader.number(1))
    case UInt8(ascii: "r"): try put(reader.number(4))
    case 0x94: try put(memo.count)
    case UInt8(ascii: "h"): try get(reader.number(1))
    case UInt8(ascii: "j"): try get(reader.number(4))
    case UInt8(ascii: "0"): if stack.count > marks.last ?? 0 { _ = try pop() } else { _ = try pop(nil) }
    case UInt8(ascii: "1"): _ = try pop(nil)
    case UInt8(ascii: "2"):
      let top = try pop()
      push(top)
      push(top)
    default: return false
    }
    return true
  }

  private func call(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case 0x80:
      let version = try reader.number(1)
      guard (2...5).contains(version) else { throw DitqError(.unsupported, "protocol 2 to 5 expected, \(version) found") }
    case 0x95:  // A frame: the reader has all bytes at hand anyway.
      guard try reader.number(8) <= reader.end - reader.position else { throw DitqError(.malformed, "a frame that leaves the pickle") }
    case UInt8(ascii: "c"):
      let module = try line()
      push(try named(module + "." + line()))
    case 0x93:
      let parts = try pop(2)
      guard let module = text(parts[0]), let name = text(parts[1]) else {
        throw DitqError(.malformed, "two short strings expected as a name")
      }
      push(try named(module + "." + name))
    case UInt8(ascii: "R"), 0x81:
      let parts = try pop(2)
      push(try called(parts[0], with: parts[1]))
    case UInt8(ascii: "b"):
      let state = try pop()
      switch stack.last {
      case .dict(let index): if case .dict(let attributes) = state { lists[index] += lists[attributes] }
      case .other: break
      default: throw DitqError(.unsupported, "a state for \(stack.last?.kindName ?? "nothing")")
      }
    case UInt8(ascii: "Q"): push(try persistent(pop()))
    default: return false
    }
    return true
  }

  private func long(_ byteCount: Int) throws(DitqError) -> PickleValue {
    guard byteCount <= 8 else { return try skipped(byteCount) }
    let bits = try reader.bits(byteCount), unused = 64 - 8 * byteCount
    return .integer(Int(truncatingIfNeeded: bits << unused) >> unused)
  }

  private func skipped(_ byteCount: Int) throws(DitqError) -> PickleValue {
    _ = try reader.take(byteCount)
    return .other
  }

  private func string(_ byteCount: Int) throws(DitqError) -> PickleValue {
    let range = try reader.take(byteCount)
    return .text(start: Int32(range.lowerBound), count: Int32(range.count))
  }

  private func line() throws(DitqError) -> String { DitqCore.text(bytes, try reader.line(limit: Limit.pickleTextByteCount)) }

  private func put(_ index: Int) throws(DitqError) {
    // Careful: whatever is remembered was made by an opcode of its own, and so an index is smaller than the number of opcodes.
    guard index < opcodeCount else { throw DitqError(.malformed, "memo \(index) at opcode \(opcodeCount)") }
    guard stack.count > marks.last ?? 0, let top = stack.last else { throw DitqError(.malformed, "a value expected on the stack") }
    while memo.count <= index { memo.append(.none) }
    memo[index] = top
  }

  private func get(_ index: Int) throws(DitqError) {
    guard index < memo.count else { throw DitqError(.malformed, "memo \(index) is empty") }
    push(memo[index])
  }

  private func extendList(_ values: [PickleValue]) throws(DitqError) {
    guard case .list(let index) = stack.last else {
      throw DitqError(.malformed, "a list expected, \(stack.last?.kindName ?? "nothing") found")
    }
    lists[index] += values
  }

  private func extendDict(_ values: [PickleValue]) throws(DitqError) {
    guard case .dict(let index) = stack.last else {
      throw DitqError(.malformed, "a dict expected, \(stack.last?.kindName ?? "nothing") found")
    }
    guard values.count % 2 == 0 else { throw DitqError(.malformed, "keys and values expected, \(values.count) found") }
    lists[index] += values
  }
}
