// JSON: reads what the library describes, keeping the order of names, and writes what the commands answer with --json.
//
// Numbers stay the text that they are, so that nothing is rounded on the way. Relies on the library's own texts being JSON (RFC 8259);
// a text that is not one is refused with the place where it went wrong.

import CDitq

enum JSON {
  case null
  case boolean(Bool)
  case number(String)
  case text(String)
  case list([JSON])
  case object([(name: String, value: JSON)])

  init(_ value: some BinaryInteger) { self = .number(String(value)) }
  init(_ value: Double, digits: Int) { self = value.isFinite ? .number((value < 0 ? "-" : "") + fixed(abs(value), digits: digits)) : .null }
  init(_ value: Double) { self = value.isFinite ? .number(value.description) : .null }

  init(reading text: String) throws {
    var reader = JSONReader(bytes: Array(text.utf8))
    self = try reader.value()
    try reader.end()
  }

  subscript(name: String) -> JSON? {
    members.first { $0.name == name }?.value
  }

  var members: [(name: String, value: JSON)] { if case .object(let members) = self { members } else { [] } }
  var elements: [JSON] { if case .list(let elements) = self { elements } else { [] } }
  var string: String? { if case .text(let text) = self { text } else { nil } }
  /// A number as it is written.
  var literal: String? { if case .number(let text) = self { text } else { nil } }
  var double: Double? { literal.flatMap { Double($0) } }
  /// A number that is one of these: files may hold any.
  func whole<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) -> Number? { double.flatMap { Number(exactly: $0) } }

  /// On one line.
  var line: String {
    switch self {
    case .null: "null"
    case .boolean(let value): value ? "true" : "false"
    case .number(let text): text
    case .text(let text): JSON.quoted(text)
    case .list(let elements): "[" + elements.map(\.line).joined(separator: ", ") + "]"
    case .object(let members): "{" + members.map { "\(JSON.quoted($0.name)): \($0.value.line)" }.joined(separator: ", ") + "}"
    }
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{00}"..."\u{1F}", "\u{7F}"..."\u{9F}":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

private struct JSONReader {
  let bytes: [UInt8]
  private var next = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func value() throws -> JSON {
    switch peek() {
    case UInt8(ascii: "{"): return .object(try object())
    case UInt8(ascii: "["): return .list(try list())
    case UInt8(ascii: "\""): return .text(try text())
    default: return try word()
    }
  }

  mutating func end() throws { guard peek() == nil else { throw unexpected() } }

  private mutating func object() throws -> [(name: String, value: JSON)] {
    var members: [(name: String, value: JSON)] = []
    try each("{", "}") { reader in
      guard reader.peek() == UInt8(ascii: "\"") else { throw reader.unexpected() }
      let name = try reader.text()
      try reader.take(":")
      members.append((name, try reader.value()))
    }
    return members
  }

  private mutating func list() throws -> [JSON] {
    var elements: [JSON] = []
    try each("[", "]") { elements.append(try $0.value()) }
    return elements
  }

  /// What stands between two brackets, separated by commas.
  private mutating func each(_ open: Unicode.Scalar, _ close: Unicode.Scalar, _ element: (inout JSONReader) throws -> Void) throws {
    try take(open)
    if peek() == UInt8(ascii: close) { return try take(close) }
    try element(&self)
    while peek() == UInt8(ascii: ",") {
      try take(",")
      try element(&self)
    }
    try take(close)
  }

  /// null, true, false or a number.
  private mutating func word() throws -> JSON {
    let start = next
    while next < bytes.count, !" \t\r\n,:[]{}\"".utf8.contains(bytes[next]) { next += 1 }
    switch String(decoding: bytes[start..<next], as: UTF8.self) {
    case "null": return .null
    case "true": return .boolean(true)
    case "false": return .boolean(false)
    case let word where Double(word) != nil: return .number(word)
    default:
      next = start
      throw unexpected()
    }
  }

  private mutating func text() throws -> String {
    next += 1
    var units: [UInt16] = []
    var start = next
    var result = ""
    func flushed(_ end: Int) -> String { String(decoding: bytes[start..<end], as: UTF8.self) }
    while next < bytes.count, bytes[next] != UInt8(ascii: "\"") {
      guard bytes[next] == UInt8(ascii: "\\") else {
        next += 1
        continue
      }
      result += flushed(next)
      units = []
      repeat { units.append(try escape()) } while next < bytes.count && bytes[next] == UInt8(ascii: "\\")
      result += String(decoding: units, as: UTF16.self)
      start = next
    }
    guard next < bytes.count else { throw unexpected() }
    result += flushed(next)
    next += 1
    return result
  }

  /// The UTF-16 unit of an escape; a character beyond the first 65536 takes two of them.
  private mutating func escape() throws -> UInt16 {
    guard next + 1 < bytes.count else { throw unexpected() }
    let letter = Unicode.Scalar(bytes[next + 1])
    next += 2
    switch letter {
    case "b": return 8
    case "t": return 9
    case "n": return 10
    case "f": return 12
    case "r": return 13
    case "\"", "\\", "/": return UInt16(letter.value)
    case "u":
      let end = min(next + 4, bytes.count)
      guard let unit = UInt16(String(decoding: bytes[next..<end], as: UTF8.self), radix: 16) else { throw unexpected() }
      next = end
      return unit
    default: throw unexpected()
    }
  }

  /// The next byte that is no space.
  private mutating func peek() -> UInt8? {
    while next < bytes.count, " \t\r\n".utf8.contains(bytes[next]) { next += 1 }
    return next < bytes.count ? bytes[next] : nil
  }

  private mutating func take(_ character: Unicode.Scalar) throws {
    guard peek() == UInt8(ascii: character) else { throw unexpected() }
    next += 1
  }

  private func unexpected() -> LibraryError {
    LibraryError(
      status: ditq_status(DITQ_INTERNAL), message: "the library's description: JSON expected, something else found at byte \(next)")
  }
}
