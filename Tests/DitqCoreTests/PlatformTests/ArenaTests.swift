// Arena: what it measures, what it hands out, what it refuses. Block and the host's allocator, too.

import Testing

@testable import DitqCore

private struct Layout {
  let bytes: UnsafeMutablePointer<UInt8>
  let doubles: UnsafeMutablePointer<Double>
  let early: UnsafeMutablePointer<Float>
  let late: UnsafeMutablePointer<Float>
  let empty: UnsafeMutablePointer<Float>

  init(_ arena: inout Arena) {
    bytes = arena.reserve(UInt8.self, 65)
    doubles = arena.reserve(Double.self, 3, 5)
    early = arena.overlapping { $0.floats(7, 11) }
    late = arena.overlapping { $0.floats(100) }
    empty = arena.floats(0, 12)
  }
}

private func refusal(_ measure: (inout Arena) -> Void) -> DitqError? {
  var arena = Arena()
  measure(&arena)
  return thrown { () throws in try arena.checkedSize("test") }
}

@Suite("Arena")
struct ArenaTests {
  @Test("a measuring arena and a real one agree to the byte")
  func agreement() throws {
    var measuring = Arena()
    _ = Layout(&measuring)
    // 65 → 128, 15 doubles = 120 → 128, and the larger of 308 → 320 and 400 → 448.
    #expect(measuring.peak == 128 + 128 + 448)
    #expect(try measuring.checkedSize("test") == measuring.peak)

    let memory = Buffer(count: measuring.peak / 4)
    var arena = Arena(memory.floats)
    let layout = Layout(&arena)
    #expect(arena.peak == measuring.peak && arena.byteCount == measuring.byteCount)
    layout.bytes.initialize(repeating: 1, count: 65)
    layout.doubles.initialize(repeating: 2, count: 15)
    layout.late.initialize(repeating: 3, count: 100)
    #expect(layout.bytes[64] == 1 && layout.doubles[0] == 2 && layout.doubles[14] == 2 && layout.late[0] == 3)
    #expect(memory.isIntact)
  }

  @Test("every buffer begins at a multiple of 64 bytes, the first at the start")
  func alignment() {
    let memory = Buffer(count: 1024)
    var arena = Arena(memory.floats)
    for count in 1...40 {
      #expect(UInt(bitPattern: arena.reserve(UInt8.self, count)) % 64 == 0)
      #expect(arena.byteCount == 64 * count)
    }
    let layout = UnsafeMutableRawPointer(memory.floats)
    var other = Arena(memory.floats)
    #expect(UnsafeMutableRawPointer(other.floats(1)) == layout && UnsafeMutableRawPointer(other.floats(1)) == layout + 64)
  }

  @Test("what overlaps shares its memory with what follows, and the peak remembers the largest")
  func overlap() {
    let memory = Buffer(count: 4096)
    var arena = Arena(memory.floats)
    let kept = arena.floats(16)
    let first = arena.overlapping { $0.floats(1000) }
    #expect(arena.byteCount == 64 && arena.peak == 64 + 4032)
    let second = arena.overlapping { inner in
      _ = inner.floats(16)
      return inner.overlapping { $0.floats(16) }
    }
    #expect(first == kept + 16 && second == kept + 32)
    #expect(arena.floats(1) == first)
    #expect(arena.byteCount == 128 && arena.peak == 64 + 4032)
  }

  @Test("sizes that no address space has are a status, not a wrapped number")
  func overflow() throws {
    #expect(refusal { _ = $0.floats(Int.max, 2) }?.status == .outOfMemory)
    #expect(refusal { _ = $0.floats(1 << 32, 1 << 32) }?.status == .outOfMemory)  // 2⁶⁴ wraps to 0
    #expect(refusal { _ = $0.floats(1 << 61) }?.status == .outOfMemory)  // the bytes of a float wrap it
    #expect(refusal { _ = $0.reserve(Double.self, 1 << 31, 1 << 31) }?.status == .outOfMemory)
    #expect(refusal { _ = $0.reserve(UInt8.self, Int.max) }?.status == .outOfMemory)  // rounding up to 64 would wrap
    #expect(refusal { arena in for _ in 0..<8 { _ = arena.reserve(UInt8.self, 1 << 60) } }?.status == .outOfMemory)
    #expect(refusal { arena in arena.overlapping { inner in _ = inner.floats(Int.max, 2) } }?.status == .outOfMemory)
    let error = try #require(refusal { _ = $0.floats(Int.max, 2) })
    #expect(error.message == "test: more bytes than an address space has would be needed")
    #expect(refusal { _ = $0.reserve(UInt8.self, 1 << 60) } == nil)
  }

  @Test("an overflow is remembered, whatever is reserved afterwards")
  func overflowStays() {
    #expect(
      refusal {
        _ = $0.floats(Int.max, 2)
        _ = $0.floats(1)
      }?.status == .outOfMemory)
  }
}

/// What a host's allocator was asked, behind its context pointer.
private final class Ledger {
  var asked: [Int] = []
  var returned: [Int] = []
  /// Added to the address that is handed out: 8 breaks the alignment.
  var shift = 0
  var isEmpty = false

  var allocator: Allocator {
    Allocator(
      context: Unmanaged.passUnretained(self).toOpaque(),
      allocate: { context, size, alignment in
        let ledger = Unmanaged<Ledger>.fromOpaque(context!).takeUnretainedValue()
        guard !ledger.isEmpty else { return nil }
        ledger.asked.append(size)
        return .allocate(byteCount: size + 64, alignment: alignment) + ledger.shift
      },
      deallocate: { context, pointer, size, _ in
        let ledger = Unmanaged<Ledger>.fromOpaque(context!).takeUnretainedValue()
        ledger.returned.append(size)
        (pointer! - ledger.shift).deallocate()
      })
  }
}

@Suite("Block")
struct BlockTests {
  @Test("memory is taken from the host's allocator once and given back once, with its size")
  func lifetime() throws {
    let ledger = Ledger()
    do {
      let block = try Block(byteCount: 1000, from: ledger.allocator, for: "test")
      #expect(block.byteCount == 1000 && UInt(bitPattern: block.start) % 64 == 0 && ledger.returned.isEmpty)
    }
    #expect(ledger.asked == [1000] && ledger.returned == [1000])
  }

  @Test("memory that is not aligned as asked is refused and given back")
  func misaligned() {
    let ledger = Ledger()
    ledger.shift = 8
    #expect(thrown { try Block(byteCount: 100, from: ledger.allocator, for: "test") }?.status == .invalidArgument)
    #expect(ledger.asked == [100] && ledger.returned == [100])
  }

  @Test("no memory is a status that tells what for and how much")
  func exhausted() {
    let ledger = Ledger()
    ledger.isEmpty = true
    let error = thrown { try Block(byteCount: 100, from: ledger.allocator, for: "weights") }
    #expect(error?.status == .outOfMemory && error?.message == "weights: 100 bytes could not be allocated")
    #expect(ledger.returned.isEmpty)
    #expect(thrown { try Block(byteCount: Int.max / 4, from: .system, for: "weights") }?.status == .outOfMemory)
  }
}
