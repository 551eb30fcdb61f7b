// HostReader: bytes at any place of something that the host keeps, handed out by a function of its own; and a copy of all of them. Relies on
// Block. Refuses a size that is not there before it takes memory for it, and whatever the function fails at, with the place.

/// A host's function, its context, and how many bytes there are.
package struct HostReader {
  package typealias Read =
    @convention(c) (_ context: UnsafeMutableRawPointer?, _ offset: UInt64, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int32

  private static let pieceByteCount = 4 << 20

  private let context: UnsafeMutableRawPointer?
  private let byteCount: Int
  private let read: Read

  @export(interface)
  package init(context: UnsafeMutableRawPointer?, size: UInt64, read: @escaping Read) throws(DitqError) {
    guard size > 0 else { throw DitqError(.malformed, "reader->size: at least 1 byte expected, 0 found") }
    guard let byteCount = Int(exactly: size) else {
      throw DitqError(.outOfMemory, "reader->size: \(String(size)) bytes are more than an address space holds")
    }
    (self.context, self.byteCount, self.read) = (context, byteCount, read)
  }

  /// In how many pieces the bytes are read.
  package var pieceCount: Int { (byteCount - 1) / HostReader.pieceByteCount + 1 }

  /// All the bytes, in memory of the allocator; `progress` is told before each piece how many have been read.
  @export(interface)
  package func copy(to allocator: Allocator, progress: (_ done: Int) throws(DitqError) -> Void) throws(DitqError) -> Bytes {
    try progress(0)
    var last: UInt8 = 0
    try read(byteCount - 1, 1, to: &last)
    let block = try Block(byteCount: byteCount, from: allocator, for: "reader")
    for piece in 0..<pieceCount {
      if piece > 0 { try progress(piece) }
      let offset = piece * HostReader.pieceByteCount
      try read(offset, min(HostReader.pieceByteCount, byteCount - offset), to: block.start + offset)
    }
    return Bytes(block)
  }

  private func read(_ offset: Int, _ count: Int, to buffer: UnsafeMutableRawPointer) throws(DitqError) {
    let answer = read(context, UInt64(offset), buffer, count)
    guard answer == 0 else {
      throw DitqError(.ioFailed, "reader->read: 0 expected for \(count) bytes at byte \(offset) of \(byteCount), \(Int(answer)) found")
    }
  }
}
