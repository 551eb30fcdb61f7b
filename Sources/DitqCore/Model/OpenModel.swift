// Opening a model: tells by what stands under the path, and by its first bytes, which reader is asked.

extension Model {
  @export(interface)
  package static func open(path: String, _ options: OpenOptions) throws(DitqError) -> Model {
    try options.requireSupported()
    switch kind(of: path) {
    case .directory:
      guard options.expectedSHA256 == nil else {
        throw DitqError(.invalidArgument, "expected_sha256: a single file expected, \(path) is a directory")
      }
      return try openDiffusersDirectory(path, options)
    default:
      return try open(Bytes(mapping: path), named: path, beside: try settings(beside: path), options)
    }
  }

  @export(interface)
  package static func open(_ bytes: Bytes, named name: String, _ options: OpenOptions) throws(DitqError) -> Model {
    try options.requireSupported()
    return try open(bytes, named: name, beside: nil, options)
  }

  private static func open(
    _ bytes: Bytes, named name: String, beside: Settings?, _ options: OpenOptions
  ) throws(DitqError) -> Model {
    if let expected = options.expectedSHA256 { try verify(bytes, expected, name) }
    let checkpoint =
      isTorchFile(bytes.buffer)
      ? try readTorchCheckpoint(bytes, named: name, options.allocator)
      : CheckpointFile(tensors: try readSafetensors(bytes, named: name), source: "safetensors", arguments: nil)
    do {
      return try openOfficialCheckpoint(checkpoint.withoutPrefix(), beside: beside, options)
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
    var hash = SHA256()
    hash.update(bytes.buffer)
    let found = hexadecimal(hash.digest())
    guard found == asciiLowercased(expected) else {
      throw DitqError(.checksumMismatch, "\(name): SHA-256 \(asciiLowercased(expected)) expected, \(found) found")
    }
  }
}
