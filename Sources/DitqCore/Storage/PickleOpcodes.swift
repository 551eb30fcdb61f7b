// The opcodes of Python's serialization, each by the character or number that Python's pickletools gives it, in groups that answer with false
// where an opcode is of another. An extension of the machine in PickleMachine.swift.

extension PickleMachine {
  func number(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "N"): try push(.none)
    case 0x88, 0x89: try push(.bool(opcode == 0x88))
    case UInt8(ascii: "J"): try push(.integer(Int(Int32(truncatingIfNeeded: try reader.number(4)))))
    case UInt8(ascii: "K"): try push(.integer(try reader.number(1)))
    case UInt8(ascii: "M"): try push(.integer(try reader.number(2)))
    case 0x8a: try push(try long(reader.number(1)))
    case 0x8b: try push(try long(reader.number(4)))
    case UInt8(ascii: "G"): try push(.fraction(Double(bitPattern: try reader.bits(8).byteSwapped)))
    case UInt8(ascii: "I"), UInt8(ascii: "L"): try push(try decimal(opcode))
    case UInt8(ascii: "F"): try push(try fraction())
    default: return false
    }
    return true
  }

  func string(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case 0x8c, UInt8(ascii: "U"): try push(text(reader.take(reader.number(1))))
    case UInt8(ascii: "X"), UInt8(ascii: "T"): try push(text(reader.take(reader.number(4))))
    case 0x8d: try push(text(reader.take(reader.number(8))))
    case UInt8(ascii: "V"): try push(line(reader.line(limit: .max)))
    case UInt8(ascii: "S"):
      let quoted = try reader.line(limit: .max)
      let ends = (graph.bytes[quoted].first, graph.bytes[quoted].last)
      guard quoted.count >= 2, ends.0 == ends.1, ends.0 == UInt8(ascii: "'") || ends.0 == UInt8(ascii: "\"") else {
        throw DitqError(.malformed, "a string in quotes expected")
      }
      try push(line(quoted.lowerBound + 1..<quoted.upperBound - 1))
    case UInt8(ascii: "C"): try pushBytes(reader.number(1))
    case UInt8(ascii: "B"): try pushBytes(reader.number(4))
    case 0x8e, 0x96: try pushBytes(reader.number(8))
    default: return false
    }
    return true
  }

  func container(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "("):
      guard marks.count < Limit.pickleNesting else { throw DitqError(.unsupported, "nested deeper than \(Limit.pickleNesting)") }
      marks.append(stack.count)
    case UInt8(ascii: ")"): try pushTuple(popElements(0))
    case 0x85...0x87: try pushTuple(popElements(Int(opcode) - 0x84))
    case UInt8(ascii: "t"): try pushTuple(popElements(nil))
    case UInt8(ascii: "]"): try push(.list(graph.newContainer()))
    case UInt8(ascii: "}"): try push(.dict(graph.newContainer()))
    case UInt8(ascii: "l"), UInt8(ascii: "d"):
      let height = try height(below: nil), container = try graph.newContainer(), isDict = opcode == UInt8(ascii: "d")
      try add(from: height, to: container, inPairs: isDict)
      try push(isDict ? .dict(container) : .list(container))
    case UInt8(ascii: "a"): try extendList(height(below: 1))
    case UInt8(ascii: "e"): try extendList(height(below: nil))
    case UInt8(ascii: "s"): try extendDict(height(below: 2))
    case UInt8(ascii: "u"): try extendDict(height(below: nil))
    case 0x8f: try push(.opaque(.set))
    case 0x91:
      stack.removeLast(stack.count - (try height(below: nil)))
      try push(.opaque(.set))
    case 0x90: try extendSet(height(below: nil))
    default: return false
    }
    return true
  }

  func memory(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case UInt8(ascii: "q"): try put(reader.number(1))
    case UInt8(ascii: "r"): try put(reader.number(4))
    case UInt8(ascii: "p"): try put(index())
    case 0x94: try put(memo.count)
    case UInt8(ascii: "h"): try get(reader.number(1))
    case UInt8(ascii: "j"): try get(reader.number(4))
    case UInt8(ascii: "g"): try get(index())
    case UInt8(ascii: "0"):
      if stack.count > marks.last ?? 0 { stack.removeLast() } else { _ = try height(below: nil) }
    case UInt8(ascii: "1"): stack.removeLast(stack.count - (try height(below: nil)))
    case UInt8(ascii: "2"):
      let top = try pop()
      try push(top)
      try push(top)
    default: return false
    }
    return true
  }

  func object(_ opcode: UInt8) throws(DitqError) -> Bool {
    switch opcode {
    case 0x80:
      let version = try reader.number(1)
      guard version <= 5 else { throw DitqError(.unsupported, "protocol 0 to 5 expected, \(version) found") }
    case 0x95:  // A frame: the reader has all bytes at hand anyway.
      guard try reader.number(8) <= reader.end - reader.position else { throw DitqError(.malformed, "a frame that leaves the pickle") }
    case UInt8(ascii: "c"): try push(nameInLines())
    case 0x93: try push(nameOnStack())
    case 0x82, 0x83, 0x84:  // A class by the number that a process has given it.
      _ = try reader.take(1 << (Int(opcode) - 0x82))
      try push(.opaque(.extensionCode))
    case UInt8(ascii: "R"), 0x81:
      let arguments = try popTuple()
      try push(called(pop(), arguments))
    case 0x92:  // Arguments by name are not asked for.
      _ = try pop()
      let arguments = try popTuple()
      try push(called(pop(), arguments))
    case UInt8(ascii: "i"):
      let name = try nameInLines()
      try push(called(name, popElements(nil)))
    case UInt8(ascii: "o"):
      let parts = try popElements(nil)
      guard let callee = graph[parts].first else { throw DitqError(.malformed, "a class expected behind the mark") }
      try push(called(callee, PickleTuple(start: parts.start + 1, count: parts.count - 1)))
    case UInt8(ascii: "b"):
      let state = try pop()
      guard case .object(let object) = value(below: stack.count) else { throw expected("an object that has a state", below: stack.count) }
      graph.setState(state, of: object)
    case UInt8(ascii: "Q"): try push(.persistent(popElements(1).start))
    case UInt8(ascii: "P"):
      let id = try text(reader.line(limit: Limit.pickleTextByteCount))
      try push(.persistent(graph.newElements([id]).start))
    case 0x97, 0x98:
      throw DitqError(.unsupported, opcode == 0x97 ? "NEXT_BUFFER: a buffer out of band" : "READONLY_BUFFER: a buffer out of band")
    default: return false
    }
    return true
  }
}
