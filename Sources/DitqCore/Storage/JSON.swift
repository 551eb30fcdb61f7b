// JSON: a small strict reader (RFC 8259) for headers, configurations and indices, with Python's NaN, Infinity and -Infinity as numbers, which
// whoever reads such a field has to refuse. Relies on Platform's error and byte-wise string ==.
// It refuses trailing bytes and commas, ill-formed UTF-8, lone surrogates, numbers beyond Double, a member name given twice, and more
// than the limits, so that neither the stack nor the memory is at the mercy of a file.

enum JSON {
  struct Member {
    let name: String
    let value: JSON
  }

  case null, bool(Bool), number(Double), string(String), array([JSON]), object([Member])

  init(parsing bytes: UnsafeRawBufferPointer) throws(DitqError) {
    var reader = Reader(bytes: bytes)
    self = try reader.document()
  }
}

// MARK: - Looking inside

extension JSON {
  /// The value of a member, which may be `null`; nil when this is no object or has no such member. Costs a look at each member.
  func member(_ name: String) -> JSON? { members?.first { $0.name == name }?.value }

  var members: [Member]? { if case .object(let members) = self { members } else { nil } }
  var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
  var string: String? { if case .string(let text) = self { text } else { nil } }
  var number: Double? { if case .number(let number) = self { number } else { nil } }
  var bool: Bool? { if case .bool(let truth) = self { truth } else { nil } }
  var isNull: Bool { if case .null = self { true } else { false } }

  /// An integer of magnitude below 2⁵³. From there on a Double stands for more than one integer, so the file's number is not known.
  var integer: Int? {
    guard let number, number.magnitude < 0x1p53 else { return nil }
    return Int(exactly: number)
  }

  /// Whether every number in it is one, as RFC 8259 has it.
  var isStrict: Bool {
    switch self {
    case .null, .bool, .string: true
    case .number(let number): number.isFinite
    case .array(let values): values.allSatisfy { $0.isStrict }
    case .object(let members): members.allSatisfy { $0.value.isStrict }
    }
  }

  /// What this is, for errors: "a string expected, an object found".
  var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

// MARK: - Reading values

private struct Reader {
  let bytes: UnsafeRawBufferPointer
  var position = 0
  var valueCount = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func document() throws(DitqError) -> JSON {
    guard bytes.count <= Limit.jsonByteCount else { throw malformed("\(bytes.count) bytes, more than \(Limit.jsonByteCount)") }
    let value = try value(depth: 0)
    skipSpace()
    guard next == nil else { throw expected("the end") }
    return value
  }

  mutating func value(depth: Int) throws(DitqError) -> JSON {
    skipSpace()
    try checkCall()
    valueCount += 1
    guard valueCount <= Limit.jsonValues else { throw malformed("more than \(Limit.jsonValues) values") }
    switch next {
    case "{": return .object(try members(depth: depth))
    case "[": return .array(try elements(depth: depth))
    case "\"": return .string(try string())
    case "t": return try word("true", .bool(true))
    case "f": return try word("false", .bool(false))
    case "n": return try word("null", .null)
    case "N": return try word("NaN", .number(.nan))
    case "I": return try word("Infinity", .number(.infinity))
    case let scalar? where scalar == "-" || "0"..."9" ~= scalar: return .number(try number())
    default: throw expected("a value")
    }
  }

  mutating func word(_ word: String, _ value: JSON) throws(DitqError) -> JSON {
    for scalar in word.unicodeScalars {
      guard take(scalar) else { throw expected("'\(word)'") }
    }
    return value
  }

  mutating func elements(depth: Int) throws(DitqError) -> [JSON] {
    guard depth < Limit.jsonNesting else { throw malformed("nested deeper than \(Limit.jsonNesting)") }
    position += 1
    skipSpace()
    if take("]") { return [] }
    var values: [JSON] = []
    repeat {
      try values.add(try value(depth: depth + 1))
      skipSpace()
    } while take(",")
    guard take("]") else { throw expected("',' or ']'") }
    return values
  }

  mutating func members(depth: Int) throws(DitqError) -> [JSON.Member] {
    guard depth < Limit.jsonNesting else { throw malformed("nested deeper than \(Limit.jsonNesting)") }
    let start = position
    position += 1
    skipSpace()
    if take("}") { return [] }
    var members: [JSON.Member] = []
    repeat {
      skipSpace()
      guard next == "\"" else { throw expected("'\"'") }
      let name = try string()
      skipSpace()
      guard take(":") else { throw expected("':'") }
      try members.add(JSON.Member(name: name, value: try value(depth: depth + 1)))
      skipSpace()
    } while take(",")
    guard take("}") else { throw expected("',' or '}'") }
    try refuseRepeatedNames(members, start)
    return members
  }

