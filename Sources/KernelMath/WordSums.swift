// Sums of 16-bit products for the register tile, modulo 2³²: one vector of sixteen columns, or two.

import CKernels

public protocol WordSums: RowSums {
  func write(to p: UnsafeMutablePointer<Int32>)
}

@frozen public struct OneWordVector<Kernels: KernelSet>: WordSums {
  @usableFromInline var x: SIMD16<Int32>
  @inlinable @inline(__always) public static var width: Int { 16 }
  @inlinable @inline(__always) public init() { x = .zero }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> SIMD16<Int32> {
    panel.loadUnaligned(as: SIMD16<Int32>.self)
  }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: SIMD16<Int32>) {
    x = ditqk_dot_words(x, a.loadUnaligned(as: UInt32.self), b)
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Int32>) {
    UnsafeMutableRawPointer(p).storeBytes(of: x, as: SIMD16<Int32>.self)
  }
}

@frozen public struct TwoWordVectors<Kernels: KernelSet>: WordSums {
  @usableFromInline var x: SIMD16<Int32>
  @usableFromInline var y: SIMD16<Int32>
  @inlinable @inline(__always) public static var width: Int { 32 }
  @inlinable @inline(__always) public init() { (x, y) = (.zero, .zero) }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> (SIMD16<Int32>, SIMD16<Int32>) {
    (panel.loadUnaligned(as: SIMD16<Int32>.self), (panel + 64).loadUnaligned(as: SIMD16<Int32>.self))
  }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: (SIMD16<Int32>, SIMD16<Int32>)) {
    let word = a.loadUnaligned(as: UInt32.self)
    x = ditqk_dot_words(x, word, b.0)
    y = ditqk_dot_words(y, word, b.1)
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Int32>) {
    UnsafeMutableRawPointer(p).storeBytes(of: x, as: SIMD16<Int32>.self)
    UnsafeMutableRawPointer(p + 16).storeBytes(of: y, as: SIMD16<Int32>.self)
  }
}

/// A tile of Winograd tiles at one position times a panel's: sums [T.rows][32].
@frozen public struct WordProduct<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Words
  @usableFromInline let tiles: UnsafeRawPointer
  /// Bytes from a step to the next.
  @usableFromInline let step: Int
  @usableFromInline let panel: UnsafeRawPointer
  @usableFromInline let steps: Int
  @usableFromInline let sums: UnsafeMutablePointer<Int32>

  @inlinable @inline(__always)
  init(tiles: UnsafeRawPointer, step: Int, panel: UnsafeRawPointer, steps: Int, sums: UnsafeMutablePointer<Int32>) {
    (self.tiles, self.step, self.panel, self.steps, self.sums) = (tiles, step, panel, steps, sums)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    var column = 0
    while column < 32 {
      var product = T()
      var a = tiles
      var b = panel + column * 4
      let end = b + steps * 128
      repeat {
        product.step(a, Sums.operand(at: b))
        a += step
        b += 128
      } while b < end
      product.forEachRow(from: 0) { i, values in values.write(to: sums + i * 32 + column) }
      column += Sums.width
    }
  }
}
