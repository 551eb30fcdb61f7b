// Where large memory comes from: the system, or the host's hooks. Block owns one piece of it and gives it back.
// Relies on CPlatform; refuses nothing but exhaustion, which is a status.

import CPlatform

/// Two functions and their context, as a host supplies them; the system's where it supplies none.
package struct Allocator {
  package typealias Allocate =
    @convention(c) (_ context: UnsafeMutableRawPointer?, _ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer?
  package typealias Deallocate =
    @convention(c) (_ context: UnsafeMutableRawPointer?, _ pointer: UnsafeMutableRawPointer?, _ size: Int, _ alignment: Int) -> Void

  let context: UnsafeMutableRawPointer?
  let allocate: Allocate
  let deallocate: Deallocate

  package init(context: UnsafeMutableRawPointer?, allocate: @escaping Allocate, deallocate: @escaping Deallocate) {
    (self.context, self.allocate, self.deallocate) = (context, allocate, deallocate)
  }

  /// C11 wants a multiple of the alignment.
  package static var system: Allocator {
    Allocator(
      context: nil,
      allocate: { _, size, alignment in aligned_alloc(alignment, (size &+ alignment &- 1) & -alignment) },
      deallocate: { _, pointer, _, _ in free(pointer) })
  }
}

/// Memory of one allocator, 64-byte aligned, freed with the object.
final class Block {
  static let alignment = 64

  let start: UnsafeMutableRawPointer
  let byteCount: Int
  private let allocator: Allocator

  /// Careful: in the shipped library an initializer that throws after the object was allocated leaks it. A convenience initializer allocates
  /// nothing before it calls the other.
  convenience init(byteCount: Int, from allocator: Allocator, for purpose: String) throws(DitqError) {
    guard let start = allocator.allocate(allocator.context, byteCount, Block.alignment) else {
      throw DitqError(.outOfMemory, "\(purpose): \(byteCount) bytes could not be allocated")
    }
    guard UInt(bitPattern: start) % UInt(Block.alignment) == 0 else {
      allocator.deallocate(allocator.context, start, byteCount, Block.alignment)
      throw DitqError(
        .invalidArgument, "\(purpose): the allocator's memory is not aligned to \(Block.alignment) bytes as it was asked to be")
    }
    self.init(start, byteCount, allocator)
  }

  private init(_ start: UnsafeMutableRawPointer, _ byteCount: Int, _ allocator: Allocator) {
    (self.start, self.byteCount, self.allocator) = (start, byteCount, allocator)
  }

  deinit { allocator.deallocate(allocator.context, start, byteCount, Block.alignment) }

  var floats: UnsafeMutablePointer<Float> { start.assumingMemoryBound(to: Float.self) }
}
