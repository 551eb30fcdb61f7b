// Arena: one piece of memory, cut into named buffers in order. The same code that cuts it runs first on a measuring arena, which has no
// memory, to learn the size. Sizes are checked, so that no model makes them wrap.

/// A cursor through memory; without memory, a measure of how much is needed.
struct Arena {
  private let start: UnsafeMutableRawPointer?
  private(set) var byteCount = 0
  /// The most that was in use at any time.
  private(set) var peak = 0
  private(set) var isOverflowed = false

  /// An arena that only measures.
  init() { start = nil }
  init(_ start: UnsafeMutableRawPointer) { self.start = start }

  /// `count` elements, 64-byte aligned. A measuring arena answers with an address that must not be used.
  mutating func reserve<T>(_ type: T.Type, _ counts: Int...) -> UnsafeMutablePointer<T> { reserve(type, counts) }
  mutating func floats(_ counts: Int...) -> UnsafeMutablePointer<Float> { reserve(Float.self, counts) }

  private mutating func reserve<T>(_ type: T.Type, _ counts: [Int]) -> UnsafeMutablePointer<T> {
    var bytes = MemoryLayout<T>.stride
    for count in counts {
      let product = bytes.multipliedReportingOverflow(by: count)
      isOverflowed = isOverflowed || product.overflow || product.partialValue > Int.max / 4
      bytes = isOverflowed ? 0 : product.partialValue
    }
    let offset = byteCount
    byteCount += (bytes + 63) & ~63
    isOverflowed = isOverflowed || byteCount > Int.max / 4
    peak = max(peak, byteCount)
    let address = start ?? UnsafeMutableRawPointer(bitPattern: 64)!
    return (start == nil ? address : address + offset).assumingMemoryBound(to: T.self)
  }

  /// What `body` reserves may share its memory with what is reserved afterwards: the two are used at different times.
  mutating func overlapping<R>(_ body: (inout Arena) -> R) -> R {
    let before = byteCount
    defer { byteCount = before }
    return body(&self)
  }
}

extension Arena {
  /// The bytes that were needed at most, or what is wrong with them.
  func checkedSize(_ purpose: String) throws(DitqError) -> Int {
    guard !isOverflowed else { throw DitqError(.outOfMemory, "\(purpose): more bytes than an address space has would be needed") }
    return peak
  }
}
