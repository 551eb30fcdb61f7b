// Sums of 8-bit products for the register tile, exact in 32 bits, and the product of a tile with a panel over its groups. The portable form
// stands here; the instruction sets have theirs in their modules.

import CKernels

/// Sums of 8-bit products of one row.
public protocol IntegerSums: RowSums {
  /// sums [width] ← or += float(sum) · scale, fused.
  func flush(to sums: UnsafeMutablePointer<Float>, scales: UnsafePointer<Float>, isFirst: Bool)
}

extension KernelSet {
  @inlinable @inline(__always)
  public static func flush(_ x: SIMD16<Int32>, _ sums: UnsafeMutablePointer<Float>, _ scales: UnsafePointer<Float>, _ isFirst: Bool) {
    let values = ditqk_floats(x)
    store(isFirst ? values * load(scales) : load(UnsafePointer(sums)).addingProduct(values, load(scales)), sums)
  }
}

/// Sixteen columns with the multiplication that every CPU has.
@frozen public struct PortableSums<Kernels: KernelSet>: IntegerSums {
  @usableFromInline var x: SIMD16<Int32>
  @inlinable @inline(__always) public static var width: Int { 16 }
  @inlinable @inline(__always) public init() { x = .zero }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> SIMD16<Int32> {
    panel.loadUnaligned(as: SIMD16<Int32>.self)
  }
  /// Four bytes stand in each 32-bit lane: shifted up and down again, each comes out with its sign.
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: SIMD16<Int32>) {
    let bytes = a.loadUnaligned(as: UInt32.self)
    for i in 0..<4 {
      let shift = Int32(8 * i)
      let weights = (b &<< SIMD16(repeating: 24 - shift)) &>> SIMD16(repeating: 24)
      x = x &+ weights &* SIMD16(repeating: Int32(truncatingIfNeeded: (bytes >> UInt32(8 * i)) & 0xff))
    }
  }
  @inlinable @inline(__always) public func flush(to sums: UnsafeMutablePointer<Float>, scales: UnsafePointer<Float>, isFirst: Bool) {
    Kernels.flush(x, sums, scales, isFirst)
  }
}

/// sums [T.rows][32] = Σ over groups of scale · (tile · panel).
@frozen public struct IntegerProduct<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Integers
  @usableFromInline let tile: UnsafePointer<UInt8>
  @usableFromInline let panel: UnsafePointer<Int8>
  @usableFromInline let scales: UnsafePointer<Float>
  @usableFromInline let depth: Int
  @usableFromInline let group: Int
  @usableFromInline let sums: UnsafeMutablePointer<Float>

  @inlinable @inline(__always)
  init(tile: UnsafePointer<UInt8>, _ g: ditqk_gemm_u8, sums: UnsafeMutablePointer<Float>) {
    (self.tile, panel, scales, depth, group, self.sums) = (tile, g.panel, g.scales, g.depth, g.group, sums)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    var column = 0
    while column < 32 {
      var start = 0
      var scale = scales + column
      while start < depth {
        let count = depth - start < group ? depth - start : group
        let product = Kernels.accumulate(
          T.self, UnsafeRawPointer(tile + start * T.rows), UnsafeRawPointer(panel + start * 32 + column * 4), count / 4)
        product.forEachRow(from: 0) { row, values in
          values.flush(to: sums + row * 32 + column, scales: scale, isFirst: start == 0)
        }
        start += count
        scale += 32
      }
      column += Sums.width
    }
  }
}
