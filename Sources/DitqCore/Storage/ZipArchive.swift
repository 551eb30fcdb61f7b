// ZipArchive: what stands where in a zip file (PKWARE's APPNOTE), zip64 included. Relies on ByteReader. Names are compared, never used as
// paths. Refuses compressed and encrypted entries, archives in several parts, entries that overlap, stand in another order than the directory
// says, leave the file, share a name or contradict their own local header.
//
//     entry    local header, name, extra field, data, perhaps a descriptor; one after the other, from wherever
//     …
//     directory  a header for each entry: name, size, where its local header stands
//     end        how many entries, where the directory stands; before it, in zip64, the same in 64 bits and where that stands

struct ZipEntry {
  let name: String
  /// Where the local header begins, where the data do, and how many bytes they are.
  let header: Int
  let start: Int
  let byteCount: Int

  var range: Range<Int> { start..<start + byteCount }
}

struct ZipArchive {
  /// In the byte order of their names.
  let entries: [ZipEntry]

  init(_ bytes: UnsafeRawBufferPointer) throws(DitqError) {
    let directory = try findDirectory(bytes)
    // Careful: a count is believed only as far as the bytes of the directory reach.
    guard directory.entryCount <= min(directory.range.count / 46, Limit.zipEntries) else {
      throw DitqError(
        .malformed,
        "\(directory.entryCount) entries in a directory of \(directory.range.count) bytes, where at most \(Limit.zipEntries) are read")
    }
    var reader = ByteReader(bytes, directory.range)
    var entries: [ZipEntry] = []
    var end = 0
    for _ in 0..<directory.entryCount {
      let entry = try readEntry(&reader, bytes, dataEnd: directory.range.lowerBound)
      guard entry.header >= end else {
        throw DitqError(.malformed, "\(jsonLiteral(entry.name)) begins at byte \(entry.header), before the entry in front of it ends")
      }
      end = entry.start + entry.byteCount
      try entries.add(entry)
    }
    guard reader.position == reader.end else {
      throw DitqError(.malformed, "a directory of \(directory.range.count) bytes expected, \(reader.end - reader.position) less found")
    }
    let (order, repeated) = try order(ofNames: entries.mapped { $0.name })
    if let repeated { throw DitqError(.malformed, "two entries named \(jsonLiteral(entries[repeated].name))") }
    self.entries = try order.mapped { entries[$0] }
  }

  func find(_ name: String) -> ZipEntry? {
    let place = firstPlace(notBefore: name, of: entries.count) { entries[$0].name }
    return place < entries.count && entries[place].name == name ? entries[place] : nil
  }
}

// MARK: - The end, and the directory

private struct Directory {
  let range: Range<Int>
  let entryCount: Int
}

private enum Signature {
  static let entry = 0x0201_4b50, local = 0x0403_4b50, end = 0x0605_4b50, end64 = 0x0606_4b50, locator64 = 0x0706_4b50
}

private func findDirectory(_ bytes: UnsafeRawBufferPointer) throws(DitqError) -> Directory {
  let end = try findEnd(bytes)
  var reader = ByteReader(bytes, end..<bytes.count)
  _ = try reader.take(4)
  let disks = (try reader.number(2), try reader.number(2), try reader.number(2))
  var count = try reader.number(2), size = try reader.number(4), start = try reader.number(4), limit = end
  if let record = try findEnd64(bytes, before: end) {
    var reader = ByteReader(bytes, record..<end)
    _ = try reader.take(32)
    let whole = (try reader.number(8), try reader.number(8), try reader.number(8))
    guard count == whole.0 || count == 0xffff, size == whole.1 || size == 0xffff_ffff, start == whole.2 || start == 0xffff_ffff else {
      throw DitqError(.malformed, "the 64-bit end record and the 32-bit one disagree")
    }
    (count, size, start, limit) = (whole.0, whole.1, whole.2, record)
  } else {
    guard disks == (0, 0, count) else { throw DitqError(.unsupported, "an archive in several parts") }
  }
  guard start <= limit, size <= limit - start else {
    throw DitqError(.malformed, "a directory of \(size) bytes at byte \(start), which leaves the file's \(bytes.count) bytes")
  }
  return Directory(range: start..<start + size, entryCount: count)
}

/// Where the end record stands: behind it comes a comment, up to the end of the file.
private func findEnd(_ bytes: UnsafeRawBufferPointer) throws(DitqError) -> Int {
  for start in stride(from: bytes.count - 22, through: max(0, bytes.count - 22 - 0xffff), by: -1) {
    guard UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self)) == Signature.end else { continue }
    let comment = UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 20, as: UInt16.self))
    if start + 22 + Int(comment) == bytes.count { return start }
  }
  throw DitqError(.malformed, "no directory at the end of \(bytes.count) bytes: the file is cut short, or no zip")
}

