// Where results go: looks before the work whether they can go there, and writes a text whole or not at all. Pictures and models are written
// by the library, in the same way.

import CDitq
import Glibc

enum Output {
  /// Throws now what writing would come to after minutes of work: no such folder, a folder where the file should be, a file that is protected, or
  /// one that the work begins with: `sources` are files, or folders of models.
  static func check(_ path: String, sources: [String]) throws {
    let place = try OutputPlace(path)
    guard let there = place.there else { return }
    for source in sources where contains(source, there) {
      throw LibraryError(
        status: ditq_status(DITQ_INVALID_ARGUMENT), message: "\(path): another file than \(source) expected, which this would replace")
    }
  }

  /// Whether a name says what will be in the file. A pipe or a device takes what it is given.
  static func isNamed(_ path: String, _ endings: [String]) -> Bool {
    var found = stat()
    if stat(path, &found) == 0, found.st_mode & S_IFMT != S_IFREG { return true }
    return endings.contains { path.count > $0.count && path.lowercased().hasSuffix($0) }
  }

  /// Whether this is a path's file, or one below it: of a folder of a folder, as models have them.
  private static func contains(_ path: String, _ file: stat, depth: Int = 3) -> Bool {
    var found = stat()
    guard stat(path, &found) == 0 else { return false }
    if found.st_dev == file.st_dev, found.st_ino == file.st_ino { return true }
    guard depth > 0, found.st_mode & S_IFMT == S_IFDIR, let folder = opendir(path) else { return false }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != "..", contains("\(path)/\(name)", file, depth: depth - 1) { return true }
    }
    return false
  }

  /// Replaces the file in one step.
  static func write(_ text: String, to path: String) throws {
    try write(to: path) { append in try Array(text.utf8).withUnsafeBytes(append) }
  }

  /// The same with what `produce` appends piece by piece. A file that is replaced keeps its permissions and owner, and the links that lead to it.
  static func write(to path: String, _ produce: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
    var found = stat()
    if stat(path, &found) == 0, found.st_mode & S_IFMT != S_IFREG { return try writeToDevice(path, produce) }
    let place = try OutputPlace(path)
    var template = Array("\(place.path).XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)  // for its owner alone
    guard descriptor >= 0 else { throw failure(path, errno) }
    do {
      do {
        try produce { bytes in try append(bytes, to: descriptor, path) }
        var mode = place.there.map { $0.st_mode & 0o777 } ?? 0o666 & ~fileMask
        // Another group would gain what the file's own was given.
        if let there = place.there, fchown(descriptor, there.st_uid, there.st_gid) != 0, fchown(descriptor, uid_t.max, there.st_gid) != 0 {
          mode &= 0o707
        }
        guard fchmod(descriptor, mode) == 0 else { throw failure(path, errno) }
      } catch {
        close(descriptor)
        throw error
      }
      guard close(descriptor) == 0, rename(template, place.path) == 0 else { throw failure(path, errno) }
    } catch {
      unlink(template)
      throw error
    }
  }

  /// A pipe or device is written to as it is: it must not be replaced.
  private static func writeToDevice(_ path: String, _ produce: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK)  // does not wait for a pipe's reader, but for what it reads
    guard descriptor >= 0 else { throw failure(path, errno) }
    defer { close(descriptor) }
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
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
