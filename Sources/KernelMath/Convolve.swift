// A convolution's innermost loops in float: the register tile of the GEMM, whose left matrix is read where the pixels are packed, tap after
// tap, instead of from a copy for each tap. Sums are taken in the order of the taps, by rows, and in each of the channels.
//
// Three heights of tile are enough: positions past the last pixel are there to be read, and their sums are dropped.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func convolve(_ c: UnsafePointer<ditqk_convolution>) {
    // As in `forEachTile`: the stack is not aligned to a cache line.
    var scratch = InlineArray<29, Lanes>(repeating: .zero)
    withUnsafeMutableBytes(of: &scratch) { bytes in
      let sums = bytes.baseAddress!.alignedUp(toMultipleOf: 64).assumingMemoryBound(to: Float.self)
      var row = 0
      while row < c.pointee.rows {
        let rows = c.pointee.rows - row < tileRows ? c.pointee.rows - row : tileRows
        chooseAtLeast(rows, Taps<Self>(c, row: row, sums: sums))
        for i in 0..<rows { putOut(c, sums + i * 32, row + i) }
        row += rows
      }
    }
  }

  /// A row of sums [32], + bias, into the output or added to it.
  @inlinable @inline(__always)
  static func putOut(_ c: UnsafePointer<ditqk_convolution>, _ sums: UnsafePointer<Float>, _ row: Int) {
    let output = c.pointee.output + row * c.pointee.stride
    forEachLanes(c.pointee.columns) { i, count in
      var x = load(sums + i) + load(c.pointee.bias, at: i, count)
      if c.pointee.accumulate != 0 { x += load(UnsafePointer(output), at: i, count) }
      store(x, output, at: i, count)
    }
  }

  /// The sums over all taps of a tile whose first pixel is number `row`, from `column` of the panel on.
  @inlinable @inline(__always)
  static func accumulate<T: Tile>(_: T.Type, _ c: UnsafePointer<ditqk_convolution>, row: Int, column: Int) -> T {
    let step = c.pointee.positions * 4, size = c.pointee.size, length = c.pointee.inputs * 128
    var sums = T()
    var b = UnsafeRawPointer(c.pointee.panel! + column)
    var taps = UnsafeRawPointer(c.pointee.pixels! + row)
    for _ in 0..<size {
      for tap in 0..<size {
        var a = taps + tap * 4
        let end = b + length
        repeat {
          sums.step(a, T.Sums.operand(at: b))
          a += step
          b += 128
        } while b < end
      }
      taps += c.pointee.row * 4
    }
    return sums
  }
}

/// Sums [T.rows][32].
@frozen public struct Taps<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Floats
  @usableFromInline let c: UnsafePointer<ditqk_convolution>
  @usableFromInline let row: Int
  @usableFromInline let sums: UnsafeMutablePointer<Float>

  @inlinable @inline(__always)
  init(_ c: UnsafePointer<ditqk_convolution>, row: Int, sums: UnsafeMutablePointer<Float>) {
    (self.c, self.row, self.sums) = (c, row, sums)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    var column = 0
    while column < 32 {
      Kernels.accumulate(T.self, c, row: row, column: column).forEachRow(from: 0) { i, values in
        values.write(to: sums + i * 32 + column, nil)
      }
      column += Sums.width
    }
  }
}