private func findEnd64(_ bytes: UnsafeRawBufferPointer, before end: Int) throws(DitqError) -> Int? {
  guard end >= 20 else { return nil }
  var locator = ByteReader(bytes, end - 20..<end)
  guard try locator.number(4) == Signature.locator64 else { return nil }
  _ = try locator.take(4)
  let start = try locator.number(8)
  guard start <= end - 20 - 56, UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self)) == Signature.end64 else {
    throw DitqError(.malformed, "no 64-bit end record at byte \(start)")
  }
  return start
}

// MARK: - Entries

/// The fields that an entry's header in the directory and its local header have in common.
private struct Common {
  let flags: Int
  let method: Int
  var packed: Int
  var size: Int
  let nameLength: Int
  let extraLength: Int

  init(_ reader: inout ByteReader) throws(DitqError) {
    (flags, method) = (try reader.number(2), try reader.number(2))
    _ = try reader.take(8)  // time, date, checksum
    (packed, size) = (try reader.number(4), try reader.number(4))
    (nameLength, extraLength) = (try reader.number(2), try reader.number(2))
  }

  /// In zip64, numbers that 32 bits cannot hold stand in the extra field, in this order.
  mutating func widen(_ bytes: UnsafeRawBufferPointer, _ extra: Range<Int>, offset: inout Int) throws(DitqError) {
    var reader = ByteReader(bytes, extra)
    // Fewer bytes than a field needs are padding.
    while reader.end - reader.position >= 4 {
      let kind = try reader.number(2), field = try reader.take(reader.number(2))
      guard kind == 1 else { continue }
      var wide = ByteReader(bytes, field)
      if size == 0xffff_ffff { size = try wide.number(8) }
      if packed == 0xffff_ffff { packed = try wide.number(8) }
      if offset == 0xffff_ffff { offset = try wide.number(8) }
      return
    }
  }
}

private func readEntry(_ reader: inout ByteReader, _ bytes: UnsafeRawBufferPointer, dataEnd: Int) throws(DitqError) -> ZipEntry {
  guard try reader.number(4) == Signature.entry else {
    throw DitqError(.malformed, "an entry expected in the directory at byte \(reader.position - 4)")
  }
  _ = try reader.take(4)  // versions
  var central = try Common(&reader)
  let commentLength = try reader.number(2)
  _ = try reader.take(8)  // part, attributes
  var header = try reader.number(4)
  guard central.nameLength <= Limit.nameByteCount else {
    throw DitqError(.unsupported, "a name of \(central.nameLength) bytes, more than \(Limit.nameByteCount)")
  }
  let name = try reader.take(central.nameLength)
  let extra = try reader.take(central.extraLength)
  _ = try reader.take(commentLength)

  let entry = text(bytes, name)
  do throws(DitqError) {
    try central.widen(bytes, extra, offset: &header)
    guard central.flags & 0x2041 == 0 else { throw DitqError(.unsupported, "encrypted") }
    guard central.method == 0 else {
      throw DitqError(
        .unsupported,
        "compressed (method \(central.method)): torch.save stores entries as they are; of a TorchScript module, which torch.jit.save compresses, "
          + "save torch.jit.load(path).state_dict()")
    }
    guard central.packed == central.size else {
      throw DitqError(.malformed, "\(central.size) bytes stored in \(central.packed) bytes")
    }
    let start = try checkLocal(bytes, header: header, central, entry, dataEnd)
    return ZipEntry(name: entry, header: header, start: start, byteCount: central.size)
  } catch {
    throw error.said(of: jsonLiteral(entry))
  }
}

/// Where the data begin: only the local header says it. What else it says must be what the directory says.
private func checkLocal(
  _ bytes: UnsafeRawBufferPointer, header: Int, _ central: Common, _ name: String, _ dataEnd: Int
) throws(DitqError) -> Int {
  guard header <= dataEnd else { throw DitqError(.malformed, "a local header at byte \(header), behind the data, which end at \(dataEnd)") }
  var reader = ByteReader(bytes, header..<dataEnd)
  guard try reader.number(4) == Signature.local else { throw DitqError(.malformed, "no local header at byte \(header)") }
  _ = try reader.take(2)
  var local = try Common(&reader), noOffset = 0
  let localName = try reader.take(local.nameLength)
  try local.widen(bytes, reader.take(local.extraLength), offset: &noOffset)
  // Sizes may follow the data: then they are 0 here.
  let isLater = local.flags & 8 != 0 && local.size == 0 && local.packed == 0
  guard
    text(bytes, localName) == name && local.method == central.method
      && (isLater || local.size == central.size && local.packed == central.packed)
  else { throw DitqError(.malformed, "its local header at byte \(header) says otherwise") }
  return try reader.take(central.size).lowerBound
}
