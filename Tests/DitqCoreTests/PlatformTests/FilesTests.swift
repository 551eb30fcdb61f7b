// Files: mapping and refusing, and writing whole or not at all. Everything happens below a temporary folder of the test.

import Foundation
import Testing

@testable import DitqCore

/// A folder that is removed with the object.
private final class Folder {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("ditq-\(UUID().uuidString)").path
  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  subscript(name: String) -> String { path + "/" + name }
  var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}

private func write(_ text: String, to path: String) throws {
  try Array(text.utf8).withUnsafeBytes { bytes in try writeFile(path, [bytes]) }
}

private func text(of path: String) -> String? { FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } }

private func isDevice(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR
}

@Suite("Mapped files")
struct MappedFileTests {
  @Test("a file is mapped with all its bytes")
  func mapping() throws {
    let folder = try Folder(), path = folder["file"]
    let content = (0..<10_001).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(FileManager.default.createFile(atPath: path, contents: Data(content)))
    let bytes = try Bytes(mapping: path)
    #expect(bytes.count == content.count && bytes.buffer.elementsEqual(content))
  }

  @Test("borrowed bytes are used where they are")
  func borrowing() {
    let memory = Buffer([1, 2, 3])
    let bytes = Bytes(borrowing: memory.floats, count: 12)
    #expect(bytes.start == UnsafeRawPointer(memory.floats) && bytes.count == 12)
  }

  @Test("a missing file, and one below a file, are not found")
  func missing() throws {
    let folder = try Folder()
    try write("x", to: folder["file"])
    for path in [folder["nothing"], folder["nothing/file"], folder["file/file"], ""] {
      #expect(thrown { try Bytes(mapping: path) }?.status == .notFound, "\(path)")
    }
    #expect(thrown { try Bytes(mapping: folder["nothing"]) }?.message == "\(folder["nothing"]): cannot open: No such file or directory")
  }

  @Test("an empty file is malformed")
  func empty() throws {
    let folder = try Folder()
    try write("", to: folder["empty"])
    #expect(thrown { try Bytes(mapping: folder["empty"]) }?.status == .malformed)
  }

  @Test("what is no regular file is refused at once, a pipe without a writer too")
  func irregular() throws {
    let folder = try Folder()
    #expect(mkfifo(folder["pipe"], 0o600) == 0)
    for path in [folder.path, folder["pipe"], "/dev/null", "/dev/zero"] {
      #expect(thrown { try Bytes(mapping: path) }?.message == "\(path): a regular file expected")
      #expect(thrown { try Bytes(mapping: path) }?.status == .ioFailed)
    }
  }

  @Test("small files of the system are read whatever size they claim")
  func smallFiles() throws {
    let folder = try Folder()
    try write("0123456789", to: folder["file"])
    #expect(readSmallFile(folder["file"]) == Array("0123456789".utf8))
    #expect(readSmallFile(folder["file"], limit: 4) == Array("0123".utf8))
    #expect(readSmallFile(folder["nothing"]) == nil)
    #expect(readSmallFile("/proc/self/status")?.starts(with: "Name:".utf8) == true)  // its size is told as 0
  }

  @Test("kinds of paths are told apart, through links")
  func kinds() throws {
    let folder = try Folder()
    try write("x", to: folder["file"])
    #expect(symlink(folder["file"], folder["link"]) == 0 && symlink(folder["nowhere"], folder["dangling"]) == 0)
    #expect(kind(of: folder["file"]) == .file && kind(of: folder["link"]) == .file && kind(of: folder.path) == .directory)
    #expect(kind(of: "/dev/null") == .other && kind(of: folder["nothing"]) == .nothing && kind(of: folder["dangling"]) == .nothing)
  }
}

