// What the PNG writer puts into a file, byte by byte, and what it refuses. The pixels themselves are libpng's business.
// The chunks are read here without libpng, so that a mistake in how it is called cannot hide.

import DitqCore
import Foundation
import Testing

@Suite("PNG files")
struct PNGTests {
  @Test("Every file begins with the signature and ends with an empty IEND, and every chunk has its checksum")
  func structure() throws {
    for channels in [1, 3, 4] {
      let file = try encoded(width: 5, height: 7, channels: channels)
      #expect(file.prefix(8) == [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
      let chunks = try readChunks(file)
      #expect(chunks.map(\.type) == ["IHDR", "IDAT", "IEND"])
      #expect(chunks[2].data.isEmpty)
    }
  }

  @Test("The header states the size, eight bits, and the colour type of the channels")
  func header() throws {
    for (channels, color) in [(1, 0), (3, 2), (4, 6)] as [(Int, UInt8)] {
      let header = try readChunks(encoded(width: 300, height: 2, channels: channels))[0]
      #expect(header.data == [0, 0, 1, 44, 0, 0, 0, 2, 8, color, 0, 0, 0])
    }
  }

  @Test("Each text becomes one uncompressed iTXt chunk before the pixels, in the order given")
  func texts() throws {
    let texts = [("Class".bytes, "red apple 🍎".bytes), ("Title ä".latin1, []), ("Seed".bytes, "7".bytes)]
    let file = try encoded(width: 2, height: 2, texts: texts)
    let chunks = try readChunks(file)
    #expect(chunks.map(\.type) == ["IHDR", "iTXt", "iTXt", "iTXt", "IDAT", "IEND"])
    // key NUL, not compressed, method 0, no language NUL, no translated key NUL, text
    #expect(chunks[1].data == "Class".bytes + [0, 0, 0, 0, 0] + "red apple 🍎".bytes)
    #expect(chunks[2].data == "Title ä".latin1 + [0, 0, 0, 0, 0])
    #expect(chunks[3].data == "Seed".bytes + [0, 0, 0, 0, 0] + "7".bytes)
  }

  @Test("Encoding twice gives the same bytes")
  func determinism() throws {
    let first = try encoded(width: 64, height: 48, texts: [("Software", "libditq")])
    #expect(try encoded(width: 64, height: 48, texts: [("Software", "libditq")]) == first)
  }

  @Test("A small buffer receives the beginning of the file, and the full size is returned")
  func prefix() throws {
    let pixels = gradient(width: 40, height: 40, channels: 3)
    defer { withExtendedLifetime(pixels) {} }  // a PNGImage only points to them
    let whole = try encoded(width: 40, height: 40)
    for capacity in [0, 1, 7, 8, 9, 33, whole.count - 1, whole.count, whole.count + 9] {
      var buffer = [UInt8](repeating: 0xa5, count: whole.count + 16)
      let needed = try encodePNG(PNGImage(pixels: pixels, width: 40, height: 40, channels: 3), into: &buffer, capacity: capacity)
      let written = min(capacity, whole.count)
      #expect(needed == whole.count)
      #expect(buffer.prefix(written) == whole.prefix(written))
      #expect(buffer.dropFirst(written).allSatisfy { $0 == 0xa5 })
    }
    #expect(try encodePNG(PNGImage(pixels: pixels, width: 40, height: 40, channels: 3), into: nil, capacity: 100) == whole.count)
  }

  @Test("Sizes from 1 to 65535 are taken, others are refused with what was found")
  func sizes() throws {
    #expect(refusal(width: 65535, height: 1) == nil)
    #expect(refusal(width: 1, height: 65535) == nil)
    for size in [0, -1, 65536, Int.max, Int.min] {
      #expect(refusal(width: size, height: 1) == "invalidArgument width: 1 … 65535 expected, \(size) found")
      #expect(refusal(width: 1, height: size) == "invalidArgument height: 1 … 65535 expected, \(size) found")
    }
  }

  @Test("Channel counts other than 1, 3 and 4 are refused")
  func channelCounts() {
    for channels in [0, 2, 5, -3, Int.max] {
      #expect(refusal(channels: channels) == "invalidArgument channels: 1, 3 or 4 expected, \(channels) found")
    }
  }

