// LongText: a text that becomes as long as a file, a host or a model says. Relies on Lists, which asks for room before it grows; refuses nothing but
// exhaustion.

struct LongText {
  var bytes: [UInt8] = []

  mutating func add(_ text: String) throws(DitqError) {
    try bytes.makeRoom(for: text.utf8.count)
    bytes.append(contentsOf: text.utf8)
  }

  /// A JSON string literal of the text, see `jsonLiteral`.
  mutating func addLiteral(_ text: String) throws(DitqError) {
    try bytes.add(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars { if let escape = jsonEscape(scalar) { try add(escape) } else { try add(scalar) } }
    try bytes.add(UInt8(ascii: "\""))
  }

  /// JSON of a file, in whose texts control characters beyond the first 32 may stand as they are.
  mutating func addJSON(_ json: String) throws(DitqError) {
    for scalar in json.unicodeScalars {
      if scalar.value >= 0x20, scalar.isControl, let escape = jsonEscape(scalar) { try add(escape) } else { try add(scalar) }
    }
  }

  private mutating func add(_ scalar: Unicode.Scalar) throws(DitqError) {
    for byte in UTF8.encode(scalar)! { try bytes.add(byte) }
  }

  /// A JSON array of values, each as its text.
  mutating func addList<T>(_ values: [T], _ text: (T) -> String) throws(DitqError) {
    try add("[")
    for (index, value) in values.enumerated() { try add((index == 0 ? "" : ", ") + text(value)) }
    try add("]")
  }

  /// All of it, which is copied once more.
  func text() throws(DitqError) -> String {
    try askForRoom(bytes.count)
    return String(decoding: bytes, as: UTF8.self)
  }
}
