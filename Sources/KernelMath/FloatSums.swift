// Sums of floats for the register tile: one vector of sixteen columns, or two.

@frozen public struct OneVector<Kernels: KernelSet>: RowSums {
  @usableFromInline var x: Lanes
  @inlinable @inline(__always) public static var width: Int { 16 }
  @inlinable @inline(__always) public init() { x = .zero }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> Lanes { panel.loadUnaligned(as: Lanes.self) }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: Lanes) {
    x = x.addingProduct(Lanes(repeating: a.load(as: Float.self)), b)
  }
}

@frozen public struct TwoVectors<Kernels: KernelSet>: RowSums {
  @usableFromInline var x: Lanes
  @usableFromInline var y: Lanes
  @inlinable @inline(__always) public static var width: Int { 32 }
  @inlinable @inline(__always) public init() { (x, y) = (.zero, .zero) }
  @inlinable @inline(__always) public static func operand(at panel: UnsafeRawPointer) -> (Lanes, Lanes) {
    (panel.loadUnaligned(as: Lanes.self), (panel + 64).loadUnaligned(as: Lanes.self))
  }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: (Lanes, Lanes)) {
    let repeated = Lanes(repeating: a.load(as: Float.self))
    x = x.addingProduct(repeated, b.0)
    y = y.addingProduct(repeated, b.1)
  }
}

/// Finished sums of floats, as they are written: a vector each sixteen columns.
public protocol FloatSums: RowSums {
  func write(to p: UnsafeMutablePointer<Float>)
}

extension OneVector: FloatSums {
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) { Kernels.store(x, p) }
}

extension TwoVectors: FloatSums {
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) {
    Kernels.store(x, p)
    Kernels.store(y, p + 16)
  }
}

/// sums [T.rows][32] = tile [depth][T.rows] · panel [depth][32], floats.
@frozen public struct FloatProduct<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Floats
  @usableFromInline let tile: UnsafePointer<Float>
  @usableFromInline let panel: UnsafePointer<Float>
  @usableFromInline let depth: Int
  @usableFromInline let sums: UnsafeMutablePointer<Float>

  @inlinable @inline(__always)
  init(tile: UnsafePointer<Float>, panel: UnsafePointer<Float>, depth: Int, sums: UnsafeMutablePointer<Float>) {
    (self.tile, self.panel, self.depth, self.sums) = (tile, panel, depth, sums)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    var column = 0
    while column < 32 {
      let product = Kernels.accumulate(T.self, UnsafeRawPointer(tile), UnsafeRawPointer(panel + column), depth)
      product.forEachRow(from: 0) { row, values in values.write(to: sums + row * 32 + column) }
      column += Sums.width
    }
  }
}
