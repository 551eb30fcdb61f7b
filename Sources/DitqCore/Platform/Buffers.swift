// Buffers with their sizes, as they are handed from floor to floor. Swift looks at the bounds of these pointers in debug builds alone; what is
// here holds them in every build, once an image or a row. A place outside is a fault of the library, never of a file or a host.

extension UnsafeBufferPointer {
  subscript(held index: Int) -> Element {
    precondition(index >= 0 && index < count)
    return baseAddress![index]
  }

  /// `length` elements from `start` on.
  func part(_ start: Int, _ length: Int) -> UnsafeBufferPointer<Element> {
    precondition(start >= 0 && length >= 0 && start <= count - length)
    return UnsafeBufferPointer(start: baseAddress.map { $0 + start }, count: length)
  }
}

extension UnsafeMutableBufferPointer {
  /// `length` elements from `start` on.
  func part(_ start: Int, _ length: Int) -> UnsafeMutableBufferPointer<Element> {
    precondition(start >= 0 && length >= 0 && start <= count - length)
    return UnsafeMutableBufferPointer(start: baseAddress.map { $0 + start }, count: length)
  }
}

extension Arena {
  /// Floats that know how many they are.
  mutating func buffer(_ counts: Int...) -> UnsafeMutableBufferPointer<Float> {
    var count = 1
    for factor in counts {
      let product = count.multipliedReportingOverflow(by: factor)
      // More than an address space has, which the arena finds.
      count = product.overflow ? Int.max / 4 : product.partialValue
    }
    return UnsafeMutableBufferPointer(start: floats(count), count: count)
  }
}
