// This process and another one of the same command: what the system says of its memory, and a fresh process to measure in. Linux alone has
// both, by /proc.

import ArgumentParser
import CDitq
import Glibc

enum OwnProcess {
  /// Bytes of a row of /proc/self/status: "VmHWM" is the most memory that was resident at a time, "VmRSS" what is now, "RssAnon"
  /// what of that no other process can share.
  static func memory(_ row: String) -> UInt64 {
    let kilobytes = lines(of: "/proc/self/status").first { $0.hasPrefix(row + ":") }?.split(whereSeparator: { " \t\n".contains($0) })
    return kilobytes.flatMap { $0.count > 1 ? UInt64($0[1]) : nil }.map { $0 << 10 } ?? 0
  }

  /// What the same command, run with other arguments, says on stdout. Its stderr is this one's.
  static func output(of arguments: [String]) throws -> String {
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    guard readlink("/proc/self/exe", &path, path.count - 1) > 0 else { throw Output.failure("/proc/self/exe", errno) }
    let program = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let pipe = popen(([program] + arguments).map(quoted).joined(separator: " "), "r") else { throw Output.failure(program, errno) }
    let text = rest(of: pipe).joined()
    let status = pclose(pipe)
    guard status == 0 else { throw ExitCode.failure }
    return text
  }

  private static func lines(of path: String) -> [String] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    return rest(of: file)
  }

  private static func rest(of file: UnsafeMutablePointer<FILE>) -> [String] {
    var lines: [String] = [], line: UnsafeMutablePointer<CChar>?, room = 0
    defer { free(line) }
    while getline(&line, &room, file) > 0, let line { lines.append(String(cString: line)) }
    return lines
  }

  /// For the shell, which takes everything between apostrophes as it is.
  private static func quoted(_ argument: String) -> String {
    "'" + argument.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
