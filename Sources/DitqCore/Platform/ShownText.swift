// Texts of files as others may see them: control characters (C0, DEL, C1) move a terminal's cursor, change its title, or begin a line of a log that
// is none. In messages they are shown as \n, \x1b, \u0085; in JSON they are its own escapes. All other characters stay what they are.

private let hexadecimal: StaticString = "0123456789abcdef"

private func digit(_ value: UInt32) -> UInt8 { hexadecimal.utf8Start[Int(value & 15)] }

extension Unicode.Scalar {
  var isControl: Bool { value < 0x20 || 0x7f...0x9f ~= value }

  /// Its bytes in a message, given to `put` if there are no more than `room`; false if there are. Allocates nothing.
  package func show(room: Int, _ put: (UInt8) -> Void) -> Bool {
    let slash = UInt8(ascii: "\\")
    guard isControl else {
      guard UTF8.width(self) <= room else { return false }
      for byte in UTF8.encode(self)! { put(byte) }
      return true
    }
    let name: UInt8? =
      switch self {
      case "\t": UInt8(ascii: "t")
      case "\n": UInt8(ascii: "n")
      case "\r": UInt8(ascii: "r")
      default: nil
      }
    guard (name != nil ? 2 : value < 0x80 ? 4 : 6) <= room else { return false }
    put(slash)
    if let name {
      put(name)
    } else if value < 0x80 {
      put(UInt8(ascii: "x"))
    } else {
      put(UInt8(ascii: "u"))
      put(UInt8(ascii: "0"))
      put(UInt8(ascii: "0"))
    }
    if name == nil {
      put(digit(value >> 4))
      put(digit(value))
    }
    return true
  }
}

/// A JSON string literal of the text, quotes included (RFC 8259).
func jsonLiteral(_ text: String) -> String {
  var literal = "\""
  for scalar in text.unicodeScalars {
    if let escape = jsonEscape(scalar) { literal += escape } else { literal.unicodeScalars.append(scalar) }
  }
  return literal + "\""
}

/// What stands for a character in a JSON string; nil where it stands there itself.
func jsonEscape(_ scalar: Unicode.Scalar) -> String? {
  switch scalar {
  case "\"": return "\\\""
  case "\\": return "\\\\"
  default:
    guard scalar.isControl else { return nil }
    var escape = "\\u00"
    for digit in [digit(scalar.value >> 4), digit(scalar.value)] { escape.unicodeScalars.append(Unicode.Scalar(digit)) }
    return escape
  }
}
