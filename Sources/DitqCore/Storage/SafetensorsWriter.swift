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
  var header = LongText()
  // Of the length, which is known at the end.
  try header.add("01234567{\"__metadata__\": {")
  for (index, entry) in metadata.enumerated() {
    try header.add(index == 0 ? "" : ", ")
    try header.addLiteral(entry.name)
    try header.add(": ")
    try header.addLiteral(entry.value)
  }
  try header.add("}")
  // The header's place, then the tensors'.
  var end = 0, pieces = [UnsafeRawBufferPointer(start: nil, count: 0)]
  for tensor in tensors {
    let start = end
    end += tensor.byteCount
    try header.add(", \(jsonLiteral(tensor.name)): {\"dtype\": \"\(tensor.dtype)\", \"shape\": \(text(ofShape: tensor.shape))")
    try header.add(", \"data_offsets\": [\(start), \(end)]}")
    for piece in tensor.pieces { try pieces.add(piece) }
  }
  try header.add("}")
  while header.bytes.count % 64 != 0 { try header.add(" ") }
  let length = UInt64(header.bytes.count - 8)
  for index in 0..<8 { header.bytes[index] = UInt8(truncatingIfNeeded: length >> UInt64(8 * index)) }
  let result = header.bytes.withUnsafeBytes { bytes in
    Result { () throws(DitqError) in
      pieces[0] = bytes
      try writeFile(path, pieces)
    }
  }
  try result.get()
}
