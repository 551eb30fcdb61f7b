// Executor: what a session computes with — its threads, its kernels, a scratch buffer a thread. The operations of this floor are
// extensions of it, one file each. They allocate nothing.

import CKernels

final class Executor {
  let pool: ThreadPool
  let kernels: ditqk_kernels
  /// Rows of a register tile.
  let tileRows: Int
  let scratch: ThreadScratch

  init(pool: ThreadPool, kernels: ditqk_kernels, scratch: ThreadScratch) {
    (self.pool, self.kernels, self.scratch) = (pool, kernels, scratch)
    tileRows = Int(kernels.tile_rows)
  }

  /// SiLU of a few values in place, on the caller's thread.
  func silu(_ x: UnsafeMutablePointer<Float>, count: Int) { kernels.silu(x, count, x) }
}

/// Floats of working memory, as many for each thread.
struct ThreadScratch {
  private let start: UnsafeMutablePointer<Float>
  private let floatsPerThread: Int

  init(_ arena: inout Arena, threads: Int, floatsPerThread: Int) {
    self.floatsPerThread = (floatsPerThread + 15) & ~15
    start = arena.floats(threads, self.floatsPerThread)
  }

  func of(thread: Int) -> UnsafeMutablePointer<Float> { start + thread * floatsPerThread }
}
