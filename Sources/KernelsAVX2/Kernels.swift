// The kernels for AVX2 and FMA: twelve of sixteen registers are sums.
// The loops are KernelMath's, specialized for the type below and compiled for this CPU; only the C function is called from outside.

import CKernels
import KernelMath

enum AVX2: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = PairSums
  typealias SmallIntegers = SmallSums
  static var hasSmallIntegers: Bool { true }
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 6 }
  static var panelsTogether: Int { 4 }
  @inline(__always) static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo6(rows, body) }
  /// For 8-bit weights, as 16-bit numbers: once for several panels.
  @inline(__always) static func tile(_ g: ditqk_gemm_u8, _ start: UnsafeRawPointer, rows: Int) -> UnsafeRawPointer {
    guard g.bits == 8 else { return start }
    let count = g.depth * rows
    var i = 0
    while i + 16 <= count {
      (g.room + 2 * i).storeBytes(of: ditqk_widen_unsigned(start + i), as: SIMD16<Int16>.self)
      i += 16
    }
    // A depth is a multiple of eight.
    if i < count {
      for k in i..<count { (g.room + 2 * k).storeBytes(of: UInt16(start.load(fromByteOffset: k, as: UInt8.self)), as: UInt16.self) }
    }
    return UnsafeRawPointer(g.room)
  }
  @inline(__always) static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { chooseAtLeastOf6(rows, body) }
}

/// Sums of eight columns.
protocol EightSums: IntegerSums {
  var sums: SIMD8<Int32> { get }
}

/// Products of 16-bit numbers, four columns a vector, each with the sums of the first and the second pair of every four products.
struct PairSums: EightSums {
  private var x = SIMD8<Int32>.zero
  private var y = SIMD8<Int32>.zero
  @inline(__always) init() {}
  @inline(__always) static var width: Int { 8 }
  @inline(__always) static var stepSize: Int { 8 }
  @inline(__always) static func operand(at panel: UnsafeRawPointer) -> (SIMD16<Int16>, SIMD16<Int16>) {
    (ditqk_widen_signed(panel), ditqk_widen_signed(panel + 16))
  }
  @inline(__always) mutating func step(_ a: UnsafeRawPointer, _ b: (SIMD16<Int16>, SIMD16<Int16>)) {
    let repeated = ditqk_repeated(a.loadUnaligned(as: UInt64.self))
    x = x &+ ditqk_multiply_pairs(repeated, b.0)
    y = y &+ ditqk_multiply_pairs(repeated, b.1)
  }
  @inline(__always) var sums: SIMD8<Int32> { SIMD8(lowHalf: x.evenHalf &+ x.oddHalf, highHalf: y.evenHalf &+ y.oddHalf) }
}

/// Products of 8-bit numbers with those of 4-bit weights, whose magnitudes are at most 15: four sums of two stay below 4 · 2 · 255 · 15 < 2¹⁵.
struct SmallSums: EightSums {
  private(set) var sums = SIMD8<Int32>.zero
  private var pairs = SIMD16<Int16>.zero
  @inline(__always) init() {}
  @inline(__always) static var width: Int { 8 }
  @inline(__always) static var folds: Bool { true }
  @inline(__always) static func operand(at panel: UnsafeRawPointer) -> SIMD8<Int32> { panel.loadUnaligned(as: SIMD8<Int32>.self) }
  @inline(__always) mutating func step(_ a: UnsafeRawPointer, _ b: SIMD8<Int32>) {
    pairs = pairs &+ ditqk_multiply_small(a.loadUnaligned(as: UInt32.self), b)
  }
  @inline(__always) mutating func fold() {
    sums = sums &+ ditqk_add_pairs(pairs)
    pairs = .zero
  }
}

extension EightSums {
  @inline(__always) static func scales(at p: UnsafePointer<Float>) -> SIMD8<Float> { eight(p) }
  @inline(__always)
  func flush(to output: UnsafeMutablePointer<Float>, isFirst: Bool, scales: SIMD8<Float>) {
    let product = ditqk_floats8(sums)
    let result = isFirst ? product * scales : Self.eight(UnsafePointer(output)).addingProduct(product, scales)
    UnsafeMutableRawPointer(output).storeBytes(of: result, as: SIMD8<Float>.self)
  }
  @inline(__always) private static func eight(_ p: UnsafePointer<Float>) -> SIMD8<Float> {
    UnsafeRawPointer(p).loadUnaligned(as: SIMD8<Float>.self)
  }
  @inline(__always)
  func finish(to line: UnsafeMutablePointer<Float>, _ p: RowParameters) {
    let product = ditqk_floats8(sums) * Self.eight(p.scales)
    let x = ditqk_less_product8(product, SIMD8(repeating: p.zero), Self.eight(p.weightSums))
    UnsafeMutableRawPointer(line).storeBytes(of: Self.eight(p.bias).addingProduct(x, SIMD8(repeating: p.scale)), as: SIMD8<Float>.self)
  }
}

typealias Kernels = AVX2

@c @implementation
public func ditqk_avx2(_ table: UnsafeMutablePointer<ditqk_kernels>!) { Kernels.fill(table) }
