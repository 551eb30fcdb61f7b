// ClassNames: what the labels are called, and the label of a name. A name may list aliases, with commas between them. Relies on ClassNameSearch,
// which looks through names without making any. Refuses more names than classes, and names that a C string cannot hold.

package final class ClassNames {
  private let names: [String]
  /// All names as C strings, one after the other, and where each begins.
  private let text: Block
  private let starts: [Int]

  /// Names of labels 0, 1, …; there may be fewer than classes. A convenience initializer: see Block.
  convenience init(_ names: [String], classCount: Int) throws(DitqError) {
    guard names.count <= classCount else {
      throw DitqError(.malformed, "class names: at most \(classCount) expected, \(names.count) found")
    }
    var byteCount = 0, starts = try [Int](room: names.count)
    for (label, name) in names.enumerated() {
      guard !name.contains("\0") else { throw DitqError(.malformed, "class names: the name of label \(label) contains a NUL") }
      starts.append(byteCount)
      byteCount += name.utf8.count + 1
    }
    self.init(names, starts, try Block(byteCount: max(1, byteCount), from: .system, for: "class names"))
  }

  private init(_ names: [String], _ starts: [Int], _ text: Block) {
    (self.names, self.starts, self.text) = (names, starts, text)
    for (name, start) in zip(names, starts) {
      withBytes(of: name) { bytes in
        if let first = bytes.baseAddress { (text.start + start).copyMemory(from: first, byteCount: bytes.count) }
        (text.start + start).storeBytes(of: 0, toByteOffset: bytes.count, as: UInt8.self)
      }
    }
  }

  package var count: Int { names.count }
  @export(interface)
  package subscript(label: Int) -> String? { names.indices.contains(label) && !names[label].isEmpty ? names[label] : nil }

  /// The name as a C string that lives as long as this object.
  @export(interface)
  package func cString(_ label: Int) -> UnsafePointer<CChar>? {
    self[label] == nil ? nil : UnsafePointer((text.start + starts[label]).assumingMemoryBound(to: CChar.self))
  }

  /// The label of a name: as it is written, else without regard to ASCII case.
  @export(interface)
  package func label(of wanted: String) throws(DitqError) -> Int {
    let found = withBytes(of: wanted) { bytes in
      Result { () throws(DitqError) in
        let key = ClassNameSearch(bytes)
        guard !key.isEmpty else { throw DitqError(.invalidArgument, "name: a class name expected, nothing found") }
        for isFolded in [false, true] {
          if let label = try key.label(in: names, isFolded: isFolded) { return label }
        }
        let shown = shortened(bytes)
        guard !names.isEmpty else { throw DitqError(.notFound, "\(shown): this model names no classes") }
        throw DitqError(.notFound, "\(shown): no such class; the nearest are \(key.nearest(in: names))")
      }
    }
    return try found.get()
  }
}
