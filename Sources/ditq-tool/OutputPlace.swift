// Where a file that is written ends up: through symbolic links, whose last one may lead to nothing yet. Refuses folders, and files that are protected
// from writing, as the library does with what it writes itself.

import Glibc

struct OutputPlace {
  private static let mostLinks = 40

  /// No link any more.
  let path: String
  /// The file that is replaced.
  let there: stat?

  init(_ given: String) throws {
    var found = stat(), place = given, links = 0
    let exists = stat(given, &found) == 0
    guard exists || errno == ENOENT else { throw Output.failure(given, errno) }
    if exists, found.st_mode & S_IFMT == S_IFDIR { throw Output.failure(given, EISDIR) }
    while let target = OutputPlace.target(of: place) {
      links += 1
      guard links <= OutputPlace.mostLinks else { throw Output.failure(given, ELOOP) }
      place = target.hasPrefix("/") ? target : OutputPlace.folder(of: place) + "/" + target
    }
    let isFile = exists && found.st_mode & S_IFMT == S_IFREG
    if isFile, found.st_mode & 0o222 == 0 || access(place, W_OK) != 0 { throw Output.failure(given, EACCES) }
    if !exists || isFile, access(OutputPlace.folder(of: place), W_OK) != 0 { throw Output.failure(given, errno) }
    (path, there) = (place, isFile ? found : nil)
  }

  private static func target(of path: String) -> String? {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = bytes.withUnsafeMutableBytes { readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count) }
    return count > 0 && count < bytes.count ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}
