// Opening a model: tells by what stands under the path, and by its first bytes, which reader is asked.

extension Model {
  @export(interface)
  package static func open(path: String, _ options: OpenOptions) throws(DitqError) -> Model {
    try options.check()
    switch kind(of: path) {
    case .directory:
      guard options.expectedSHA256 == nil else {
        throw DitqError(.invalidArgument, "expected_sha256: a single file expected, \(path) is a directory")
      }
      return try openDiffusersDirectory(path, options)
    default:
      let bytes = try Bytes(mapping: path), beside = try settings(beside: path)
      return try open(bytes, named: path, beside: beside, files: [path] + (beside.map { [$0.name] } ?? []), options)
    }
  }

  @export(interface)
  package static func open(_ bytes: Bytes, named name: String, _ options: OpenOptions) throws(DitqError) -> Model {
    try options.check()
    return try open(bytes, named: name, beside: nil, files: [], options)
  }

  private static func open(
    _ bytes: Bytes, named name: String, beside: Settings?, files: [String], _ options: OpenOptions
  ) throws(DitqError) -> Model {
    if let expected = options.expectedSHA256 { try verify(bytes, expected, name) }
    let checkpoint =
      isTorchFile(bytes.buffer)
      ? try readTorchCheckpoint(bytes, named: name, options.allocator)
      : CheckpointFile(tensors: try readSafetensors(bytes, named: name), source: "safetensors", arguments: nil)
    do {
      return try openOfficialCheckpoint(checkpoint.withoutPrefix(), beside: beside, files: files.mapped(lastComponent), options)
    } catch {
      throw error.said(of: name)
    }
  }

  /// What stands beside a checkpoint NAME.pt in NAME.pt.ditq.json, or else in NAME.ditq.json.
  private static func settings(beside path: String) throws(DitqError) -> Settings? {
    for name in [path, withoutExtension(path)] {
      let file = name + ".ditq.json"
      if case .file = kind(of: file) { return try Settings(file: file, named: file) }
    }
    return nil
  }

  private static func verify(_ bytes: Bytes, _ expected: String, _ name: String) throws(DitqError) {
    let isHexadecimal = expected.utf8.allSatisfy {
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0 | 0x20)
    }
    guard expected.utf8.count == 64 && isHexadecimal else {
      throw DitqError(.invalidArgument, "expected_sha256: 64 hexadecimal digits expected, \"\(expected)\" found")
    }
    let pieceByteCount = 1 << 14
    var hash = SHA256()
    for piece in stride(from: 0, to: bytes.count, by: pieceByteCount) {
      try checkCall()
      hash.update(UnsafeRawBufferPointer(rebasing: bytes.buffer[piece..<min(piece + pieceByteCount, bytes.count)]))
    }
    let found = hexadecimal(hash.digest())
    guard found == asciiLowercased(expected) else {
      throw DitqError(.checksumMismatch, "\(name): SHA-256 \(asciiLowercased(expected)) expected, \(found) found")
    }
  }
}
