// Safetensors: one file of named tensors, used in place. Relies on JSON. Refuses whatever the format forbids and what exceeds the limits.
//
//     byte 0      length of the header, N: 64 bits, little endian
//     byte 8      header: N bytes of a JSON object, beginning with '{', perhaps with spaces after its '}'
//                   "__metadata__": {name: string, …}                                                    perhaps
//                   a tensor's name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}     for each tensor
//     byte 8 + N  data: row-major, little-endian elements. Offsets count from here; the tensors cover it to the end of the file
//                   without holes or overlaps. Nothing is aligned unless the writer saw to it.

func readSafetensors(_ bytes: Bytes, named path: String) throws(DitqError) -> TensorCollection {
  do throws(DitqError) {
    let (members, dataStart) = try readHeader(bytes)
    var entries: [Entry] = []
    var metadata: [(name: String, value: String)] = []
    for member in members {
      if member.name == "__metadata__" { metadata = try readMetadata(member.value) } else { try entries.add(try Entry(member)) }
    }
    guard entries.count <= Limit.tensors else {
      throw DitqError(.unsupported, "\(entries.count) tensors, more than \(Limit.tensors)")
    }
    try checkCoverage(entries, dataStart: dataStart, fileEnd: bytes.count)
    return try TensorCollection(entries.mapped { $0.tensor(in: bytes.start + dataStart) }, metadata: metadata, in: [bytes])
  } catch {
    throw error.said(of: path)
  }
}

private func readHeader(_ bytes: Bytes) throws(DitqError) -> (members: [JSON.Member], dataStart: Int) {
  guard bytes.count >= 8 else { throw DitqError(.malformed, "a header length of 8 bytes expected, \(bytes.count) bytes found") }
  let length = UInt64(littleEndian: bytes.start.loadUnaligned(as: UInt64.self))
  guard length <= UInt64(Limit.headerByteCount) else {
    throw DitqError(.malformed, "a header of at most \(Limit.headerByteCount) bytes expected, \(length) found")
  }
  guard length <= UInt64(bytes.count - 8) else {
    throw DitqError(.malformed, "a header of \(length) bytes expected, \(bytes.count - 8) bytes found")
  }
  let header = UnsafeRawBufferPointer(start: bytes.start + 8, count: Int(length))
  guard header.first == UInt8(ascii: "{") else { throw DitqError(.malformed, "header: '{' expected at its beginning") }
  do throws(DitqError) {
    return (try JSON(parsing: header).members ?? [], 8 + header.count)
  } catch {
    throw error.said(of: "header")
  }
}

private func readMetadata(_ value: JSON) throws(DitqError) -> [(name: String, value: String)] {
  guard let members = value.members else { throw DitqError(.malformed, "__metadata__: an object expected, \(value.kindName) found") }
  var metadata: [(name: String, value: String)] = []
  for member in members {
    guard let text = member.value.string else {
      throw DitqError(.malformed, "__metadata__: strings expected, \(member.value.kindName) found")
    }
    try metadata.add((member.name, text))
  }
  return metadata
}

// MARK: - What the header says of a tensor

private struct Entry {
  let name: String
  let dtype: String
  let shape: [Int]
  let elementCount: Int
  let begin: Int
  let end: Int

  init(_ member: JSON.Member) throws(DitqError) {
    guard member.name.utf8.count <= Limit.nameByteCount else {
      throw DitqError(.unsupported, "a tensor's name of \(member.name.utf8.count) bytes, more than \(Limit.nameByteCount)")
    }
    do throws(DitqError) {
      try self.init(name: member.name, member.value)
    } catch {
      throw error.said(of: member.name)
    }
  }

  private init(name: String, _ value: JSON) throws(DitqError) {
    guard let dtype = value.member("dtype"), let shape = value.member("shape"), let offsets = value.member("data_offsets"),
      value.members?.count == 3
    else { throw DitqError(.malformed, "dtype, shape and data_offsets expected, nothing else") }
    guard let dtype = dtype.string else { throw DitqError(.malformed, "dtype: a string expected, \(dtype.kindName) found") }
    guard let elementByteCount = byteCount(ofDtype: dtype) else {
      throw DitqError(.unsupported, "dtype \(jsonLiteral(dtype)) is not known")
    }
    (self.name, self.dtype) = (name, dtype)
    if let rank = shape.array?.count, rank > Limit.rank {
      throw DitqError(.unsupported, "a shape of rank \(rank), more than \(Limit.rank)")
    }
    self.shape = try sizes(shape, "shape")
    if let count = offsets.array?.count, count > Limit.rank {
      throw DitqError(.malformed, "data_offsets: a begin and an end expected, \(count) numbers found")
    }
    let range = try sizes(offsets, "data_offsets")
    guard range.count == 2, range[0] <= range[1] else {
      throw DitqError(.malformed, "data_offsets: a begin and an end expected, \(text(ofShape: range)) found")
    }
    (begin, end) = (range[0], range[1])
    guard let elementCount = product(self.shape), let byteCount = product([elementCount, elementByteCount]) else {
      throw DitqError(.malformed, "shape \(text(ofShape: self.shape)) has too many elements")
    }
    guard byteCount == end - begin else {
      throw DitqError(.malformed, "\(byteCount) bytes expected of \(dtype) \(text(ofShape: self.shape)), \(end - begin) bytes found")
    }
    self.elementCount = elementCount
  }

  func tensor(in data: UnsafeRawPointer) -> Tensor {
    Tensor(name: name, dtype: dtype, shape: shape, start: data + begin, byteCount: end - begin, elementCount: elementCount)
  }
}

private func sizes(_ value: JSON, _ what: String) throws(DitqError) -> [Int] {
  guard let elements = value.array else { throw DitqError(.malformed, "\(what): an array expected, \(value.kindName) found") }
  var sizes: [Int] = []
  for element in elements {
    guard let size = element.integer, size >= 0 else { throw DitqError(.malformed, "\(what): integers from 0 to 2^53 expected") }
    sizes.append(size)
  }
  return sizes
}

/// The tensors, in the order of their data, must follow each other without holes or overlaps, up to the end of the file. This also keeps
/// each of them inside the file.
private func checkCoverage(_ entries: [Entry], dataStart: Int, fileEnd: Int) throws(DitqError) {
  var order = try [Int](room: entries.count)
  for index in entries.indices { order.append(index) }
  // An empty tensor stands before the one that begins at the same byte.
  try order.sortInPlace { (entries[$0].begin, entries[$0].end) < (entries[$1].begin, entries[$1].end) }
  var end = 0
  for index in order {
    let entry = entries[index]
    guard entry.begin == end else {
      let what = entry.begin < end ? "it overlaps another tensor" : "a hole stands before it"
      throw DitqError(.malformed, "\(entry.name): data from \(end) on expected, from \(entry.begin) on found: \(what)")
    }
    end = entry.end
  }
  guard end == fileEnd - dataStart else {
    throw DitqError(.malformed, "a file of \(dataStart + end) bytes expected, \(fileEnd) bytes found")
  }
}
