// Settings: the fields of a configuration file, read with checks that name the file and the field. What has another value than the one
// that the library implements is unsupported, and says so.

/// Who says a fact, the most trusted first.
enum FactSource: Int {
  /// The host that opens the model.
  case call
  /// The metadata of the file itself.
  case metadata
  /// NAME.ditq.json beside the file.
  case beside
  /// "args" of a training checkpoint.
  case arguments
  /// The sizes of the models that were published.
  case publicSizes
  /// Nobody: what is usual is taken.
  case assumption
}

struct Settings {
  let json: JSON
  /// What errors call it: "transformer/config.json".
  let name: String
  /// Who said which field, where several did.
  private let origins: [Origin]

  struct Origin {
    let field: String
    let source: FactSource
    /// What errors call the source.
    let name: String
  }

  init(_ json: JSON, named name: String) throws(DitqError) {
    guard json.members != nil else { throw DitqError(.malformed, "\(name): an object expected, \(json.kindName) found") }
    (self.json, self.name, origins) = (json, name, [])
  }

  /// Fields that several sources said.
  init(_ members: [JSON.Member], saidBy origins: [Origin]) {
    (json, name, self.origins) = (.object(members), "ditq.config", origins)
  }

  /// Who said a field, where several sources were asked and one did.
  func source(of field: String) -> FactSource? { origins.first { $0.field == field }?.source }

  init(file path: String, named name: String) throws(DitqError) {
    let bytes = try Bytes(mapping: path)
    try self.init(parsing: bytes.buffer, named: name)
  }

  init(text: String, named name: String) throws(DitqError) {
    let result = Array(text.utf8).withUnsafeBytes { bytes in
      Result { () throws(DitqError) in try Settings(parsing: bytes, named: name) }
    }
    self = try result.get()
  }

  private init(parsing bytes: UnsafeRawBufferPointer, named name: String) throws(DitqError) {
    let json: JSON
    do { json = try JSON(parsing: bytes) } catch { throw error.said(of: name) }
    try self.init(json, named: name)
  }

  /// The value of a field; nil where it is missing or null.
  func value(_ field: String) -> JSON? {
    guard let value = json.member(field), !value.isNull else { return nil }
    return value
  }

  func wrong(_ field: String, _ expected: String, _ found: JSON?, _ status: Status = .unsupported) -> DitqError {
    let origin = origins.first { $0.field == field }, isHosts = origin?.source == .call
    return DitqError(
      status == .malformed && isHosts ? .invalidArgument : status,
      "\(origin?.name ?? name): \(field): \(expected) expected, \(found.map(shown) ?? "nothing") found")
  }

  /// Refuses a field that says something else than what is known.
  func require(_ field: String, known: Int, in range: ClosedRange<Int>, by whom: String) throws(DitqError) {
    guard try integer(field, in: range, default: known) == known else {
      throw wrong(field, "\(known), as \(whom) it,", value(field), .malformed)
    }
  }

  func integer(_ field: String, in range: ClosedRange<Int>) throws(DitqError) -> Int {
    guard let value = value(field), let integer = value.integer, range.contains(integer) else {
      throw wrong(field, "a whole number from \(range.lowerBound) to \(range.upperBound)", value(field), .malformed)
    }
    return integer
  }

  func integer(_ field: String, in range: ClosedRange<Int>, default missing: Int) throws(DitqError) -> Int {
    value(field) == nil ? missing : try integer(field, in: range)
  }

  /// nil where it is missing.
  func optionalInteger(_ field: String, in range: ClosedRange<Int>) throws(DitqError) -> Int? {
    value(field) == nil ? nil : try integer(field, in: range)
  }

  func number(_ field: String, above lower: Double, below upper: Double, default missing: Double) throws(DitqError) -> Double {
    guard let value = value(field) else { return missing }
    guard let number = value.number, number > lower, number < upper else {
      throw wrong(field, "a number between \(lower) and \(upper)", value, .malformed)
    }
    return number
  }

  /// The same of what is kept as a Float, which has to be between the bounds then too: 1e-50 is 0.
  func float(_ field: String, above lower: Float, below upper: Float, default missing: Float) throws(DitqError) -> Float {
    let number = Float(try number(field, above: Double(lower), below: Double(upper), default: Double(missing)))
    guard number > lower && number < upper else {
      throw wrong(field, "a number between \(lower) and \(upper) that a float holds", value(field), .malformed)
    }
    return number
  }

  func bool(_ field: String, default missing: Bool) throws(DitqError) -> Bool {
    guard let value = value(field) else { return missing }
    guard let bool = value.bool else { throw wrong(field, "true or false", value, .malformed) }
    return bool
  }

  /// nil where it is missing.
  func optionalBool(_ field: String) throws(DitqError) -> Bool? { value(field) == nil ? nil : try bool(field, default: false) }

  func string(_ field: String) throws(DitqError) -> String? {
    guard let value = value(field) else { return nil }
    guard let string = value.string else { throw wrong(field, "a string", value, .malformed) }
    return string
  }

  /// Which of some names a field has; nil where it is missing.
  func choice(_ field: String, among names: [String]) throws(DitqError) -> Int? {
    guard let found = try string(field) else { return nil }
    guard let index = names.firstIndex(where: { $0 == found }) else { throw wrong(field, alternatives(names), value(field)) }
    return index
  }

  func alternatives(_ names: [String]) -> String {
    var list = ""
    for (index, name) in names.enumerated() { list += (index == 0 ? "\"" : "\" or \"") + name }
    return list + "\""
  }

  /// nil where it is missing.
  func array(_ field: String, in counts: ClosedRange<Int>) throws(DitqError) -> [JSON]? {
    guard let value = value(field) else { return nil }
    guard let array = value.array, counts.contains(array.count) else {
      throw wrong(field, "an array of \(counts.lowerBound) to \(counts.upperBound) values", value, .malformed)
    }
    return array
  }

  // MARK: - Fields with one implemented value

  func require(_ field: String, _ allowed: String..., default missing: String? = nil) throws(DitqError) {
    guard try choice(field, among: allowed) != nil || missing != nil else { throw wrong(field, alternatives(allowed), nil) }
  }

  func require(_ field: String, _ expected: Bool, default missing: Bool) throws(DitqError) {
    guard try bool(field, default: missing) == expected else { throw wrong(field, "\(expected)", value(field)) }
  }

  func requireNothing(_ field: String) throws(DitqError) {
    guard value(field) == nil else { throw wrong(field, "null", value(field)) }
  }

  private func shown(_ value: JSON) -> String {
    switch value {
    case .string(let text): return "\"\(text)\""
    case .number(let number): return value.integer.map { "\($0)" } ?? "\(number)"
    case .bool(let bool): return "\(bool)"
    default: return value.kindName
    }
  }
}

/// One of some values that files know by their names.
protocol NamedChoice: CaseIterable {
  var name: String { get }
}

extension Settings {
  func choice<T: NamedChoice>(_ field: String, of _: T.Type) throws(DitqError) -> T? {
    let all = Array(T.allCases)
    return try choice(field, among: all.map { $0.name }).map { all[$0] }
  }
}
