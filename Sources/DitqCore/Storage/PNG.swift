// PNG files: 8-bit pixels and their texts in, the bytes of a PNG out, into a file or into memory of the caller.
// Relies on libpng through CPNG, and on Files for a file that appears whole or not at all.
// Refuses sizes, channels and texts that PNG or libpng would not take, before libpng sees them.

import CPNG
import CPlatform

/// A text beside the pixels, stored as an uncompressed iTXt chunk. Both are NUL-terminated: the key Latin-1, the text UTF-8.
package struct PNGText {
  let key, text: UnsafePointer<CChar>?

  package init(key: UnsafePointer<CChar>?, text: UnsafePointer<CChar>?) {
    self.key = key
    self.text = text
  }
}

/// So many texts of a host.
@export(interface)
package func pngTexts(count: Int, _ text: (Int) -> PNGText) throws(DitqError) -> [PNGText] {
  var texts = try [PNGText](room: count)
  for index in 0..<count { texts.append(text(index)) }
  return texts
}

/// What becomes a PNG: pixels [height, width, channels] with 1 (grey), 3 (RGB) or 4 (RGBA) channels, and texts. Borrows what it points to.
package struct PNGImage {
  let pixels: UnsafePointer<UInt8>
  let width, height, channels: Int
  let texts: [PNGText]

  package init(pixels: UnsafePointer<UInt8>, width: Int, height: Int, channels: Int, texts: [PNGText] = []) {
    self.pixels = pixels
    (self.width, self.height, self.channels) = (width, height, channels)
    self.texts = texts
  }
}

/// Writes the image to a file, which appears whole or not at all.
@export(interface)
package func writePNG(_ image: PNGImage, to path: String) throws(DitqError) {
  var output = Output(start: nil, capacity: 0, grows: true)
  defer { free(output.start) }
  try encode(image, into: &output)
  try writeFile(path, [UnsafeRawBufferPointer(start: output.start, count: output.count)])
}

/// Writes up to `capacity` bytes of the encoded image and returns how many bytes it has in all.
@export(interface)
package func encodePNG(_ image: PNGImage, into buffer: UnsafeMutableRawPointer?, capacity: Int) throws(DitqError) -> Int {
  var output = Output(start: buffer, capacity: buffer == nil ? 0 : capacity, grows: false)
  try encode(image, into: &output)
  return output.count
}

// MARK: - Encoding

/// Where the encoded bytes go: memory that grows, or memory of a fixed size beyond which bytes are only counted.
private struct Output {
  var start: UnsafeMutableRawPointer?
  var capacity: Int
  var count = 0
  let grows: Bool

  init(start: UnsafeMutableRawPointer?, capacity: Int, grows: Bool) {
    (self.start, self.capacity, self.grows) = (start, capacity, grows)
  }

  /// False when memory ran out.
  mutating func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if grows && bytes.count > capacity - count {
      let larger = max(2 * capacity, count + bytes.count, 1 << 16)
      guard let moved = realloc(start, larger) else { return false }
      (start, capacity) = (moved, larger)
    }
    if count < capacity, let start, let source = bytes.baseAddress { memcpy(start + count, source, min(bytes.count, capacity - count)) }
    count += bytes.count
    return true
  }
}

private func encode(_ image: PNGImage, into output: inout Output) throws(DitqError) {
  try check(image)
  let texts = try image.texts.mapped { ditqpng_text(key: $0.key, text: $0.text) }
  var message = [CChar](repeating: 0, count: Int(DITQPNG_MESSAGE_SIZE))
  let status = texts.withUnsafeBufferPointer { texts in
    var request = ditqpng_image(
      pixels: image.pixels, width: UInt32(image.width), height: UInt32(image.height), channels: CInt(image.channels),
      texts: texts.baseAddress, text_count: texts.count)
    return ditqpng_encode(&request, append, &output, &message)
  }
  switch status {
  case CInt(DITQPNG_OK): return
  case CInt(DITQPNG_OUT_OF_MEMORY):
    throw DitqError(.outOfMemory, "PNG of \(image.width) × \(image.height) pixels: memory ran out while encoding")
  case CInt(DITQPNG_ABSENT): throw DitqError(.unsupported, "PNG: this build has no libpng")
  default: throw DitqError(.internalError, "libpng: \(message.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })")
  }
}

/// The receiver of libpng's bytes; the context is an `Output`.
private func append(_ context: UnsafeMutableRawPointer?, _ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let output = context!.assumingMemoryBound(to: Output.self)
  let fits = output.pointee.append(UnsafeRawBufferPointer(start: bytes, count: count))
  return CInt(fits ? DITQPNG_OK : DITQPNG_OUT_OF_MEMORY)
}

// MARK: - Checks

private func check(_ image: PNGImage) throws(DitqError) {
  try check(image.width, named: "width", expecting: 1...65535)
  try check(image.height, named: "height", expecting: 1...65535)
  guard image.channels == 1 || image.channels == 3 || image.channels == 4 else {
    throw DitqError(.invalidArgument, "channels: 1, 3 or 4 expected, \(image.channels) found")
  }
  for (index, text) in image.texts.enumerated() {
    try check(key: bytes(of: text.key, named: "texts[\(index)].key"), named: "texts[\(index)].key")
    try check(text: bytes(of: text.text, named: "texts[\(index)].text"), named: "texts[\(index)].text")
  }
}

private func check(_ value: Int, named name: String, expecting range: ClosedRange<Int>) throws(DitqError) {
  guard range.contains(value) else {
    throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) … \(range.upperBound) expected, \(value) found")
  }
}

private func bytes(of string: UnsafePointer<CChar>?, named name: String) throws(DitqError) -> UnsafeRawBufferPointer {
  guard let string else { throw DitqError(.invalidArgument, "\(name): a string expected, NULL found") }
  return UnsafeRawBufferPointer(start: string, count: Int(strlen(string)))
}

/// PNG 1.2, 4.2.3: printable Latin-1, and spaces only between words, one at a time.
private func check(key: UnsafeRawBufferPointer, named name: String) throws(DitqError) {
  guard 1...79 ~= key.count else { throw DitqError(.invalidArgument, "\(name): 1 … 79 bytes expected, \(key.count) found") }
  let space = UInt8(ascii: " ")
  var previous = space
  for (index, byte) in key.enumerated() {
    guard 0x20...0x7e ~= byte || 0xa1...0xff ~= byte else {
      throw DitqError(.invalidArgument, "\(name): printable Latin-1 expected, byte \(byte) found at \(index)")
    }
    guard byte != space || (previous != space && index + 1 < key.count) else {
      throw DitqError(.invalidArgument, "\(name): single spaces between words expected, another space found at \(index)")
    }
    previous = byte
  }
}

/// A chunk holds less than 2³¹ bytes, of which the key and its separators need fewer than 100.
private func check(text: UnsafeRawBufferPointer, named name: String) throws(DitqError) {
  let limit = Int(Int32.max) - 100
  guard text.count <= limit else {
    throw DitqError(.invalidArgument, "\(name): at most \(limit) bytes expected, \(text.count) found")
  }
  var decoder = UTF8()
  var rest = text.makeIterator()
  while true {
    switch decoder.decode(&rest) {
    case .scalarValue: continue
    case .emptyInput: return
    case .error: throw DitqError(.invalidArgument, "\(name): well-formed UTF-8 expected, other bytes found")
    }
  }
}
