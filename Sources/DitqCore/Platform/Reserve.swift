// Reserve: what keeps a call that runs out of small memory from ending the process, and the host's word that a call is to end. Both are looked for
// at places that a call passes often. Relies on CPlatform, whose reserve.c says how it works. Calls that generate have none, as they allocate nothing; threads of a pool borrow that of the call they work for.

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

/// Asks the host of this thread's call whether that is to end, about each 50 ms of `body`, wherever that passes `checkCall`.
@export(interface)
package func whileAsking(
  _ ends: @escaping @convention(c) (_ context: UnsafeMutableRawPointer?) -> Int32, _ context: UnsafeMutableRawPointer,
  _ body: () throws(DitqError) -> Void
) throws(DitqError) {
  ditqp_ask_host(ends, context)
  defer { ditqp_ask_host(nil, nil) }
  try body()
}

/// Throws where the call lives on its reserve, or its host wants it to end. Every loop as long as a file says passes here each time.
@inline(never)
func checkCall() throws(DitqError) {
  guard ditqp_memory_is_there() != 0 else { throw outOfMemory }
  guard ditqp_call_goes_on() != 0 else { throw .endedByHost }
}

/// Throws where there is no memory for a list or text of so many bytes, which the caller makes next. What a reserve has is for small things.
@inline(never)
func askForRoom(_ byteCount: Int) throws(DitqError) {
  guard byteCount > largestSmallThing else { return try checkCall() }
  guard ditqp_ask_for_room(byteCount + listHeaderByteCount) != 0 else { throw outOfMemory }
}

/// What a reserve has pieces of in number.
private let largestSmallThing = 2048
/// What Swift keeps in front of the elements of a list or the bytes of a text, and the NUL behind these.
private let listHeaderByteCount = 48

private var outOfMemory: DitqError { DitqError(.outOfMemory, "memory: none is left, even for small things") }
