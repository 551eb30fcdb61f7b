// A folder of a command's own, for files that nobody is to see: it goes with all that it holds when its last user goes. Relies on POSIX;
// a process that is killed leaves it behind.

import Glibc

final class TemporaryFolder {
  let path: String

  /// Beside a path whose name it takes later; it is then no longer temporary.
  init(beside neighbour: String) throws {
    var template = Array("\(neighbour).XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Output.failure(neighbour, errno) }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Among the system's temporary files: TMPDIR, or /tmp.
  convenience init() throws {
    try self.init(beside: (getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp") + "/ditq")
  }

  deinit { TemporaryFolder.erase(path) }

  /// Links are removed, not followed.
  private static func erase(_ path: String) {
    guard unlink(path) != 0, let folder = opendir(path) else { return }
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { erase("\(path)/\(name)") }
    }
    closedir(folder)
    rmdir(path)
  }
}
