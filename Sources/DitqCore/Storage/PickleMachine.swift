// PickleMachine: Python's serialization (all of protocols 0 to 5), run as a machine that only arranges values into a graph: it imports and
// calls nothing, and no count is believed beyond the bytes that are there. Refuses unknown opcodes by their number, buffers out of band,
// which no file has, and values where Python itself would find none. The opcodes stand in PickleOpcodes.swift.

/// Careful: as a struct it would be copied, stack and all, wherever a method's argument is popped.
final class PickleMachine {
  let graph: PickleGraph
  var reader: ByteReader
  var stack: [PickleValue] = []
  /// Heights of the stack.
  var marks: [Int] = []
  var memo: [PickleValue?] = []
  private var opcodeCount = 0

  /// The graph that a pickle makes, and the value that it is of. `bytes` are those of the pickle alone.
  static func run(_ bytes: UnsafeRawBufferPointer) throws(DitqError) -> (PickleGraph, root: PickleValue) {
    guard bytes.count <= Limit.pickleByteCount else {
      throw DitqError(.unsupported, "\(bytes.count) bytes, more than \(Limit.pickleByteCount)")
    }
    let machine = PickleMachine(bytes)
    let root = try machine.run()
    return (machine.graph, root)
  }

  private init(_ bytes: UnsafeRawBufferPointer) {
    graph = PickleGraph(bytes)
    reader = ByteReader(bytes, 0..<bytes.count)
  }

  private func run() throws(DitqError) -> PickleValue {
    while true {
      let place = reader.position
      do throws(DitqError) {
        opcodeCount += 1
        try checkCall()
        guard opcodeCount <= Limit.pickleOpcodes else { throw DitqError(.unsupported, "more than \(Limit.pickleOpcodes) opcodes") }
        let opcode = UInt8(try reader.number(1))
        if opcode == UInt8(ascii: ".") { return try pop() }
        if try number(opcode) { continue }
        if try string(opcode) { continue }
        if try container(opcode) { continue }
        if try memory(opcode) { continue }
        if try object(opcode) { continue }
        throw DitqError(.unsupported, "opcode 0x\(hexadecimal([opcode])): none of protocols 0 to 5")
      } catch {
        throw error.said(of: "byte \(place)")
      }
    }
  }
}

// MARK: - The stack

extension PickleMachine {
  func pop() throws(DitqError) -> PickleValue {
    guard stack.count > marks.last ?? 0 else { throw DitqError(.malformed, "a value expected on the stack") }
    return stack.removeLast()
  }

  /// Where the last `count` values begin, or all since the last mark, which is gone then.
  func height(below count: Int?) throws(DitqError) -> Int {
    guard let count else {
      guard let mark = marks.popLast() else { throw DitqError(.malformed, "a mark expected on the stack") }
      return mark
    }
    guard stack.count - count >= marks.last ?? 0 else { throw DitqError(.malformed, "\(count) values expected on the stack") }
    return stack.count - count
  }

  @inline(never)
  func push(_ value: PickleValue) throws(DitqError) {
    try stack.add(value)
  }

  /// The last `count` values, or all since the last mark, as elements of the graph.
  func popElements(_ count: Int?) throws(DitqError) -> PickleTuple {
    let height = try height(below: count)
    defer { stack.removeLast(stack.count - height) }
    return try graph.newElements(stack, from: height)
  }

  func popTuple() throws(DitqError) -> PickleTuple {
    let value = try pop()
    guard case .tuple(let start, let count) = value else {
      throw DitqError(.malformed, "a tuple of arguments expected, \(graph.kind(of: value)) found")
    }
    return PickleTuple(start: start, count: count)
  }

  /// What stands right below a height, where that is not behind the last mark.
  func value(below height: Int) -> PickleValue? { height > marks.last ?? 0 ? stack[height - 1] : nil }

  func expected(_ what: String, below height: Int) -> DitqError {
    DitqError(.malformed, "\(what) expected, \(value(below: height).map { graph.kind(of: $0) } ?? "nothing") found")
  }
}

// MARK: - What opcodes have in common

extension PickleMachine {
  func long(_ byteCount: Int) throws(DitqError) -> PickleValue {
    guard byteCount <= 8 else {
      _ = try reader.take(byteCount)
      return .opaque(.largeInteger)
    }
    let bits = try reader.bits(byteCount), unused = 64 - 8 * byteCount
    return .integer(Int(truncatingIfNeeded: bits << unused) >> unused)
  }

  /// A line: I 12, I 01 for True, L 12L, of any length.
  func decimal(_ opcode: UInt8) throws(DitqError) -> PickleValue {
    var digits = try reader.line(limit: .max)
    if graph.bytes[digits].last == UInt8(ascii: "L") { digits = digits.lowerBound..<digits.upperBound - 1 }
    let text = DitqCore.text(graph.bytes, digits)
    if opcode == UInt8(ascii: "I"), text == "00" || text == "01" { return .bool(text == "01") }
    if let number = Int(text) { return .integer(number) }
    let isDigit = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard text.utf8.count > 1, text.utf8.dropFirst().allSatisfy({ isDigit.contains($0) }) else {
      throw DitqError(.malformed, "digits expected in a line of \(digits.count) bytes")
    }
    return .opaque(.largeInteger)
  }