  @Test("Keys of 1 to 79 printable Latin-1 characters with single spaces between words are taken")
  func goodKeys() {
    for key in ["K".bytes, "Creation Time".bytes, [0x21, 0x7e, 0xa1, 0xff], [UInt8](repeating: 0x6b, count: 79)] {
      #expect(refusal(key: key) == nil)
    }
  }

  @Test("Keys that PNG does not allow are refused with the reason")
  func badKeys() {
    #expect(refusal(key: []) == "invalidArgument texts[1].key: 1 … 79 bytes expected, 0 found")
    let long = [UInt8](repeating: 0x6b, count: 80)
    #expect(refusal(key: long) == "invalidArgument texts[1].key: 1 … 79 bytes expected, 80 found")
    for byte: UInt8 in [0x01, 0x0a, 0x1f, 0x7f, 0x80, 0x9f, 0xa0] {
      #expect(refusal(key: [0x6b, byte]) == "invalidArgument texts[1].key: printable Latin-1 expected, byte \(byte) found at 1")
    }
    for (key, index) in [(" a", 0), (" ", 0), ("a ", 1), ("a  b", 2)] {
      let sentence = "single spaces between words expected, another space found at \(index)"
      #expect(refusal(key: key.bytes) == "invalidArgument texts[1].key: \(sentence)")
    }
  }

  @Test("Texts that are not UTF-8 are refused: lone bytes, overlong forms, surrogates, truncated ends")
  func badTexts() {
    #expect(refusal(text: "naïve 日本 🍎".bytes) == nil)
    let lone: [[UInt8]] = [[0xff], [0x80], [0x61, 0xe9]]
    for text in lone + [[0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf0, 0x9f, 0x8d]] {
      #expect(refusal(text: text) == "invalidArgument texts[1].text: well-formed UTF-8 expected, other bytes found")
    }
  }

  @Test("A key or a text that is NULL is refused")
  func missingTexts() {
    #expect(refusal(texts: [PNGText(key: nil, text: nil)]) == "invalidArgument texts[0].key: a string expected, NULL found")
    let message = [CChar(0x6b), 0].withUnsafeBufferPointer { refusal(texts: [PNGText(key: $0.baseAddress, text: nil)]) }
    #expect(message == "invalidArgument texts[0].text: a string expected, NULL found")
  }

  @Test("A written file holds the encoded bytes, replaces what was there, and is alone in its directory")
  func files() throws {
    try inTemporaryDirectory { directory in
      let path = directory + "/apple.png"
      try Data("old".utf8).write(to: URL(fileURLWithPath: path))
      let pixels = gradient(width: 200, height: 300, channels: 3)
      defer { withExtendedLifetime(pixels) {} }  // a PNGImage only points to them
      try writePNG(PNGImage(pixels: pixels, width: 200, height: 300, channels: 3), to: path)
      #expect(try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) == encoded(width: 200, height: 300))
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["apple.png"])
    }
  }

  @Test("A refused image and a path that cannot be written leave nothing behind")
  func failingWrites() throws {
    try inTemporaryDirectory { directory in
      try FileManager.default.createDirectory(atPath: directory + "/taken.png", withIntermediateDirectories: false)
      #expect(status(writingTo: directory + "/absent/apple.png") == .notFound)
      #expect(status(writingTo: directory + "/taken.png") == .ioFailed)
      #expect(status(writingTo: directory + "/apple.png", channels: 2) == .invalidArgument)
      #expect(try FileManager.default.subpathsOfDirectory(atPath: directory) == ["taken.png"])
    }
    #expect(status(writingTo: "/dev/full") == .ioFailed)
    #expect(try FileManager.default.contentsOfDirectory(atPath: "/dev").allSatisfy { !$0.hasPrefix("full.") })
  }
}

// MARK: - Encoding

private func gradient(width: Int, height: Int, channels: Int) -> [UInt8] {
  (0..<width * height * channels).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 5) }
}

/// Gives the body what `strings` are as pairs of NUL-terminated bytes.
private func withTexts<R>(_ strings: [(key: [UInt8], text: [UInt8])], _ body: ([PNGText]) throws -> R) rethrows -> R {
  let copies = strings.map { (key: copy($0.key), text: copy($0.text)) }
  defer {
    for (key, text) in copies {
      key.deallocate()
      text.deallocate()
    }
  }
  return try body(copies.map { PNGText(key: $0.key, text: $0.text) })
}

