// ClassNameSearch: a name that is looked for among the names of a model. Reads each name's bytes once for each question and makes no text but that of a
// sentence, so that neither many names nor long ones cost more than their bytes. White space of any kind around names and aliases does not count.
// Refuses a name that stands for several labels.

struct ClassNameSearch {
  private let key: UnsafeBufferPointer<UInt8>

  /// Of bytes that stay where they are.
  init(_ bytes: UnsafeBufferPointer<UInt8>) { key = trimmed(bytes) }

  var isEmpty: Bool { key.isEmpty }

  /// The label whose whole name it is, else the label that has it among its aliases. Written as it is, an alias of several labels is that of the last,
  /// as diffusers' get_label_ids has it (ImageNet's "panda" is 388, not 387); where that and a whole name disagree, nobody can tell what is meant.
  func label(in names: [String], isFolded: Bool) throws(DitqError) -> Int? {
    var whole = Matches(), alias = Matches()
    for (label, name) in names.enumerated() {
      withBytes(of: name) { name in
        if equals(trimmed(name), isFolded) { whole.add(label) }
        if hasAlias(name, isFolded) { alias.add(label) }
      }
    }
    switch (whole.count, alias.count) {
    case (0, 0): return nil
    case (0, 1): return alias.last
    case (0, _) where !isFolded: return alias.last
    case (1, _) where isFolded || alias.count == 0 || alias.last == whole.last: return whole.last
    default:
      let several = whole.count > 1 ? whole : whole.count == 0 ? alias : Matches(whole, alias)
      throw DitqError(
        .invalidArgument, "\(shortened(key)): a name of one class expected, that of labels \(several.listed) found; give the label")
    }
  }

  private func equals(_ bytes: UnsafeBufferPointer<UInt8>, _ isFolded: Bool) -> Bool {
    guard bytes.count == key.count else { return false }
    for (a, b) in zip(bytes, key) where a != b && !(isFolded && lowercased(a) == lowercased(b)) { return false }
    return true
  }

  private func hasAlias(_ name: UnsafeBufferPointer<UInt8>, _ isFolded: Bool) -> Bool {
    var found = false
    forEachAlias(of: name) { if equals($0, isFolded) { found = true } }
    return found
  }

  // MARK: - Names that are near

  /// Three names: those that contain what was asked, then those with the smallest edit distance, best first. Only the first bytes of long names
  /// count, and of very many names the first.
  func nearest(in names: [String]) -> String {
    var best: [(distance: Int, label: Int)] = [], bytesLeft = 1 << 20
    for (label, name) in names.enumerated() where bytesLeft > 0 && !name.isEmpty {
      bytesLeft -= name.utf8.count
      let distance = withBytes(of: name) { self.distance(to: $0) }
      let place = best.firstIndex { $0.distance > distance } ?? best.count
      if place < 3 { best.insert((distance, label), at: place) }
      if best.count > 3 { best.removeLast() }
    }
    var list = ""
    for (index, entry) in best.enumerated() {
      list += (index == 0 ? "\"" : ", \"") + withBytes(of: names[entry.label]) { shortened($0) } + "\""
    }
    return list
  }

  private static let longest = 64

  /// −1 for a name that contains the key.
  private func distance(to name: UnsafeBufferPointer<UInt8>) -> Int {
    if contains(name) { return -1 }
    var least = editDistance(trimmed(name))
    forEachAlias(of: name) { least = min(least, editDistance($0)) }
    return least
  }

  private func contains(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
    let count = min(name.count, 1024)
    guard key.count <= min(count, ClassNameSearch.longest) else { return false }
    for start in 0...count - key.count
    where equals(UnsafeBufferPointer(rebasing: name[start..<start + key.count]), true) { return true }
    return false
  }

  /// Levenshtein distance in bytes, without regard to ASCII case.
  private func editDistance(_ name: UnsafeBufferPointer<UInt8>) -> Int {
    let a = key.prefix(ClassNameSearch.longest), b = name.prefix(ClassNameSearch.longest)
    var row = InlineArray<65, Int> { $0 }
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let substituted = diagonal + (lowercased(x) == lowercased(y) ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(substituted, diagonal + 1, row[j] + 1)
      }
    }
    return row[b.count]
  }
}

/// Labels that a name stands for: how many, the last, and the first few for a sentence.
private struct Matches {
  private(set) var count = 0
  private(set) var last: Int?
  private var first = InlineArray<4, Int>(repeating: 0)

  init() {}
  init(_ a: Matches, _ b: Matches) {
    if let label = a.last { add(label) }
    if let label = b.last { add(label) }
  }

  mutating func add(_ label: Int) {
    if count < 4 { first[count] = label }
    (count, last) = (count + 1, label)
  }

  /// "134, 517".
  var listed: String {
    var text = ""
    for index in 0..<min(count, 4) { text += (index == 0 ? "" : ", ") + "\(first[index])" }
    return count > 4 ? text + ", …" : text
  }
}

// MARK: - Bytes of names

/// Each part between commas, without the space around it.
private func forEachAlias(of name: UnsafeBufferPointer<UInt8>, _ use: (UnsafeBufferPointer<UInt8>) -> Void) {
  var start = 0
  for end in 0...name.count where end == name.count || name[end] == UInt8(ascii: ",") {
    let alias = trimmed(UnsafeBufferPointer(rebasing: name[start..<end]))
    if !alias.isEmpty { use(alias) }
    start = end + 1
  }
}

private func lowercased(_ byte: UInt8) -> UInt8 {
  UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte ? byte | 0x20 : byte
}

private func trimmed(_ bytes: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
  var start = 0, end = bytes.count
  while start < end, let width = (1...3).first(where: { start + $0 <= end && isSpace(bytes, start..<start + $0) }) { start += width }
  while start < end, let width = (1...3).first(where: { start + $0 <= end && isSpace(bytes, end - $0..<end) }) { end -= width }
  return UnsafeBufferPointer(rebasing: bytes[start..<end])
}

/// Whether these bytes are a character of Unicode's White_Space, or a space of no width (U+200B, U+FEFF).
private func isSpace(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Bool {
  let lead = Int(bytes[range.lowerBound])
  switch range.count {
  case 1: return lead == 0x20 || 0x09...0x0d ~= lead
  case 2: return lead == 0xc2 && (bytes[range.lowerBound + 1] == 0x85 || bytes[range.lowerBound + 1] == 0xa0)
  default:
    guard lead >= 0xe1 else { return false }
    let scalar = (lead & 15) << 12 | Int(bytes[range.lowerBound + 1] & 63) << 6 | Int(bytes[range.lowerBound + 2] & 63)
    switch scalar {
    case 0x1680, 0x2000...0x200b, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff: return true
    default: return false
    }
  }
}

/// As much of a text of any length as a sentence has room for.
func shortened(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
  let most = 120
  return String(decoding: bytes.prefix(most), as: UTF8.self) + (bytes.count > most ? "…" : "")
}
