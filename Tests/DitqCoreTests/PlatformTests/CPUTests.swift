// What the process may use: CPUs, and instruction sets by their number.

import Foundation
import Testing

@testable import DitqCore

@Suite("CPUs")
struct CPUTests {
  @Test(
    "a cgroup's quota is quota by period, and whatever else stands there limits nothing",
    arguments: [
      ("150000 100000", 1.5), ("150000 100000\n", 1.5), ("100000 100000\n", 1), ("50000 100000", 0.5), ("1 3", 1.0 / 3),
      ("max 100000\n", nil), ("max", nil), ("", nil), ("\n", nil), ("100000", nil), ("1 2 3", nil), ("0 100000", nil), ("100000 0", nil),
      ("-1 100000", nil), ("+1 100000", nil), ("1.5 1", nil), ("0x10 1", nil), ("1e5 1", nil), ("a b", nil), ("１ 1", nil),
      ("999999999999999 1", 999_999_999_999_999), ("9999999999999999 1", nil), ("99999999999999999999999999 1", nil),
    ] as [(String, Double?)])
  func quota(text: String, expected: Double?) { #expect(unifiedQuota(Array(text.utf8)) == expected) }

  @Test("a file that could not be read limits nothing")
  func unreadable() { #expect(unifiedQuota(nil) == nil) }

  @Test("there is at least one CPU, and never more than the machine has")
  func available() {
    #expect(availableCPUs() >= 1)
    #expect(availableCPUs() <= sysconf(Int32(_SC_NPROCESSORS_CONF)))
  }
}

@Suite("Instruction sets")
struct InstructionSetTests {
  @Test("the limit is respected, 0 is the best and the generic set is everywhere")
  func limits() throws {
    #expect(try InstructionSet.best(limit: 1).number == 1)
    let best = try InstructionSet.best(limit: 0).number
    for limit in Int32(1)...3 { #expect(try InstructionSet.best(limit: limit).number == min(limit, best)) }
  }

  @Test("a limit that is no set is refused with those that are", arguments: [-1, 4, 99, Int32.max, Int32.min])
  func unknown(limit: Int32) {
    let error = thrown { try InstructionSet.best(limit: limit) }
    #expect(error?.status == .invalidArgument)
    #expect(error?.message.hasSuffix("1 (generic), 2 (AVX2), 3 (AVX-512 VNNI) expected on this architecture, \(limit) found") == true)
  }

  @Test("a tile has rows, and no more than callers leave room for")
  func tiles() {
    for set in instructionSets() { #expect((1...14).contains(set.kernels.tile_rows), "\(set.name)") }
  }
}
