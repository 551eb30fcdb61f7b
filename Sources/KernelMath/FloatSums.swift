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
  /// With a bias added, where there is one.
  func write(to p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?)
}

extension KernelSet {
  @inlinable @inline(__always) static func write(_ x: Lanes, _ p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?) {
    if let bias { store(x + load(bias), p) } else { store(x, p) }
  }
}

extension OneVector: FloatSums {
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?) {
    Kernels.write(x, p, bias)
  }
}

extension TwoVectors: FloatSums {
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>, _ bias: UnsafePointer<Float>?) {
    Kernels.write(x, p, bias)
    Kernels.write(y, p + 16, bias.map { $0 + 16 })
  }
}

/// tile [depth][T.rows] · panel [depth][32], floats: into sums [T.rows][32], or with the bias into the lines of the output.
@frozen public struct FloatProduct<Kernels: KernelSet>: TileBody {
  public typealias Sums = Kernels.Floats
  @usableFromInline let tile: UnsafePointer<Float>
  @usableFromInline let panel: UnsafePointer<Float>
  @usableFromInline let depth: Int
  @usableFromInline let target: UnsafeMutablePointer<Float>
  @usableFromInline let stride: Int
  @usableFromInline let bias: UnsafePointer<Float>?

  @inlinable @inline(__always)
  init(
    tile: UnsafePointer<Float>, panel: UnsafePointer<Float>, depth: Int, _ sums: UnsafeMutablePointer<Float>,
    _ line: UnsafeMutablePointer<Float>?, _ stride: Int, _ bias: UnsafePointer<Float>?
  ) {
    (self.tile, self.panel, self.depth) = (tile, panel, depth)
    (target, self.stride, self.bias) = (line ?? sums, line == nil ? 32 : stride, line == nil ? nil : bias)
  }

  @inlinable @inline(__always)
  public func run<T: Tile>(_: T.Type) where T.Sums == Sums {
    var column = 0
    while column < 32 {
      let start = UnsafeRawPointer(panel + column)
      var ahead = Ahead(start, steps: depth, rows: T.rows, output: target + column, stride: stride * 4)
      let product = Kernels.accumulate(T.self, UnsafeRawPointer(tile), start, depth, &ahead)
      product.forEachRow(from: 0) { row, values in values.write(to: target + row * stride + column, bias.map { $0 + column }) }
      column += Sums.width
    }
  }
}
