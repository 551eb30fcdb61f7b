// What the process may use: CPUs, and instruction sets by their number.

import Foundation
import Synchronization
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
    #expect(try InstructionSet.best(limit: 1).number == 1 && instructionSets()[0].number == 1)
    #expect(try InstructionSet.best(limit: 0).number == setsOfThisCPU().last!.number)
    for (rank, set) in InstructionSet.all.enumerated() {
      let best = InstructionSet.all[...rank].last { $0.isPresent() }
      #expect(try InstructionSet.best(limit: set.number).number == best?.number)
    }
  }

  /// Made up: the third has a number beyond the better fourth's, the fourth is absent or refused where so said.
  private func ranked(isPresent: Bool = true, isAdmitted: Bool = true) -> [InstructionSet] {
    let kernels = instructionSets()[0].kernels
    return [
      InstructionSet(number: 1, name: "a", fill: { $0.pointee = kernels }),
      InstructionSet(number: 2, name: "b", fill: { $0.pointee = kernels }),
      InstructionSet(number: 7, name: "c", fill: { $0.pointee = kernels }),
      InstructionSet(number: 3, name: "d", isPresent: { isPresent }, admit: { isAdmitted }, fill: { $0.pointee = kernels }),
    ]
  }

  @Test("what is better is said by the place in the table, not by the number")
  func rank() throws {
    for (limit, expected) in [(0, 3), (3, 3), (7, 7), (2, 2), (1, 1)] as [(Int32, Int32)] {
      #expect(try InstructionSet.best(limit: limit, of: ranked()).number == expected)
    }
  }

  @Test(
    "a set that is absent, or that the process is not admitted to, gives way to the next best", arguments: [(false, true), (true, false)])
  func fallback(isPresent: Bool, isAdmitted: Bool) throws {
    for (limit, expected) in [(0, 7), (3, 7), (7, 7), (2, 2)] as [(Int32, Int32)] {
      #expect(try InstructionSet.best(limit: limit, of: ranked(isPresent: isPresent, isAdmitted: isAdmitted)).number == expected)
    }
  }

  @Test("nobody asks to be admitted to a set that is absent or beyond the limit")
  func askedInVain() throws {
    let kernels = instructionSets()[0].kernels, asked = Asked()
    func sets(isPresent: Bool) -> [InstructionSet] {
      [
        InstructionSet(number: 1, name: "a", fill: { $0.pointee = kernels }),
        InstructionSet(number: 2, name: "b", isPresent: { isPresent }, admit: { asked.ask() }, fill: { $0.pointee = kernels }),
      ]
    }
    #expect(try InstructionSet.best(limit: 0, of: sets(isPresent: false)).number == 1)
    #expect(try InstructionSet.best(limit: 1, of: sets(isPresent: true)).number == 1)
    #expect(asked.count == 0)
    #expect(try InstructionSet.best(limit: 2, of: sets(isPresent: true)).number == 2)
    #expect(asked.count == 1)
  }

  @Test("a limit that is no set is refused with those that are", arguments: [-1, 4, 99, Int32.max, Int32.min])
  func unknown(limit: Int32) {
    let error = thrown { try InstructionSet.best(limit: limit) }
    #expect(error?.status == .unsupported)
    #expect(error?.message.hasSuffix("1 (generic), 2 (AVX2), 3 (AVX-512 VNNI) expected on this architecture, \(limit) found") == true)
  }

  /// Else reported as a test that was skipped, with what is missing.
  @Test("the tests of kernels look at every set of this architecture", .disabled(if: !absent.isEmpty, "this CPU has no \(absent)"))
  func presence() {
    for set in InstructionSet.all { #expect(instructionSets().contains { $0.number == set.number }, "\(set.name)") }
  }
}

/// The names of the sets that this CPU has not.
private let absent = InstructionSet.all.filter { !$0.isPresent() }.map { $0.name }.joined(separator: ", ")

private final class Asked: Sendable {
  private let calls = Mutex(0)
  func ask() -> Bool {
    calls.withLock { $0 += 1 }
    return true
  }
  var count: Int { calls.withLock { $0 } }
}
