// Where results go: looks before the work whether they can go there, and writes a text whole or not at all. Pictures and models are written
// by the library, in the same way.

import CDitq
import Glibc

enum Output {
  /// Throws now what writing would come to after minutes of work: no such folder, or a folder where the file should be.
  static func check(_ path: String) throws {
    var found = stat()
    if stat(path, &found) == 0 {
      guard found.st_mode & S_IFMT != S_IFDIR else { throw failure(path, EISDIR) }
    } else if errno != ENOENT {
      throw failure(path, errno)
    }
    guard access(folder(of: path), W_OK) == 0 else { throw failure(path, errno) }
  }

  /// Replaces the file in one step.
  static func write(_ text: String, to path: String) throws {
    try write(to: path) { append in try Array(text.utf8).withUnsafeBytes(append) }
  }

  /// The same with what `produce` appends piece by piece.
  static func write(to path: String, _ produce: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
    var found = stat()
    if stat(path, &found) == 0, found.st_mode & S_IFMT != S_IFREG { return try writeToDevice(path, produce) }
    var template = Array("\(path).XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw failure(path, errno) }
    do {
      do {
        try produce { bytes in try append(bytes, to: descriptor, path) }
        guard fchmod(descriptor, 0o666 & ~fileMask) == 0 else { throw failure(path, errno) }
      } catch {
        close(descriptor)
        throw error
      }
      guard close(descriptor) == 0, rename(template, path) == 0 else { throw failure(path, errno) }
    } catch {
      unlink(template)
      throw error
    }
  }

  /// A pipe or device is written to as it is: it must not be replaced.
  private static func writeToDevice(_ path: String, _ produce: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path, errno) }
    defer { close(descriptor) }
    try produce { bytes in try append(bytes, to: descriptor, path) }
  }

  private static func append(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, _ path: String) throws {
    var written = 0
    while written < bytes.count {
      let count = Glibc.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
      if count > 0 { written += count } else if errno != EINTR { throw failure(path, errno) }
    }
  }

  /// Makes a folder that `fill` fills: it appears when that is done. There may be nothing of that name yet.
  static func makeFolder(_ path: String, _ fill: (String) throws -> Void) throws {
    guard access(path, F_OK) != 0 else { throw failure(path, EEXIST) }
    let isNamedAsFolder = path.count > 1 && path.hasSuffix("/")
    let path = isNamedAsFolder ? String(path.dropLast()) : path
    let temporary = try TemporaryFolder(beside: path)
    try fill(temporary.path)
    guard chmod(temporary.path, 0o777 & ~fileMask) == 0, rename(temporary.path, path) == 0 else { throw failure(path, errno) }
  }

  static func size(of path: String) -> UInt64 {
    var found = stat()
    return stat(path, &found) == 0 ? UInt64(found.st_size) : 0
  }

  /// The last part of a path.
  static func name(of path: String) -> String {
    let parts = path.split(separator: "/")
    return parts.last.map(String.init) ?? path
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The mode that new files do not get. It can only be read by setting it.
  private static var fileMask: mode_t {
    let mask = umask(0)
    umask(mask)
    return mask
  }

  static func failure(_ path: String, _ number: Int32) -> LibraryError {
    LibraryError(
      status: ditq_status(number == ENOENT ? DITQ_NOT_FOUND : DITQ_IO_FAILED), message: "\(path): \(String(cString: strerror(number)))")
  }
}
