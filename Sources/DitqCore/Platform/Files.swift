// Files: every system call on a file that the library makes. Relies on CPlatform; refuses what is not a regular file where one is needed.
// Careful: a mapped file that another process truncates raises SIGBUS on access, which a library cannot turn into a status.

import CPlatform

/// The system's words for an error number: "No such file or directory".
func systemReason(_ number: CInt) -> String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    String(cString: ditqp_error_text(number, buffer.baseAddress!, 256))
  }
}

private func failure(_ doing: String, _ path: String) -> DitqError {
  let number = ditqp_errno()
  let status: Status = number == ENOENT || number == ENOTDIR ? .notFound : number == ENOSYS ? .unsupported : .ioFailed
  return DitqError(status, "\(path): cannot \(doing): \(systemReason(number))")
}

/// Bytes that stay where they are for as long as the object lives: a mapped file, memory that the host keeps, or a block.
package final class Bytes {
  package let start: UnsafeRawPointer
  package let count: Int
  private let mapped: Bool
  private let block: Block?

  /// Memory of the caller, which outlives this object.
  @export(interface)
  package init(borrowing start: UnsafeRawPointer, count: Int) {
    (self.start, self.count, mapped, block) = (start, count, false, nil)
  }

  /// Memory that this object keeps.
  init(_ block: Block) { (start, count, mapped, self.block) = (UnsafeRawPointer(block.start), block.byteCount, false, block) }

  /// A whole regular file, mapped for reading.
  @export(interface)
  package convenience init(mapping path: String) throws(DitqError) {
    let descriptor = ditqp_open_read(path)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    let size = Int(ditqp_size(descriptor))
    guard size >= 0 else { throw DitqError(.ioFailed, "\(path): a regular file expected") }
    guard size > 0 else { throw DitqError(.malformed, "\(path): the file is empty") }
    guard let address = ditqp_map_read(descriptor, size) else { throw failure("map", path) }
    self.init(mapped: address, size)
  }

  private init(mapped start: UnsafeMutableRawPointer, _ count: Int) {
    (self.start, self.count, mapped, block) = (UnsafeRawPointer(start), count, true, nil)
  }

  deinit { if mapped { munmap(UnsafeMutableRawPointer(mutating: start), count) } }

  /// The pages of a mapped file need not stay in memory. Whoever reads them again brings them back.
  func forgetPages() { if mapped { ditqp_forget(start, count) } }

  package var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }
}

/// What stands under a path.
enum PathKind { case nothing, file, directory, other }

func kind(of path: String) -> PathKind {
  switch ditqp_kind(path) {
  case CInt(DITQP_REGULAR): return .file
  case CInt(DITQP_DIRECTORY): return .directory
  case CInt(DITQP_OTHER): return .other
  default: return .nothing
  }
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

/// Writes pieces to a file, whole or not at all: under a temporary name beside it, synced, then renamed. What exists and is no regular file (a pipe,
/// /dev/stdout) is written to directly.
func writeFile(_ path: String, _ pieces: [UnsafeRawBufferPointer]) throws(DitqError) {
  switch kind(of: path) {
  case .directory: throw DitqError(.ioFailed, "\(path): cannot write: it is a directory")
  case .other:
    let descriptor = ditqp_open_device(path)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    guard pieces.allSatisfy({ writeAll(descriptor, $0) }) else { throw failure("write", path) }
  case .nothing, .file:
    let (descriptor, temporary) = try createTemporary(beside: path)
    var error = pieces.allSatisfy { writeAll(descriptor, $0) } && fsync(descriptor) == 0 ? nil : failure("write", path)
    if close(descriptor) != 0 && error == nil { error = failure("write", path) }
    if error == nil && rename(temporary, path) != 0 { error = failure("rename to", path) }
    if let error {
      unlink(temporary)
      throw error
    }
  }
}

/// A new file in the folder of `path`, under a short name of its own, because the final one may be as long as names can be.
private func createTemporary(beside path: String) throws(DitqError) -> (descriptor: CInt, path: String) {
  let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
  let folder = slash.map { String(decoding: path.utf8[...$0], as: UTF8.self) } ?? ""
  for attempt in 0..<100 {
    let temporary = "\(folder).ditq-\(getpid())-\(nanoseconds() % 1_000_000_007)-\(attempt).tmp"
    let descriptor = ditqp_open_new(temporary)
    if descriptor >= 0 { return (descriptor, temporary) }
    guard ditqp_errno() == EEXIST else { break }
  }
  throw failure("create", path)
}

private func writeAll(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress!, rest.count)
    if count < 0 && ditqp_errno() == EINTR { continue }
    guard count > 0 else { return false }
    rest = rest.dropFirst(count)
  }
  return true
}
