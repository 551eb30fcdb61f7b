// Floats at the start of a cache line, as a host allocates what is to be fast: the library writes whole lines, and an array of Swift's begins
// in the midst of one.

struct AlignedFloats: ~Copyable {
  let start: UnsafeMutablePointer<Float>

  init(_ values: [Float]) {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, values.count) * 4, alignment: 64)
    start = memory.initializeMemory(as: Float.self, from: values, count: values.count)
  }

  deinit { start.deallocate() }
}
