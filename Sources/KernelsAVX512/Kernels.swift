// The kernels for AVX-512: 28 of 32 registers are sums.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum AVX512: KernelSet {
  typealias Floats = TwoVectors<Self>
  typealias Integers = DotSums
  typealias NarrowTile = Rows14<NarrowDotSums>
  typealias Words = TwoWordVectors<Self>
  static var tileRows: Int { 14 }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo14(rows, body) }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { chooseAtLeastOf14(rows, body) }
}

/// Thirty-two columns: vpdpbusd adds four products to each sum.
struct DotSums: IntegerSums {
  private var x = SIMD16<Int32>.zero
  private var y = SIMD16<Int32>.zero
  @inline(__always) init() {}
  @inline(__always) static var width: Int { 32 }
  @inline(__always) static func operand(at panel: UnsafeRawPointer) -> (SIMD16<Int32>, SIMD16<Int32>) {
    (panel.loadUnaligned(as: SIMD16<Int32>.self), (panel + 64).loadUnaligned(as: SIMD16<Int32>.self))
  }
  @inline(__always) mutating func step(_ a: UnsafeRawPointer, _ b: (SIMD16<Int32>, SIMD16<Int32>)) {
    let repeated = a.loadUnaligned(as: UInt32.self)
    x = ditqk_dot(x, repeated, b.0)
    y = ditqk_dot(y, repeated, b.1)
  }
  @inline(__always) static func scales(at p: UnsafePointer<Float>) -> (Lanes, Lanes) { (AVX512.load(p), AVX512.load(p + 16)) }
  @inline(__always)
  func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: (Lanes, Lanes)) {
    AVX512.flush(x, sums, isFirst, scales.0)
    AVX512.flush(y, sums + 16, isFirst, scales.1)
  }
  @inline(__always)
  func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters) {
    AVX512.finish(x, 0, line, parameters)
    AVX512.finish(y, 16, line, parameters)
  }
}

/// Sixteen columns.
struct NarrowDotSums: IntegerSums {
  private var x = SIMD16<Int32>.zero
  @inline(__always) init() {}
  @inline(__always) static var width: Int { 16 }
  @inline(__always) static func operand(at panel: UnsafeRawPointer) -> SIMD16<Int32> { panel.loadUnaligned(as: SIMD16<Int32>.self) }
  @inline(__always) mutating func step(_ a: UnsafeRawPointer, _ b: SIMD16<Int32>) {
    x = ditqk_dot(x, a.loadUnaligned(as: UInt32.self), b)
  }
  @inline(__always) static func scales(at p: UnsafePointer<Float>) -> Lanes { AVX512.load(p) }
  @inline(__always)
  func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: Lanes) { AVX512.flush(x, sums, isFirst, scales) }
  @inline(__always)
  func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters) { AVX512.finish(x, 0, line, parameters) }
}

typealias Kernels = AVX512

@c @implementation
public func ditqk_avx512(_ table: UnsafeMutablePointer<ditqk_kernels>!) { Kernels.fill(table) }
