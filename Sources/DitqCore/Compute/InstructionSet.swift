// The table of instruction sets: a row each, from the plainest to the best, with its kernels. A new one is a kernel module and a row here, at the place of
// its merit: the number that ditq.h has for it says nothing of that.

import CKernels
import CPlatform

/// An instruction set the library has kernels for.
struct InstructionSet: Sendable {
  /// Of ditq.h.
  let number: Int32
  let name: String
  /// Whether this CPU has it.
  let isPresent: @Sendable () -> Bool
  /// Asks for what the process needs to use it, where that is something; false where it is refused.
  private let admit: @Sendable () -> Bool
  /// What each thread does around its parts of work.
  let surroundings: PartSurroundings
  private let fill: @Sendable (UnsafeMutablePointer<ditqk_kernels>) -> Void

  init(
    number: Int32, name: String, isPresent: @escaping @Sendable () -> Bool = { true }, admit: @escaping @Sendable () -> Bool = { true },
    surroundings: PartSurroundings = PartSurroundings(), fill: @escaping @Sendable (UnsafeMutablePointer<ditqk_kernels>) -> Void
  ) {
    (self.number, self.name, self.isPresent, self.admit) = (number, name, isPresent, admit)
    (self.surroundings, self.fill) = (surroundings, fill)
  }

  // Made at each use, which is once a session: as a stored property it would be a variable of the library's that the first use fills in.
  private static var generic: InstructionSet { InstructionSet(number: 1, name: "generic", fill: { ditqk_generic($0) }) }
  #if arch(x86_64)
    static var all: [InstructionSet] {
      [
        generic,
        InstructionSet(number: 2, name: "AVX2", isPresent: { ditqp_has_avx2() != 0 }, fill: { ditqk_avx2($0) }),
        InstructionSet(number: 3, name: "AVX-512 VNNI", isPresent: { ditqp_has_avx512vnni() != 0 }, fill: { ditqk_avx512($0) }),
      ]
    }
  #elseif arch(arm64)
    private static var neon: InstructionSet {
      InstructionSet(number: 4, name: "NEON dot product", isPresent: { ditqp_has_neon_dot() != 0 }, fill: { ditqk_neon($0) })
    }
    #if DITQ_BARE  // where code is counted
      static var all: [InstructionSet] { [generic, neon] }
    #else
      static var all: [InstructionSet] {
        [
          generic, neon,
          InstructionSet(number: 5, name: "NEON I8MM", isPresent: { ditqp_has_neon_i8mm() != 0 }, fill: { ditqk_i8mm($0) }),
        ]
      }
    #endif
  #else
    static var all: [InstructionSet] { [generic] }
  #endif

  /// The best set of this CPU that is no better than `limit`, a number of ditq.h; 0 is no limit. The first of the sets is everywhere.
  static func best(limit: Int32, of sets: [InstructionSet] = all) throws(DitqError) -> InstructionSet {
    var rank = sets.count - 1
    if limit != 0 {
      guard let place = sets.firstIndex(where: { $0.number == limit }) else {
        var known = "0 (the best)"
        for set in sets { known += ", \(set.number) (\(set.name))" }
        throw DitqError(.unsupported, "isa_limit: one of \(known) expected on this architecture, \(limit) found")
      }
      rank = place
    }
    while rank > 0 && !(sets[rank].isPresent() && sets[rank].admit()) { rank -= 1 }
    return sets[rank]
  }

  var kernels: ditqk_kernels {
    var kernels = ditqk_kernels()
    fill(&kernels)
    return kernels
  }
}
