// Sums of 8-bit products for the register tile, exact in 32 bits, and the product of a tile with a panel over its groups. The portable form
// stands here; the instruction sets have theirs in their modules.

import CKernels

/// Sums of 8-bit products of one row.
public protocol IntegerSums: RowSums {
  /// sums [width] ← or += float(sum) · scale, fused.
  func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: UnsafePointer<Float>)
  /// Sums of the only group, dequantized and with the bias straight into the output.
  func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters)
}

/// What sums of integers are turned to floats by, at some columns of a panel.
@frozen public struct RowParameters {
  public let scales: UnsafePointer<Float>
  public let weightSums: UnsafePointer<Float>
  public let bias: UnsafePointer<Float>
  public let zero: Float
  public let scale: Float

  @inlinable @inline(__always)
  init(scales: UnsafePointer<Float>, weightSums: UnsafePointer<Float>, bias: UnsafePointer<Float>, zero: Float, scale: Float) {
    (self.scales, self.weightSums, self.bias, self.zero, self.scale) = (scales, weightSums, bias, zero, scale)
  }
}

extension KernelSet {
  @inlinable @inline(__always)
  public static func flush(_ x: SIMD16<Int32>, _ sums: UnsafeMutablePointer<Float>, _ isFirst: Bool, _ scales: UnsafePointer<Float>) {
    let values = ditqk_floats(x)
    store(isFirst ? values * load(scales) : load(UnsafePointer(sums)).addingProduct(values, load(scales)), sums)
  }

  /// Sixteen columns from `i` on.
  @inlinable @inline(__always)
  public static func finish(_ x: SIMD16<Int32>, _ i: Int, _ line: UnsafeMutablePointer<Float>, _ p: RowParameters) {
    let sum = ditqk_floats(x) * load(p.scales + i)
    store(dequantized(sum, load(p.weightSums + i), zero: p.zero, scale: p.scale, bias: load(p.bias + i)), line + i)
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
  @inlinable @inline(__always)
  public func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: UnsafePointer<Float>) {
    Kernels.flush(x, sums, isFirst, scales)
  }
  @inlinable @inline(__always) public func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters) {
    Kernels.finish(x, 0, line, parameters)
  }
}

/// A tile times a panel: sums [T.rows][32] = Σ over groups of scale · (tile · panel), or where `line` is given the only group put out there.
@frozen public struct IntegerProduct<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Integers
  @usableFromInline let g: UnsafePointer<ditqk_gemm_u8>
  @usableFromInline let row: Int
  @usableFromInline let sums: UnsafeMutablePointer<Float>
  @usableFromInline let line: UnsafeMutablePointer<Float>?

  @inlinable @inline(__always)
  init(_ g: UnsafePointer<ditqk_gemm_u8>, row: Int, sums: UnsafeMutablePointer<Float>, line: UnsafeMutablePointer<Float>?) {
    (self.g, self.row, self.sums, self.line) = (g, row, sums, line)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    let depth = g.pointee.depth, group = g.pointee.group
    let tile = UnsafeRawPointer(g.pointee.tiles + row * depth)
    var column = 0
    while column < 32 {
      var ahead = self.ahead(T.rows, column)
      if var line {
        line += column
        let panel = UnsafeRawPointer(g.pointee.panel! + column * 4)
        let stride = g.pointee.output.stride, scales = g.pointee.scales + column, sums = g.pointee.weight_sums + column
        // Where there is no bias, zeros stand in the place of sums.
        let bias = (g.pointee.output.bias ?? UnsafePointer(self.sums)) + column, rowScales = g.pointee.row_scales + row,
          zeros = g.pointee.row_zeros + row
        Kernels.accumulate(T.self, tile, panel, depth / 4, &ahead).forEachRow(from: 0) { i, values in
          values.finish(to: line, RowParameters(scales: scales, weightSums: sums, bias: bias, zero: zeros[i], scale: rowScales[i]))
          line += stride
        }
      } else {
        var start = 0
        var scale = g.pointee.scales + column
        while start < depth {
          let count = depth - start < group ? depth - start : group
          Kernels.accumulate(T.self, tile + start * T.rows, Kernels.numbers(g.pointee, start, count) + column * 4, count / 4, &ahead)
            .forEachRow(
              from: 0
            ) { i, values in
              values.flush(to: sums + i * 32 + column, isFirst: start == 0, scales: scale)
            }
          start += count
          scale += 32
        }
      }
      column += Sums.width
    }
  }

  @inlinable @inline(__always)
  func ahead(_ rows: Int, _ column: Int) -> Ahead {
    let output = g.pointee.output.values.map { $0 + row * g.pointee.output.stride } ?? sums
    return Ahead(
      UnsafeRawPointer(g.pointee.panel ?? UnsafePointer(g.pointee.room)) + column * 4, steps: g.pointee.depth / 4, rows: rows,
      output: output + column, stride: g.pointee.output.stride * 4)
  }
}
