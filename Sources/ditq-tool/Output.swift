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
    var template = Array("\(path).XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw failure(path, errno) }
    var status: Int32 = 0
    let bytes = Array(text.utf8)
    var written = 0
    while written < bytes.count, status == 0 {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, bytes.count - written) }
      if count > 0 { written += count } else if errno != EINTR { status = errno }
    }
    if status == 0, fchmod(descriptor, 0o666 & ~fileMask) != 0 { status = errno }
    if close(descriptor) != 0, status == 0 { status = errno }
    if status == 0, rename(template, path) != 0 { status = errno }
    guard status == 0 else {
      unlink(template)
      throw failure(path, status)
    }
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

  private static func failure(_ path: String, _ number: Int32) -> LibraryError {
    LibraryError(
      status: ditq_status(number == ENOENT ? DITQ_NOT_FOUND : DITQ_IO_FAILED), message: "\(path): \(String(cString: strerror(number)))")
  }
}
