// Executor: what a session computes with — its threads, its kernels, a scratch buffer a thread. The operations of this floor are
// extensions of it, one file each. They allocate nothing. Between pieces of work each looks whether its call was cancelled, and then leaves the
// rest undone: whoever calls them checks before anything comes of the result.

import CKernels

final class Executor {
  let pool: ThreadPool
  let kernels: ditqk_kernels
  /// Rows of a tile of floats; where those of 8-bit numbers stand.
  let tileRows: Int
  let layout: TileLayout
  let scratch: ThreadScratch
  let cancellation: Cancellation

  init(pool: ThreadPool, kernels: ditqk_kernels, scratch: ThreadScratch, cancellation: Cancellation = Cancellation()) {
    (self.pool, self.kernels, self.scratch, self.cancellation) = (pool, kernels, scratch, cancellation)
    (tileRows, layout) = (Int(kernels.tile_rows), kernels.layout)
  }

  /// The most multiply-accumulates, and the most values that are moved, between two looks: a millisecond, or some tens of them where fused
  /// multiply-adds are a function of libm.
  static let mostUnseenProducts = 1 << 25
  static let mostUnseenValues = 1 << 18

  /// So many rows that cost so many products each go between two looks: whole tiles of them.
  static func rowsUnseen(productsPerRow: Int, tileRows: Int) -> Int { max(1, mostUnseenProducts / productsPerRow / tileRows) * tileRows }

  /// The same of a few rows and the panels they meet.
  static func panelsUnseen(productsPerPanel: Int) -> Int { max(1, mostUnseenProducts / productsPerPanel) }

  /// Values from one place to another, on the caller's thread.
  func move(_ count: Int, from source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>) {
    for start in stride(from: 0, to: count, by: Executor.mostUnseenValues) {
      if cancellation.isAsked { return }
      (target + start).update(from: source + start, count: min(Executor.mostUnseenValues, count - start))
    }
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
