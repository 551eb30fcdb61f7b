// Sums for the register tile of CPUs without vectors: four columns at a time, so that the tile fits thirty-two scalar registers. 8-bit
// products come two at a time: with the weights of two columns in the halves of 64 bits, one multiplication makes both products and one
// addition adds both. A negative lower sum takes 1 from the upper one, which is given back in the end.

import CKernels

extension KernelSet {
  @inlinable @inline(__always) static func load4(_ p: UnsafePointer<Float>) -> SIMD4<Float> {
    UnsafeRawPointer(p).loadUnaligned(as: SIMD4<Float>.self)
  }
  @inlinable @inline(__always) static func write(_ x: SIMD4<Float>, _ p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?) {
    let sum = bias.map { x + load4($0) } ?? x
    UnsafeMutableRawPointer(p).storeBytes(of: sum, as: SIMD4<Float>.self)
  }
}

@frozen public struct FourFloats<Kernels: KernelSet>: FloatSums {
  @usableFromInline var x = SIMD4<Float>.zero
  @inlinable @inline(__always) public static var width: Int { 4 }
  @inlinable @inline(__always) public init() {}
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> SIMD4<Float> {
    panel.loadUnaligned(as: SIMD4<Float>.self)
  }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: SIMD4<Float>) {
    x = x.addingProduct(SIMD4(repeating: a.load(as: Float.self)), b)
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?) {
    Kernels.write(x, p, bias)
  }
}

@frozen public struct PairedIntegers<Kernels: KernelSet>: IntegerSums {
  /// Of four inputs, the weights of two columns and of two more.
  public typealias Operand = (left: SIMD4<Int64>, right: SIMD4<Int64>)
  @usableFromInline var left: Int64 = 0
  @usableFromInline var right: Int64 = 0

  @inlinable @inline(__always) public static var width: Int { 4 }
  @inlinable @inline(__always) public init() {}
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> Operand { (pairs(panel), pairs(panel + 8)) }
  @inlinable @inline(__always) static func pairs(_ p: UnsafeRawPointer) -> SIMD4<Int64> {
    var result = SIMD4<Int64>.zero
    for i in 0..<4 {
      result[i] = Int64(p.load(fromByteOffset: i, as: Int8.self)) &+ Int64(p.load(fromByteOffset: i + 4, as: Int8.self)) &<< 32
    }
    return result
  }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: Operand) {
    for i in 0..<4 {
      let number = Int64(a.load(fromByteOffset: i, as: UInt8.self))
      left = left &+ number &* b.left[i]
      right = right &+ number &* b.right[i]
    }
  }

  @inlinable @inline(__always) static func lower(_ pair: Int64) -> Int32 { Int32(truncatingIfNeeded: pair) }
  @inlinable @inline(__always) static func upper(_ pair: Int64) -> Int32 { Int32(truncatingIfNeeded: (pair &- Int64(lower(pair))) &>> 32) }
  @inlinable @inline(__always) var sums: SIMD4<Float> {
    SIMD4(Float(Self.lower(left)), Float(Self.upper(left)), Float(Self.lower(right)), Float(Self.upper(right)))
  }
  @inlinable @inline(__always) public static func scales(at p: UnsafePointer<Float>) -> SIMD4<Float> { Kernels.load4(p) }
  @inlinable @inline(__always)
  public func flush(to output: UnsafeMutablePointer<Float>, isFirst: Bool, scales: SIMD4<Float>) {
    Kernels.write(isFirst ? sums * scales : Kernels.load4(UnsafePointer(output)).addingProduct(sums, scales), output, nil)
  }
  @inlinable @inline(__always)
  public func finish(to line: UnsafeMutablePointer<Float>, _ p: RowParameters) {
    let sum = (sums * Kernels.load4(p.scales)).addingProduct(SIMD4(repeating: -p.zero), Kernels.load4(p.weightSums))
    Kernels.write(Kernels.load4(p.bias).addingProduct(sum, SIMD4(repeating: p.scale)), line, nil)
  }
}
