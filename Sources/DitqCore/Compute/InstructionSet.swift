// The table of instruction sets: a row each, from the plainest to the best, with its kernels. A new one is a kernel module and a row here.

import CKernels
import CPlatform

/// An instruction set the library has kernels for. The numbers are those of ditq.h.
struct InstructionSet: Sendable {
  let number: Int32
  let name: String
  private let isPresent: @Sendable () -> Bool
  private let fill: @Sendable (UnsafeMutablePointer<ditqk_kernels>) -> Void

  #if arch(x86_64)
    private static let table = [
      InstructionSet(number: 1, name: "generic", isPresent: { true }, fill: { ditqk_generic($0) }),
      InstructionSet(number: 2, name: "AVX2", isPresent: { ditqp_has_avx2() != 0 }, fill: { ditqk_avx2($0) }),
      InstructionSet(number: 3, name: "AVX-512 VNNI", isPresent: { ditqp_has_avx512vnni() != 0 }, fill: { ditqk_avx512($0) }),
    ]
  #elseif arch(arm64) && DITQ_BARE  // where code is counted
    private static let table = [
      InstructionSet(number: 1, name: "generic", isPresent: { true }, fill: { ditqk_generic($0) }),
      InstructionSet(number: 4, name: "NEON dot product", isPresent: { ditqp_has_neon_dot() != 0 }, fill: { ditqk_neon($0) }),
    ]
  #elseif arch(arm64)
    private static let table = [
      InstructionSet(number: 1, name: "generic", isPresent: { true }, fill: { ditqk_generic($0) }),
      InstructionSet(number: 4, name: "NEON dot product", isPresent: { ditqp_has_neon_dot() != 0 }, fill: { ditqk_neon($0) }),
      InstructionSet(number: 5, name: "NEON I8MM", isPresent: { ditqp_has_neon_i8mm() != 0 }, fill: { ditqk_i8mm($0) }),
    ]
  #else
    private static let table = [InstructionSet(number: 1, name: "generic", isPresent: { true }, fill: { ditqk_generic($0) })]
  #endif

  /// The best set of this CPU that is no better than `limit`, a number of ditq.h; 0 is no limit.
  static func best(limit: Int32) throws(DitqError) -> InstructionSet {
    guard limit == 0 || table.contains(where: { $0.number == limit }) else {
      var known = "0 (the best)"
      for set in table { known += ", \(set.number) (\(set.name))" }
      throw DitqError(.unsupported, "isa_limit: one of \(known) expected on this architecture, \(limit) found")
    }
    return table.last { ($0.number <= limit || limit == 0) && $0.isPresent() }!
  }

  var kernels: ditqk_kernels {
    var kernels = ditqk_kernels()
    fill(&kernels)
    return kernels
  }
}