private func copy(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar> {
  let start = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
  for (index, byte) in (bytes + [0]).enumerated() { start[index] = CChar(bitPattern: byte) }
  return start
}

private func encoded(width: Int, height: Int, channels: Int = 3, texts: [(key: [UInt8], text: [UInt8])] = []) throws -> [UInt8] {
  let pixels = gradient(width: width, height: height, channels: channels)
  defer { withExtendedLifetime(pixels) {} }  // a PNGImage only points to them
  return try withTexts(texts) { texts in
    let image = PNGImage(pixels: pixels, width: width, height: height, channels: channels, texts: texts)
    var bytes = [UInt8](repeating: 0, count: try encodePNG(image, into: nil, capacity: 0))
    #expect(try encodePNG(image, into: &bytes, capacity: bytes.count) == bytes.count)
    return bytes
  }
}

private func encoded(width: Int, height: Int, texts: [(key: String, text: String)]) throws -> [UInt8] {
  try encoded(width: width, height: height, texts: texts.map { ($0.key.bytes, $0.text.bytes) })
}

/// The status and the sentence of a refusal, nil when the image was taken. What is refused must be refused before the pixels are read.
private func refusal(width: Int = 1, height: Int = 1, channels: Int = 3, texts: [PNGText] = []) -> String? {
  let pixels = [UInt8](repeating: 128, count: 4 * 65535)
  defer { withExtendedLifetime(pixels) {} }  // a PNGImage only points to them
  do throws(DitqError) {
    _ = try encodePNG(PNGImage(pixels: pixels, width: width, height: height, channels: channels, texts: texts), into: nil, capacity: 0)
    return nil
  } catch {
    return "\(error.status) \(error.message)"
  }
}

/// The same for a key or a text, behind a good pair.
private func refusal(key: [UInt8] = "Key".bytes, text: [UInt8] = []) -> String? {
  withTexts([("Good".bytes, "good".bytes), (key, text)]) { refusal(texts: $0) }
}

private func status(writingTo path: String, channels: Int = 3) -> Status? {
  let pixels = gradient(width: 8, height: 8, channels: channels)
  defer { withExtendedLifetime(pixels) {} }  // a PNGImage only points to them
  do throws(DitqError) {
    try writePNG(PNGImage(pixels: pixels, width: 8, height: 8, channels: channels), to: path)
    return nil
  } catch {
    return error.status
  }
}

private func inTemporaryDirectory(_ body: (String) throws -> Void) throws {
  let directory = FileManager.default.temporaryDirectory.appendingPathComponent("ditq-png-\(UUID().uuidString)").path
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try body(directory)
}

// MARK: - Reading chunks

private struct Chunk {
  let type: String
  let data: [UInt8]
}

private func readChunks(_ file: [UInt8]) throws -> [Chunk] {
  var chunks: [Chunk] = []
  var rest = file.dropFirst(8)
  while !rest.isEmpty {
    try #require(rest.count >= 12)
    let count = number(rest.prefix(4))
    try #require(rest.count >= 12 + count)
    let content = rest.dropFirst(4).prefix(4 + count)
    let checksum = number(rest.dropFirst(8 + count).prefix(4))
    #expect(checksum == Int(crc32(content)))
    chunks.append(Chunk(type: String(decoding: content.prefix(4), as: UTF8.self), data: Array(content.dropFirst(4))))
    rest = rest.dropFirst(12 + count)
  }
  return chunks
}

private func number(_ bytes: ArraySlice<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

/// CRC-32 of ISO 3309, as PNG has it.
private func crc32(_ bytes: ArraySlice<UInt8>) -> UInt32 {
  var crc: UInt32 = ~0
  for byte in bytes {
    crc ^= UInt32(byte)
    for _ in 0..<8 { crc = crc & 1 == 0 ? crc >> 1 : (crc >> 1) ^ 0xedb8_8320 }
  }
  return ~crc
}

extension String {
  fileprivate var bytes: [UInt8] { Array(utf8) }
  fileprivate var latin1: [UInt8] { unicodeScalars.map { UInt8($0.value) } }
}
