// Files: what stands under a path, and reading it, mapped or whole. Relies on CPlatform; refuses what is not a regular file where one is needed.
// Writing is in WrittenFile.swift.
// Careful: a mapped file that another process truncates raises SIGBUS on access, which a library cannot turn into a status.

import CPlatform

/// The system's words for an error number: "No such file or directory".
func systemReason(_ number: CInt) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    String(cString: ditqp_error_text(number, buffer.baseAddress!, 256))
  }
}

func failure(_ doing: String, _ path: String) -> DitqError {
  let number = ditqp_errno()
  let status: Status =
    switch number {
    case ENOENT, ENOTDIR: .notFound
    case ENOSYS: .unsupported
    case ENOMEM: .outOfMemory
    default: .ioFailed
    }
  return DitqError(status, "\(path): cannot \(doing): \(systemReason(number))")
}

/// Bytes that stay where they are for as long as the object lives: a mapped file, memory that the host keeps, or a block.
package final class Bytes {
  package let start: UnsafeRawPointer
  package let count: Int
  /// Of a mapped file.
  let file: FileIdentity?
  private let block: Block?

  /// Memory of the caller, which outlives this object.
  @export(interface)
  package init(borrowing start: UnsafeRawPointer, count: Int) {
    (self.start, self.count, file, block) = (start, count, nil, nil)
  }

  /// Memory that this object keeps.
  init(_ block: Block) { (start, count, file, self.block) = (UnsafeRawPointer(block.start), block.byteCount, nil, block) }

  /// A whole regular file, mapped for reading.
  @export(interface)
  package convenience init(mapping path: String) throws(DitqError) {
    let descriptor = ditqp_open_read(path)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    let found = ditqp_look_open(descriptor), size = Int(found.size)
    guard found.kind == CInt(DITQP_REGULAR) else { throw DitqError(.ioFailed, "\(path): a regular file expected") }
    guard size > 0 else { throw DitqError(.malformed, "\(path): the file is empty") }
    guard let address = ditqp_map_read(descriptor, size) else { throw failure("map", path) }
    self.init(mapped: address, size, FileIdentity(found))
  }

  private init(mapped start: UnsafeMutableRawPointer, _ count: Int, _ file: FileIdentity) {
    (self.start, self.count, self.file, block) = (UnsafeRawPointer(start), count, file, nil)
  }

  deinit { if file != nil { munmap(UnsafeMutableRawPointer(mutating: start), count) } }

  /// The pages of a mapped file need not stay in memory. Whoever reads them again brings them back.
  func forgetPages() { if file != nil { ditqp_forget(start, count) } }

  package var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }
}

/// Which file it is, whatever its names are.
struct FileIdentity: Equatable {
  private let device: UInt64
  private let inode: UInt64

  init(_ file: ditqp_file) { (device, inode) = (file.device, file.inode) }

  /// Of what stands under a path, following links; nil for nothing.
  init?(of path: String) {
    let found = ditqp_look(path)
    guard found.kind != CInt(DITQP_NOTHING) else { return nil }
    self.init(found)
  }
}

/// What stands under a path.
enum PathKind { case nothing, file, directory, other }

func kind(of path: String) -> PathKind {
  switch ditqp_look(path).kind {
  case CInt(DITQP_REGULAR): return .file
  case CInt(DITQP_DIRECTORY): return .directory
  case CInt(DITQP_OTHER): return .other
  default: return .nothing
  }
}

/// The names in a directory, in the order of their bytes, as many as 64 KiB hold; none where it cannot be read.
func names(inDirectory path: String) throws(DitqError) -> [String] {
  let room = try Block(byteCount: 65_536, from: .system, for: "names"), bytes = room.start.assumingMemoryBound(to: CChar.self)
  let end = bytes + ditqp_names(path, bytes, room.byteCount)
  var names: [String] = [], name = UnsafePointer(bytes)
  while name < end {
    try names.add(String(bytes: name))
    name += strlen(name) + 1
  }
  return try order(ofNames: names).order.mapped { names[$0] }
}

/// Up to `limit` bytes of a small file of the system, such as those under /proc, whose size is not told; nil when it cannot be read.
func readSmallFile(_ path: String, limit: Int = 4000) -> [UInt8]? {
  let descriptor = ditqp_open_read(path)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: limit)
  var filled = 0
  while filled < limit {
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + filled, limit - filled) }
    if count < 0 && ditqp_errno() == EINTR { continue }
    guard count > 0 else { break }
    filled += count
  }
  return Array(bytes[..<filled])
}
