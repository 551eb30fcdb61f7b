// Copying plain numbers as memory. Careful: the standard library's own update(from:count:) becomes a loop with a call for each element where
// the compiler is asked for small code, as in the shipped library; this shadows it.

extension UnsafeMutablePointer where Pointee: BitwiseCopyable {
  func update(from source: UnsafePointer<Pointee>, count: Int) {
    UnsafeMutableRawPointer(self).copyMemory(from: source, byteCount: count * MemoryLayout<Pointee>.stride)
  }

  func update(from source: UnsafeMutablePointer<Pointee>, count: Int) { update(from: UnsafePointer(source), count: count) }
}
