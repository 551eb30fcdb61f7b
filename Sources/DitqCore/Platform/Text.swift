// Strings compared and ordered as bytes, and numbers as text. The standard library's String == compares canonical equivalents, for which
// it links tables of Unicode; names in model files are bytes. These operators shadow it in this module, `switch` included.

import CPlatform

extension String {
  @inline(never)
  static func == (a: String, b: String) -> Bool { a.utf8.count == b.utf8.count && compare(a, b) == 0 }
  static func != (a: String, b: String) -> Bool { !(a == b) }
  static func ~= (pattern: String, value: String) -> Bool { pattern == value }
}

/// Whether `a` stands before `b` in the order of their bytes.
func precedes(_ a: String, _ b: String) -> Bool { compare(a, b) < 0 }

/// Negative where `a` stands before `b` in the order of their bytes, 0 where they are equal. Careful: a file may have many names with the same
/// beginning, which a loop over bytes would take long to get past.
@inline(never)
private func compare(_ a: String, _ b: String) -> Int {
  withBytes(of: a) { a in
    withBytes(of: b) { b in
      let common = min(a.count, b.count)
      let order = common == 0 ? 0 : memcmp(a.baseAddress!, b.baseAddress!, common)
      return order == 0 ? a.count - b.count : Int(order)
    }
  }
}

/// The bytes of a text where they stand; Swift's own texts, as all here are, stand in one piece.
func withBytes<R>(of text: String, _ body: (UnsafeBufferPointer<UInt8>) -> R) -> R {
  text.utf8.withContiguousStorageIfAvailable(body)!
}

/// The indices of names in the order of their bytes, and one whose name another has too. One sort for all files that list names.
@inline(never)
func order(ofNames names: [String]) throws(DitqError) -> (order: [Int], repeated: Int?) {
  var order = try [Int](room: names.count)
  for index in names.indices { order.append(index) }
  try order.sortInPlace { precedes(names[$0], names[$1]) }
  for place in order.indices.dropFirst() where names[order[place - 1]] == names[order[place]] { return (order, order[place]) }
  return (order, nil)
}

/// The first of `count` places, whose names are in the order of their bytes, that does not stand before `name`: by halving, because a file may
/// list as many as it likes.
func firstPlace(notBefore name: String, of count: Int, _ nameAt: (Int) -> String) -> Int {
  var (low, high) = (0, count)
  while low < high {
    let middle = (low + high) / 2
    if precedes(nameAt(middle), name) { low = middle + 1 } else { high = middle }
  }
  return low
}

/// Where names stand in a list of any order.
struct NameIndex {
  private let names: [String]
  private let order: [Int]

  init() { (names, order) = ([], []) }

  init(_ names: [String]) throws(DitqError) { (self.names, order) = (names, try DitqCore.order(ofNames: names).order) }

  func find(_ name: String) -> Int? {
    let place = firstPlace(notBefore: name, of: order.count) { names[order[$0]] }
    return place < order.count && names[order[place]] == name ? order[place] : nil
  }
}

extension String {
  @inline(never)
  func starts(withBytesOf prefix: String) -> Bool { holds(prefix, at: 0) }
  @inline(never)
  func ends(withBytesOf suffix: String) -> Bool { holds(suffix, at: utf8.count - suffix.utf8.count) }

  private func holds(_ part: String, at place: Int) -> Bool {
    withBytes(of: self) { bytes in
      let count = part.utf8.count
      return place >= 0 && place + count <= bytes.count
        && isEqual(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[place..<place + count]), part)
    }
  }

  /// The text of some of its bytes, and of all from a place on.
  @inline(never)
  func bytes(_ range: Range<Int>) -> String { withBytes(of: self) { text(UnsafeRawBufferPointer($0), range) } }
  func bytes(from place: Int) -> String { bytes(place..<utf8.count) }

  /// Where this character of ASCII stands for the last time.
  @inline(never)
  func last(_ character: Unicode.Scalar) -> Int? { withBytes(of: self) { $0.lastIndex(of: UInt8(ascii: character)) } }
  func contains(_ character: Unicode.Scalar) -> Bool { last(character) != nil }

  init(_ text: StaticString) { self = String(bytes: UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)) }

  /// The text of NUL-terminated bytes, ill-formed UTF-8 repaired.
  package init(bytes: UnsafePointer<CChar>) { self.init(cString: bytes) }
}

/// Whether these are the bytes of a text.
@inline(never)
func isEqual(_ bytes: UnsafeRawBufferPointer, _ text: String) -> Bool {
  withBytes(of: text) { $0.count == bytes.count && (bytes.isEmpty || memcmp($0.baseAddress!, bytes.baseAddress!, bytes.count) == 0) }
}

/// The text of some of these bytes, ill-formed UTF-8 repaired.
func text(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> String {
  String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self)
}

/// The parts of a text between separators that are not empty, at most `limit` of them; the last has what remains.
@inline(never)
func split(_ whole: String, at separator: Unicode.Scalar, into limit: Int = .max) -> [String] {
  withBytes(of: whole) { bytes in
    var parts: [String] = [], start = 0
    for place in bytes.indices where bytes[place] == UInt8(ascii: separator) && parts.count < limit - 1 {
      if place > start { parts.append(text(UnsafeRawBufferPointer(bytes), start..<place)) }
      start = place + 1
    }
    if start < bytes.count { parts.append(text(UnsafeRawBufferPointer(bytes), start..<bytes.count)) }
    return parts
  }
}

/// A path without what stands behind the last dot of its last name, unless the name begins with that.
func withoutExtension(_ path: String) -> String {
  let start = path.last("/").map { $0 + 1 } ?? 0
  guard let dot = path.last("."), dot > start else { return path }
  return path.bytes(0..<dot)
}

/// What stands behind the last "/" of a path.
func lastComponent(_ path: String) -> String {
  path.last("/").map { path.bytes(from: $0 + 1) } ?? path
}

func asciiLowercased(_ text: String) -> String {
  let isCapital = UInt8(ascii: "A")...UInt8(ascii: "Z")
  return String(decoding: text.utf8.map { isCapital.contains($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
}

/// "[3456, 1152]": a shape as errors show it.
func text(ofShape shape: [Int]) -> String {
  var text = "["
  for (index, size) in shape.enumerated() { text += index == 0 ? "\(size)" : ", \(size)" }
  return text + "]"
}

/// A number, without ".0" where it is whole.
func number(_ value: Float) -> String { value == value.rounded() && value.magnitude < 1e9 ? "\(Int(value))" : "\(value)" }
