// ByteReader: a cursor over little-endian bytes, for formats whose fields follow each other. Every step is checked against the bytes that
// are there. Refuses, with the place, what lies beyond them.

struct ByteReader {
  private let start: UnsafeRawPointer
  /// Counted from the beginning of the bytes, as `end` is.
  private(set) var position: Int
  let end: Int

  /// The bytes of `range`, which lies inside them.
  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
    (start, position, end) = (bytes.baseAddress!, range.lowerBound, range.upperBound)
  }

  /// Steps over `count` bytes and answers with where they stand.
  mutating func take(_ count: Int) throws(DitqError) -> Range<Int> {
    guard count >= 0 && count <= end - position else {
      throw DitqError(.malformed, "\(count) bytes expected at byte \(position), \(end - position) found")
    }
    position += count
    return position - count..<position
  }

  /// An unsigned number of 1 to 8 bytes.
  mutating func bits(_ byteCount: Int) throws(DitqError) -> UInt64 {
    var bits: UInt64 = 0
    for index in try take(byteCount).reversed() { bits = bits << 8 | UInt64(start.load(fromByteOffset: index, as: UInt8.self)) }
    return bits
  }

  /// The same; what no Int can hold is its largest, which is more than any count of bytes.
  mutating func number(_ byteCount: Int) throws(DitqError) -> Int { Int(clamping: try bits(byteCount)) }

  /// The bytes before the next line feed, which is stepped over; at most `limit`.
  mutating func line(limit: Int) throws(DitqError) -> Range<Int> {
    var lineEnd = position
    while lineEnd < end && lineEnd - position <= limit {
      if start.load(fromByteOffset: lineEnd, as: UInt8.self) == UInt8(ascii: "\n") {
        defer { position = lineEnd + 1 }
        return position..<lineEnd
      }
      lineEnd += 1
    }
    throw DitqError(.malformed, "a line of at most \(limit) bytes expected")
  }
}
