// Zip archives: what is read, each refusal, truncation at every byte and every bit flipped. The archives are made in code.

import Testing

@testable import DitqCore

private func read(_ file: [UInt8]) throws -> [String] {
  try withCopy(of: file) { bytes in
    try ZipArchive(bytes).entries.map { "\($0.name)=\(text(bytes, $0.range))" }
  }
}

private let small = [
  ZipSample(name: "b/c", data: Array("see".utf8)), ZipSample(name: "a", data: []), ZipSample(name: "ä", data: Array("é".utf8)),
]

/// The second entry changed.
private func changed(_ change: (inout ZipSample) -> Void) -> [UInt8] {
  var samples = small
  change(&samples[1])
  return zipFile(samples)
}

@Suite("Zip archives")
struct ZipArchiveTests {
  @Test("entries are found by name, with a comment behind them or none")
  func roundTrip() throws {
    for comment in [[], Array("PK\u{5}\u{6} is no end".utf8), [UInt8](repeating: 0x50, count: 65535)] {
      #expect(try read(zipFile(small, comment: comment)) == ["a=", "b/c=see", "ä=é"])
    }
    #expect(try read(zipFile([])) == [])
    try withCopy(of: zipFile(small)) {
      let archive = try ZipArchive($0)
      #expect(archive.find("b/c")?.byteCount == 3 && archive.find("b") == nil && archive.find("z") == nil && archive.find("") == nil)
    }
  }

  @Test("sizes that follow the data, or stand in 64 bits, are read")
  func elsewhere() throws {
    let expected = try read(zipFile(small))
    #expect(try read(changed { ($0.flags, $0.localSize) = (8, 0) }).count == 3)
    let wide = [1, 0, 16, 0] + littleEndian(UInt64(0)) + littleEndian(UInt64(0))
    #expect(try read(changed { ($0.size, $0.localSize, $0.extra) = (.max, 0, wide) }) == expected)
    #expect(try read(changed { ($0.size, $0.localSize, $0.extra) = (.max, 0, [7, 7, 1, 0, 9] + wide + [0]) }) == expected)
  }

  @Test("what contradicts itself, leaves the file or is packed is refused with its name")
  func refusals() {
    let cases: [(String, Status, (inout ZipSample) -> Void)] = [
      ("\"a\": compressed (method 8)", .unsupported, { $0.method = 8 }), ("\"a\": encrypted", .unsupported, { $0.flags = 1 }),
      ("\"a\": its local header", .malformed, { $0.localName = "b" }), ("\"a\": its local header", .malformed, { $0.localSize = 1 }),
      ("\"a\": 4294967295 bytes expected", .malformed, { ($0.size, $0.localSize) = (.max, .max) }),
      ("\"a\": a local header at byte 4294967294", .malformed, { $0.offset = .max - 1 }),
      ("two entries named \"ä\"", .malformed, { $0.name = "ä" }),
      ("\"a\": 8 bytes expected", .malformed, { ($0.size, $0.extra) = (.max, [1, 0, 4, 0, 1, 2, 3, 4]) }),
    ]
    for (reason, status, change) in cases {
      let error = thrown { try read(changed(change)) }
      #expect(error?.status == status && error?.message.hasPrefix(reason) == true, "\(error?.message ?? "nothing")")
    }
    var long = small
    (long[0].size, long[0].localSize) = (40, 40)
    #expect(thrown { try read(zipFile(long)) }?.message == "\"a\" begins at byte 36, before the entry in front of it ends")
    #expect(
      thrown { try read(zipFile(small, count: 4)) }?.status == .malformed
        && thrown { try read(zipFile(small, count: 2)) }?.status == .malformed)
    #expect(thrown { try read(zipFile(small, count: 0xffff)) }?.message.contains("65535 entries in a directory of") == true)
  }

  @Test("truncation at every byte is malformed")
  func truncation() {
    let file = zipFile(small)
    for count in 1..<file.count { #expect(thrown { try read(Array(file[..<count])) }?.status == .malformed, "\(count) bytes") }
  }

  @Test("any bit flipped ends in entries inside the file or in a status")
  func corruption() {
    let file = zipFile(small)
    for index in file.indices {
      for bit in 0..<8 {
        var flipped = file
        flipped[index] ^= 1 << bit
        let status = thrown { try read(flipped) }?.status
        #expect(status == nil || status == .malformed || status == .unsupported)
      }
    }
  }
}
