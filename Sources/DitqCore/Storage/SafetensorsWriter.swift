// Writing a safetensors file: the header, then each tensor's bytes in the order given, without holes. The header is padded with spaces so
// that the data begins at a multiple of 64: a tensor that stands behind multiples of 64 bytes can be used in place from a mapping.

/// A tensor to be written: its bytes in pieces, which stay where they are until the file is written.
struct TensorToWrite {
  let name: String
  let dtype: String
  let shape: [Int]
  let pieces: [UnsafeRawBufferPointer]

  var byteCount: Int { pieces.reduce(0) { $0 + $1.count } }

  /// SHA-256 of the bytes, in hexadecimal.
  var checksum: String {
    var hash = SHA256()
    for piece in pieces { hash.update(piece) }
    return hexadecimal(hash.digest())
  }
}

/// Writes a file whole or not at all.
func writeSafetensors(_ tensors: [TensorToWrite], metadata: [(name: String, value: String)], to path: String) throws(DitqError) {
  var header = "{\"__metadata__\": {"
  for (index, entry) in metadata.enumerated() {
    header += (index == 0 ? "" : ", ") + jsonLiteral(entry.name) + ": " + jsonLiteral(entry.value)
  }
  header += "}"
  var end = 0
  for tensor in tensors {
    try checkMemory()
    let start = end
    end += tensor.byteCount
    header += ", \(jsonLiteral(tensor.name)): {\"dtype\": \"\(tensor.dtype)\", \"shape\": \(text(ofShape: tensor.shape))"
    header += ", \"data_offsets\": [\(start), \(end)]}"
  }
  header += "}"
  var bytes = Array(header.utf8)
  while (8 + bytes.count) % 64 != 0 { bytes.append(UInt8(ascii: " ")) }
  let length = UInt64(bytes.count).littleEndian
  let lengthBytes = withUnsafeBytes(of: length) { Array($0) }
  let prefix = lengthBytes + bytes
  let result = prefix.withUnsafeBytes { prefix in
    Result { () throws(DitqError) in try writeFile(path, [prefix] + tensors.flatMap { $0.pieces }) }
  }
  try result.get()
}
