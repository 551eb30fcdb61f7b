// Sums of 8-bit products for the register tile, exact in 32 bits, and the product of a tile with a panel over its groups. The portable form
// stands here; the instruction sets have theirs in their modules.

import CKernels

/// Sums of 8-bit products of one row.
public protocol IntegerSums: RowSums {
  /// The scales of a group, loaded once for all rows: between two of them the compiler would load again, as it writes sums.
  associatedtype Scales
  static func scales(at p: UnsafePointer<Float>) -> Scales
  /// sums [width] ← or += float(sum) · scale, fused.
  func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: Scales)
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
  public static func flush(_ x: SIMD16<Int32>, _ sums: UnsafeMutablePointer<Float>, _ isFirst: Bool, _ scales: Lanes) {
    let values = ditqk_floats(x)
    store(isFirst ? values * scales : load(UnsafePointer(sums)).addingProduct(values, scales), sums)
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
  @inlinable @inline(__always) public static func scales(at p: UnsafePointer<Float>) -> Lanes { Kernels.load(p) }
  @inlinable @inline(__always)
  public func flush(to sums: UnsafeMutablePointer<Float>, isFirst: Bool, scales: Lanes) {
    Kernels.flush(x, sums, isFirst, scales)
  }
  @inlinable @inline(__always) public func finish(to line: UnsafeMutablePointer<Float>, _ parameters: RowParameters) {
    Kernels.finish(x, 0, line, parameters)
  }
}

/// A tile and a panel, and where their product goes.
@frozen public struct IntegerOperands {
  public let g: UnsafePointer<ditqk_gemm_u8>
  /// Of the tile, and the panel's number.
  @usableFromInline let row: Int
  @usableFromInline let panel: Int
  /// The tile as `KernelSet.tile` has it.
  @usableFromInline let tile: UnsafeRawPointer
  /// Sums [rows][32] and 32 zeros.
  @usableFromInline let sums: UnsafeMutablePointer<Float>
  @usableFromInline let zeros: UnsafePointer<Float>
  /// Where finished values go by themselves, or nil.
  @usableFromInline let line: UnsafeMutablePointer<Float>?

  @inlinable @inline(__always)
  init(
    _ g: UnsafePointer<ditqk_gemm_u8>, row: Int, panel: Int, tile: UnsafeRawPointer, sums: UnsafeMutablePointer<Float>,
    zeros: UnsafePointer<Float>, line: UnsafeMutablePointer<Float>?
  ) {
    (self.g, self.row, self.panel, self.tile, self.sums, self.zeros, self.line) = (g, row, panel, tile, sums, zeros, line)
  }

  /// Of the panel that count, by sixteens as the epilogue takes them.
  @inlinable @inline(__always) var columns: Int {
    let columns = (g.pointee.output.columns - panel * 32 + 15) & ~15
    return columns < 32 ? columns : 32
  }
  /// nil where its numbers are 4-bit ones still.
  @inlinable @inline(__always) var numbers: UnsafeRawPointer? {
    g.pointee.panel.map { UnsafeRawPointer($0 + panel * g.pointee.depth * 32) }
  }
  /// [groups][32].
  @inlinable @inline(__always) var scales: UnsafePointer<Float> {
    let first = g.pointee.scales!
    guard panel > 0 else { return first }
    let groups: Int = (g.pointee.depth + g.pointee.group - 1) / g.pointee.group
    return first + panel * groups * 32
  }
  @inlinable @inline(__always) var weightSums: UnsafePointer<Float> { g.pointee.weight_sums + panel * 32 }
  @inlinable @inline(__always) var bias: UnsafePointer<Float> { g.pointee.output.bias.map { $0 + panel * 32 } ?? zeros }

  @inlinable @inline(__always)
  func ahead(_ rows: Int, _ column: Int) -> Ahead {
    let output = g.pointee.output.values.map { $0 + row * g.pointee.output.stride + panel * 32 } ?? sums
    return Ahead(
      (numbers ?? UnsafeRawPointer(g.pointee.room)) + column * 4, steps: g.pointee.depth / 4, rows: rows, output: output + column,
      stride: g.pointee.output.stride * 4)
  }
}

/// A tile times a panel: sums [T.rows][32] = Σ over groups of scale · (tile · panel), or where `line` is given the only group put out there.
@frozen public struct IntegerProduct<Kernels: KernelSet, Sums: IntegerSums>: TileBody {
  @usableFromInline let operands: IntegerOperands

  @inlinable @inline(__always) public init(_ operands: IntegerOperands) { self.operands = operands }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    let g = operands.g, depth = g.pointee.depth, group = g.pointee.group, tile = operands.tile, columns = operands.columns
    var column = 0
    while column < columns {
      var ahead = operands.ahead(T.rows, column)
      if var line = operands.line {
        line += column
        let panel = operands.numbers! + column * 4
        let stride = g.pointee.output.stride, scales = operands.scales + column, sums = operands.weightSums + column
        let bias = operands.bias + column, rowScales = g.pointee.row_scales + operands.row, zeros = g.pointee.row_zeros + operands.row
        Kernels.accumulate(T.self, tile, panel, depth / 4, &ahead).forEachRow(from: 0) { i, values in
          values.finish(to: line, RowParameters(scales: scales, weightSums: sums, bias: bias, zero: zeros[i], scale: rowScales[i]))
          line += stride
        }
      } else {
        let sums = operands.sums + column
        var start = 0
        var scale = operands.scales + column
        while start < depth {
          let count = depth - start < group ? depth - start : group
          let numbers = operands.numbers.map { $0 + start * 32 } ?? Kernels.expanded(g.pointee, start, count)
          let products = Kernels.accumulate(T.self, tile + start / 4 * T.rows * Sums.stepSize, numbers + column * 4, count / 4, &ahead)
          let scales = Sums.scales(at: scale)
          products.forEachRow(from: 0) { i, values in values.flush(to: sums + i * 32, isFirst: start == 0, scales: scales) }
          start += count
          scale += 32
        }
      }
      column += Sums.width
    }
  }
}