  /// A line: F 1.5.
  func fraction() throws(DitqError) -> PickleValue {
    let line = try reader.line(limit: Limit.pickleTextByteCount)
    switch DitqCore.text(graph.bytes, line) {
    case "nan": return .fraction(.nan)
    case "inf": return .fraction(.infinity)
    case "-inf": return .fraction(-.infinity)
    default:
      guard let number = try JSON(parsing: UnsafeRawBufferPointer(rebasing: graph.bytes[line])).number else {
        throw DitqError(.malformed, "a number expected in a line of \(line.count) bytes")
      }
      return .fraction(number)
    }
  }

  func index() throws(DitqError) -> Int {
    guard case .integer(let index) = try decimal(UInt8(ascii: "L")), index >= 0 else {
      throw DitqError(.malformed, "a number from 0 expected")
    }
    return index
  }

  func text(_ range: Range<Int>) -> PickleValue { .text(start: Int32(range.lowerBound), count: Int32(range.count)) }

  func line(_ range: Range<Int>) -> PickleValue {
    graph.bytes[range].contains(UInt8(ascii: "\\")) ? .opaque(.escapedText) : text(range)
  }

  func pushBytes(_ byteCount: Int) throws(DitqError) {
    _ = try reader.take(byteCount)
    try push(.opaque(.bytes))
  }

  func pushTuple(_ tuple: PickleTuple) throws(DitqError) { try push(.tuple(start: tuple.start, count: tuple.count)) }

  func nameInLines() throws(DitqError) -> PickleValue {
    let module = try reader.line(limit: Limit.pickleTextByteCount)
    return try graph.newName(module, reader.line(limit: Limit.pickleTextByteCount))
  }

  func nameOnStack() throws(DitqError) -> PickleValue {
    let (name, module) = (try pop(), try pop()), limit = Int32(Limit.pickleTextByteCount)
    guard case .text(let moduleStart, 0...limit) = module, case .text(let start, 0...limit) = name,
      case .text(_, let moduleCount) = module, case .text(_, let count) = name
    else { throw DitqError(.malformed, "two short strings expected as a name") }
    return try graph.newName(Int(moduleStart)..<Int(moduleStart + moduleCount), Int(start)..<Int(start + count))
  }

  func called(_ callee: PickleValue, _ arguments: PickleTuple) throws(DitqError) -> PickleValue {
    switch callee {
    case .name, .object, .opaque(.extensionCode): try graph.newObject(callee, arguments)
    default: throw DitqError(.malformed, "a class or function expected, \(graph.kind(of: callee)) found")
    }
  }

  func put(_ index: Int) throws(DitqError) {
    // Careful: whatever is remembered was made by an opcode of its own, and so an index is smaller than the number of opcodes.
    guard index < opcodeCount else { throw DitqError(.malformed, "memo \(index) at opcode \(opcodeCount)") }
    guard stack.count > marks.last ?? 0, let top = stack.last else { throw DitqError(.malformed, "a value expected on the stack") }
    try memo.makeRoom(for: max(0, index + 1 - memo.count))
    while memo.count <= index { memo.append(nil) }
    memo[index] = top
  }

  func get(_ index: Int) throws(DitqError) {
    guard index < memo.count, let value = memo[index] else { throw DitqError(.malformed, "memo \(index) is empty") }
    try push(value)
  }

  /// Moves what stands above a height.
  func add(from height: Int, to container: Int32, inPairs: Bool) throws(DitqError) {
    let count = stack.count - height
    guard !inPairs || count % 2 == 0 else { throw DitqError(.malformed, "keys and values expected, \(count) found") }
    try graph.add(stack, from: height, to: container)
    stack.removeLast(count)
  }

  func extendList(_ height: Int) throws(DitqError) {
    switch value(below: height) {
    case .list(let list): try add(from: height, to: list, inPairs: false)
    case .object: stack.removeLast(stack.count - height)  // What is appended to an object is not asked for.
    default: throw expected("a list", below: height)
    }
  }

  func extendDict(_ height: Int) throws(DitqError) {
    switch value(below: height) {
    case .dict(let dict): try add(from: height, to: dict, inPairs: true)
    case .object(let object): try add(from: height, to: graph.items(ofObject: object), inPairs: true)
    default: throw expected("a dict", below: height)
    }
  }

  func extendSet(_ height: Int) throws(DitqError) {
    switch value(below: height) {
    case .opaque(.set), .object: stack.removeLast(stack.count - height)
    default: throw expected("a set", below: height)
    }
  }
}