@Suite("Written files")
struct WrittenFileTests {
  @Test("a file is written whole and leaves nothing else behind")
  func writing() throws {
    let folder = try Folder()
    try write("hello", to: folder["file"])
    try write("", to: folder["empty"])
    #expect(text(of: folder["file"]) == "hello" && text(of: folder["empty"]) == "")
    #expect(folder.names == ["empty", "file"])
  }

  @Test("a large file is written whole")
  func large() throws {
    let folder = try Folder()
    let content = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 9) }
    try content.withUnsafeBytes { bytes in try writeFile(folder["file"], [bytes]) }
    #expect(FileManager.default.contents(atPath: folder["file"]) == Data(content))
  }

  @Test("pieces are written one after the other, empty ones too, and none is an empty file")
  func pieces() throws {
    let folder = try Folder()
    try Array("hello, world".utf8).withUnsafeBytes { bytes in
      let empty = UnsafeRawBufferPointer(start: nil, count: 0)
      let (first, second) = (UnsafeRawBufferPointer(rebasing: bytes[..<5]), UnsafeRawBufferPointer(rebasing: bytes[5...]))
      try writeFile(folder["file"], [empty, second, empty, first, first])
      try writeFile(folder["none"], [])
    }
    #expect(text(of: folder["file"]) == ", worldhellohello" && text(of: folder["none"]) == "")
  }

  @Test("an existing file is replaced as a whole: who has the old one open keeps it")
  func replacing() throws {
    let folder = try Folder()
    try write("the old and longer text", to: folder["file"])
    let old = try Bytes(mapping: folder["file"])
    try write("new", to: folder["file"])
    #expect(text(of: folder["file"]) == "new" && folder.names == ["file"])
    #expect(String(decoding: old.buffer, as: UTF8.self) == "the old and longer text")
  }

  @Test("a directory is refused and stays")
  func directory() throws {
    let folder = try Folder()
    let error = thrown { try write("x", to: folder.path) }
    #expect(error?.status == .ioFailed && error?.message == "\(folder.path): cannot write: it is a directory")
    #expect(folder.names.isEmpty && kind(of: folder.path) == .directory)
  }

  @Test("a failure leaves no temporary file and the old file as it was")
  func failure() throws {
    let folder = try Folder()
    try write("old", to: folder["file"])
    #expect(thrown { try write("x", to: folder["missing/file"]) }?.status == .notFound)
    #expect(thrown { try write("x", to: folder["file/"]) }?.status == .notFound)
    #expect(thrown { try write("x", to: folder[String(repeating: "n", count: 300)]) }?.status == .ioFailed)
    #expect(folder.names == ["file"] && text(of: folder["file"]) == "old")
  }

  @Test("where only the last step, renaming, fails, the temporary file is gone too")
  func renaming() {
    // Nothing can be renamed to the empty name; the temporary file beside it is in the current folder.
    #expect(thrown { try write("x", to: "") }?.status == .notFound)
    let left = try? FileManager.default.contentsOfDirectory(atPath: ".").filter { $0.hasPrefix(".\(getpid()).") }
    #expect(left == [])
  }

  @Test("a device is written to, not replaced by a file")
  func device() throws {
    try write("x", to: "/dev/null")
    #expect(isDevice("/dev/null"))
    let error = thrown { try write("x", to: "/dev/full") }
    #expect(error?.status == .ioFailed && error?.message == "/dev/full: cannot write: No space left on device")
    #expect(isDevice("/dev/full"))
  }

  @Test("a pipe is written to, not replaced by a file")
  func pipe() throws {
    let folder = try Folder(), path = folder["pipe"]
    #expect(mkfifo(path, 0o600) == 0)
    let reader = open(path, O_RDONLY | O_NONBLOCK)
    defer { close(reader) }
    try write("hello", to: path)
    var bytes = [UInt8](repeating: 0, count: 10)
    #expect(read(reader, &bytes, 10) == 5 && bytes.starts(with: "hello".utf8))
    #expect(kind(of: path) == .other && folder.names == ["pipe"])
  }
}
