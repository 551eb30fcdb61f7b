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
    for byte in text.utf8 { if let escape = jsonEscape(byte) { try add(escape) } else { try bytes.add(byte) } }
    try bytes.add(UInt8(ascii: "\""))
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
