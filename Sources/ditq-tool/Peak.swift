// What this CPU can do at all, measured by CPeak in short slices between those of the library, so that both see the same clock frequency and
// the same neighbours. Refuses to go on with fewer threads than were asked for.

import CDitq
import CPeak

/// Back-to-back multiply-accumulates of the instruction that a kernel is made of.
struct Peak {
  /// Of a slice: enough to make starting threads unimportant, short enough for a steady clock.
  static let sliceSeconds = 0.02

  /// DITQ_ISA_….
  let instructionSet: Int32
  /// PEAK_….
  let kind: Int32
  let threads: Int32

  /// Multiply-accumulates a second.
  func rate() throws -> Double { try measured(peak_measure(instructionSet, kind, threads, Peak.sliceSeconds), threads) }

  var setName: String { String(cString: peak_set_name(instructionSet)) }
  var instructionName: String { String(cString: peak_instruction_name(instructionSet, kind)) }
}

/// Threads that stream through a buffer of their own, much larger than the caches.
final class MemoryPeak {
  private let handle: OpaquePointer
  private let threads: Int32

  init(threads: Int32) throws {
    guard let made = peak_memory_create(threads) else {
      throw LibraryError(status: ditq_status(DITQ_OUT_OF_MEMORY), message: "not enough memory to measure its bandwidth")
    }
    (handle, self.threads) = (made, threads)
  }

  deinit { peak_memory_destroy(handle) }

  /// Bytes a second.
  func rate() throws -> Double { try measured(peak_memory_measure(handle, Peak.sliceSeconds), threads) }
}

private func measured(_ rate: Double, _ threads: Int32) throws -> Double {
  guard rate > 0 else {
    throw LibraryError(status: ditq_status(DITQ_OUT_OF_MEMORY), message: "\(threads) threads expected, fewer could be started")
  }
  return rate
}
