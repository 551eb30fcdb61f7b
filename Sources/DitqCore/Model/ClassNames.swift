// ClassNames: what the labels are called, and the label of a name. Names are compared without regard to ASCII case.

package final class ClassNames {
  private let names: [String]
  /// All names as C strings, one after the other, and where each begins.
  private let text: UnsafeMutablePointer<CChar>
  private var starts: [Int] = []

  /// Names of labels 0, 1, …; there may be fewer than classes. Refuses names that a C string cannot hold. A convenience initializer: see Block.
  convenience init(_ names: [String], classCount: Int) throws(DitqError) {
    guard names.count <= classCount else {
      throw DitqError(.malformed, "class names: at most \(classCount) expected, \(names.count) found")
    }
    var byteCount = 0
    for (label, name) in names.enumerated() {
      guard !name.utf8.contains(0) else { throw DitqError(.malformed, "class names: the name of label \(label) contains a NUL") }
      byteCount += name.utf8.count + 1
    }
    self.init(names, byteCount: byteCount)
  }

  private init(_ names: [String], byteCount: Int) {
    self.names = names
    text = .allocate(capacity: max(1, byteCount))
    var position = 0
    for name in names {
      starts.append(position)
      for byte in name.utf8 {
        text[position] = CChar(bitPattern: byte)
        position += 1
      }
      text[position] = 0
      position += 1
    }
  }

  deinit { text.deallocate() }

  package var count: Int { names.count }
  @export(interface)
  package subscript(label: Int) -> String? { names.indices.contains(label) && !names[label].isEmpty ? names[label] : nil }

  /// The name as a C string that lives as long as this object.
  @export(interface)
  package func cString(_ label: Int) -> UnsafePointer<CChar>? { self[label] == nil ? nil : UnsafePointer(text + starts[label]) }

  /// The label of a name: whole names first, then comma-separated aliases.
  @export(interface)
  package func label(of wanted: String) throws(DitqError) -> Int {
    let key = asciiLowercased(trimmed(wanted))
    guard !key.isEmpty else { throw DitqError(.invalidArgument, "name: a class name expected, nothing found") }
    if let label = names.firstIndex(where: { asciiLowercased($0) == key }) { return label }
    if let label = names.firstIndex(where: { aliases($0).contains { $0 == key } }) { return label }
    throw DitqError(
      .notFound, names.isEmpty ? "\(wanted): this model names no classes" : "\(wanted): no such class; the nearest are \(nearest(key))")
  }

  /// The three names with the smallest edit distance, best first.
  private func nearest(_ key: String) -> String {
    var best: [(distance: Int, name: String)] = []
    for name in names where !name.isEmpty {
      var distance = editDistance(key, asciiLowercased(name))
      for alias in aliases(name) { distance = min(distance, editDistance(key, alias)) }
      let place = best.firstIndex { $0.distance > distance } ?? best.count
      if place < 3 { best.insert((distance, name), at: place) }
      if best.count > 3 { best.removeLast() }
    }
    var list = ""
    for (index, entry) in best.enumerated() { list += (index == 0 ? "\"" : ", \"") + entry.name + "\"" }
    return list
  }

  private func aliases(_ name: String) -> [String] { split(name, at: ",").map { asciiLowercased(trimmed($0)) } }
}

private func trimmed(_ text: String) -> String {
  var bytes = text.utf8[...]
  while bytes.first == UInt8(ascii: " ") { bytes.removeFirst() }
  while bytes.last == UInt8(ascii: " ") { bytes.removeLast() }
  return String(decoding: bytes, as: UTF8.self)
}

/// Levenshtein distance in bytes. Only the first 256 bytes count, so that a long name costs little.
private func editDistance(_ a: String, _ b: String) -> Int {
  let a = Array(a.utf8.prefix(256)), b = Array(b.utf8.prefix(256))
  var row = Array(0...b.count)
  for (i, x) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, y) in b.enumerated() {
      let substituted = diagonal + (x == y ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(substituted, diagonal + 1, row[j] + 1)
    }
  }
  return row[b.count]
}