  func refuseRepeatedNames(_ members: [JSON.Member], _ start: Int) throws(DitqError) {
    guard members.count > 1 else { return }
    guard let repeated = try order(ofNames: members.mapped { $0.name }).repeated else { return }
    throw malformed("member \(jsonLiteral(members[repeated].name)) stands twice", at: start)
  }

  // MARK: Bytes

  /// The next byte, as a scalar so that it compares with literals; what is not ASCII equals none of them.
  var next: Unicode.Scalar? { position < bytes.count ? Unicode.Scalar(bytes[position]) : nil }

  mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard next == scalar else { return false }
    position += 1
    return true
  }

  mutating func skipSpace() {
    while let scalar = next, scalar == " " || scalar == "\n" || scalar == "\r" || scalar == "\t" { position += 1 }
  }

  func malformed(_ what: String, at position: Int? = nil) -> DitqError {
    DitqError(.malformed, "JSON at byte \(position ?? self.position): \(what)")
  }

  func expected(_ what: String) -> DitqError {
    guard let next else { return malformed("\(what) expected, the end found") }
    return malformed("\(what) expected, " + (" "..."~" ~= next ? "'\(next)' found" : "byte \(next.value) found"))
  }
}

// MARK: - Strings

extension Reader {
  mutating func string() throws(DitqError) -> String {
    let start = position
    position += 1
    var text: [UInt8] = []
    while !take("\"") {
      guard let scalar = next, scalar >= " " else { throw expected("a character or '\"'") }
      if scalar == "\\" {
        for byte in try escapedScalar().utf8 { try text.add(byte) }
      } else {
        try text.add(UInt8(scalar.value))
        position += 1
      }
    }
    try askForRoom(text.count)
    guard let string = String(validating: text, as: UTF8.self) else { throw malformed("a string of ill-formed UTF-8", at: start) }
    return string
  }

  private mutating func escapedScalar() throws(DitqError) -> Unicode.Scalar {
    position += 1
    let scalar: Unicode.Scalar
    switch next {
    case "\"", "\\", "/": scalar = next!
    case "b": scalar = "\u{8}"
    case "f": scalar = "\u{c}"
    case "n": scalar = "\n"
    case "r": scalar = "\r"
    case "t": scalar = "\t"
    case "u": return try numberedScalar()
    default: throw expected("one of \"\\/bfnrtu")
    }
    position += 1
    return scalar
  }

  /// \u and four digits, or two of them that form a surrogate pair. Stands at the 'u'.
  private mutating func numberedScalar() throws(DitqError) -> Unicode.Scalar {
    let start = position - 1
    var value = try hexadecimalUnit()
    if 0xd800..<0xdc00 ~= value, take("\\"), next == "u" {
      let low = try hexadecimalUnit()
      if 0xdc00..<0xe000 ~= low { value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00) }
    }
    guard let scalar = Unicode.Scalar(value) else { throw malformed("a lone surrogate", at: start) }
    return scalar
  }

  private mutating func hexadecimalUnit() throws(DitqError) -> UInt32 {
    position += 1
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = next else { throw expected("a hexadecimal digit") }
      switch digit {
      case "0"..."9": unit = unit << 4 | (digit.value - 0x30)
      case "a"..."f": unit = unit << 4 | (digit.value - 0x61 + 10)
      case "A"..."F": unit = unit << 4 | (digit.value - 0x41 + 10)
      default: throw expected("a hexadecimal digit")
      }
      position += 1
    }
    return unit
  }
}

// MARK: - Numbers

extension Reader {
  mutating func number() throws(DitqError) -> Double {
    let start = position
    var decimal = Decimal()
    let isNegative = take("-")
    if isNegative && next == "I" {
      _ = try word("Infinity", .null)
      return -.infinity
    }
    if !take("0") { try digits { decimal.append($0, isFraction: false) } }
    if take(".") { try digits { decimal.append($0, isFraction: true) } }
    if take("e") || take("E") {
      let isNegative = take("-")
      if !isNegative { _ = take("+") }
      var exponent = 0
      // Beyond any file's count of digits it no longer matters how large the exponent is.
      try digits { exponent = min(exponent * 10 + Int($0), 1_000_000_000_000) }
      decimal.exponent += isNegative ? -exponent : exponent
    }
    let magnitude = decimal.nearestDouble
    guard magnitude.isFinite else { throw malformed("a number too large for a double", at: start) }
    return isNegative ? -magnitude : magnitude
  }

  private mutating func digits(_ use: (UInt64) -> Void) throws(DitqError) {
    guard let first = next, "0"..."9" ~= first else { throw expected("a digit") }
    while let digit = next, "0"..."9" ~= digit {
      use(UInt64(digit.value - 0x30))
      position += 1
    }
  }
}
