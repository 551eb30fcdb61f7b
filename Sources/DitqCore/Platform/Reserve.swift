// Reserve: what keeps a call that runs out of small memory from ending the process. Relies on CPlatform, whose reserve.c says how it works.
// Calls that generate have none, as they allocate nothing; threads of a pool borrow that of the call they work for.

import CPlatform

/// Runs a call's body with a reserve; a large one for what reads files or makes models.
@export(interface)
package func withReserve(isLarge: Bool, _ body: () throws(DitqError) -> Void) throws(DitqError) {
  try withUnsafeTemporaryAllocation(of: ditqp_reserve.self, capacity: 1) { reserve throws(DitqError) in
    guard ditqp_reserve_begin(reserve.baseAddress!, isLarge ? 1 : 0) != 0 else { throw outOfMemory }
    defer { ditqp_reserve_end(reserve.baseAddress!) }
    try body()
  }
}

/// Throws where the call lives on its reserve. What allocates in a loop as long as a file says passes here each time.
func checkMemory() throws(DitqError) {
  guard ditqp_memory_is_there() != 0 else { throw outOfMemory }
}

private var outOfMemory: DitqError { DitqError(.outOfMemory, "memory: none is left, even for small things") }
