// Cancellation: whether the call in progress is to end. Any thread asks, every thread that works for the call looks, between pieces of work of
// bounded size. Whoever finds that it was asked leaves the rest undone, so that what a cancelled call computed is worth nothing, and is
// thrown away by the `check` that follows. Allocates when it is made; refuses nothing.

import Synchronization

final class Cancellation: Sendable {
  private let flag = Atomic<Bool>(false)

  /// Relaxed: nothing but the flag itself is read because of it.
  var isAsked: Bool { flag.load(ordering: .relaxed) }

  func ask() { flag.store(true, ordering: .relaxed) }

  /// Before a call: what was asked of the one before, or of none, is forgotten.
  func forget() { flag.store(false, ordering: .relaxed) }

  func check() throws(DitqError) {
    if isAsked { throw DitqError(.cancelled, "the call was cancelled") }
  }
}
