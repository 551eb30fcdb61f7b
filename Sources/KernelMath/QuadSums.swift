// Sums of 8-bit products in 128-bit registers, sixteen columns in four, for instructions that add four products to each sum, as Arm has them.
// Where such an instruction takes signed bytes alone, the tile's numbers are stored 128 too small, and the tile sums the panel's numbers
// beside its rows to make up for it, exactly.

/// Such an instruction.
public protocol QuadDot {
  /// Whether it takes the bytes of `a` as signed ones.
  static var isSigned: Bool { get }
  /// Four sums, each plus the products of the bytes of `a` with four of `b`.
  static func dot(_ sums: SIMD4<Int32>, _ a: UInt32, _ b: SIMD16<Int8>) -> SIMD4<Int32>
}

@frozen public struct QuadSums<Kernels: KernelSet, Dot: QuadDot>: IntegerSums {
  public typealias Operand = (SIMD16<Int8>, SIMD16<Int8>, SIMD16<Int8>, SIMD16<Int8>)
  @usableFromInline var first = SIMD4<Int32>.zero
  @usableFromInline var second = SIMD4<Int32>.zero
  @usableFromInline var third = SIMD4<Int32>.zero
  @usableFromInline var fourth = SIMD4<Int32>.zero

  @inlinable @inline(__always) public init() {}
  @inlinable @inline(__always) public static var width: Int { 16 }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> Operand {
    (bytes(panel), bytes(panel + 16), bytes(panel + 32), bytes(panel + 48))
  }
  @inlinable @inline(__always) static func bytes(_ p: UnsafeRawPointer) -> SIMD16<Int8> { p.loadUnaligned(as: SIMD16<Int8>.self) }

  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: Operand) { step(a.loadUnaligned(as: UInt32.self), b) }
  @inlinable @inline(__always) mutating func step(_ a: UInt32, _ b: Operand) {
    first = Dot.dot(first, a, b.0)
    second = Dot.dot(second, a, b.1)
    third = Dot.dot(third, a, b.2)
    fourth = Dot.dot(fourth, a, b.3)
  }

  /// −128 · Σ p, by which sums of numbers 128 too small exceed what they should be.
  @frozen public struct Columns: ColumnSums {
    @usableFromInline var excess = QuadSums()
    @inlinable @inline(__always) public init() {}
    @inlinable @inline(__always) public mutating func step(_ b: Operand) { if Dot.isSigned { excess.step(0x8080_8080, b) } }
  }
  @inlinable @inline(__always) public mutating func add(_ columns: Columns) {
    guard Dot.isSigned else { return }
    let excess = columns.excess
    (first, second) = (first &- excess.first, second &- excess.second)
    (third, fourth) = (third &- excess.third, fourth &- excess.fourth)
  }

  @inlinable @inline(__always) var all: SIMD16<Int32> {
    SIMD16(lowHalf: SIMD8(lowHalf: first, highHalf: second), highHalf: SIMD8(lowHalf: third, highHalf: fourth))
  }
  @inlinable @inline(__always) public static func scales(at p: UnsafePointer<Float>) -> Lanes { Kernels.load(p) }
  @inlinable @inline(__always)
  public func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: Lanes) {
    Kernels.flush(all, sums, isFirst, scales)
  }
  @inlinable @inline(__always) public func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters) {
    Kernels.finish(all, 0, line, parameters)
  }
}
