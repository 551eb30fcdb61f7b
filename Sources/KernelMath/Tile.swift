// The register tile of a GEMM. A tile is a row or a stack of two tiles: composed of types, all of it is unrolled and kept in registers by
// the compiler, which gives up on arrays of accumulators. (Look at the assembly after any change: one vfmadd a vector, no stores in the loop.)

/// Accumulators of some rows by the columns of one block of B, at least one vector wide.
public protocol Tile {
  associatedtype Columns: ColumnBlock
  static var rows: Int { get }
  init()
  /// Adds the products of one step of depth: `a` [rows] and `b` [columns].
  mutating func step(_ a: UnsafePointer<Float>, _ b: Columns)
  /// Writes [rows][32].
  func write(to sums: UnsafeMutablePointer<Float>)
}

/// Some vectors of a panel's 32 columns, at one depth.
public protocol ColumnBlock {
  static var width: Int { get }
  init()
  init(_ p: UnsafePointer<Float>)
  func adding(_ a: Lanes, times b: Self) -> Self
  func write(to p: UnsafeMutablePointer<Float>)
}

@frozen public struct OneVector<Kernels: KernelSet>: ColumnBlock {
  @usableFromInline var x: Lanes
  @inlinable @inline(__always) public static var width: Int { 16 }
  @inlinable @inline(__always) public init() { x = .zero }
  @inlinable @inline(__always) init(x: Lanes) { self.x = x }
  @inlinable @inline(__always) public init(_ p: UnsafePointer<Float>) { x = Kernels.load(p) }
  @inlinable @inline(__always) public func adding(_ a: Lanes, times b: Self) -> Self { Self(x: x.addingProduct(a, b.x)) }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) { Kernels.store(x, p) }
}

@frozen public struct TwoVectors<Kernels: KernelSet>: ColumnBlock {
  @usableFromInline var x: Lanes
  @usableFromInline var y: Lanes
  @inlinable @inline(__always) public static var width: Int { 32 }
  @inlinable @inline(__always) public init() { (x, y) = (.zero, .zero) }
  @inlinable @inline(__always) init(x: Lanes, y: Lanes) { (self.x, self.y) = (x, y) }
  @inlinable @inline(__always) public init(_ p: UnsafePointer<Float>) { (x, y) = (Kernels.load(p), Kernels.load(p + 16)) }
  @inlinable @inline(__always) public func adding(_ a: Lanes, times b: Self) -> Self {
    Self(x: x.addingProduct(a, b.x), y: y.addingProduct(a, b.y))
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) {
    Kernels.store(x, p)
    Kernels.store(y, p + 16)
  }
}

@frozen public struct Row<Columns: ColumnBlock>: Tile {
  @usableFromInline var sums: Columns
  @inlinable @inline(__always) public static var rows: Int { 1 }
  @inlinable @inline(__always) public init() { sums = Columns() }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafePointer<Float>, _ b: Columns) {
    sums = sums.adding(Lanes(repeating: a.pointee), times: b)
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) { sums.write(to: p) }
}

@frozen public struct Stack<Upper: Tile, Lower: Tile>: Tile where Upper.Columns == Lower.Columns {
  public typealias Columns = Upper.Columns
  @usableFromInline var upper: Upper
  @usableFromInline var lower: Lower
  @inlinable @inline(__always) public static var rows: Int { Upper.rows + Lower.rows }
  @inlinable @inline(__always) public init() { (upper, lower) = (Upper(), Lower()) }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafePointer<Float>, _ b: Columns) {
    upper.step(a, b)
    lower.step(a + Upper.rows, b)
  }
  @inlinable @inline(__always) public func write(to p: UnsafeMutablePointer<Float>) {
    upper.write(to: p)
    lower.write(to: p + Upper.rows * 32)
  }
}

public typealias Rows1<C: ColumnBlock> = Row<C>
public typealias Rows2<C: ColumnBlock> = Stack<Rows1<C>, Rows1<C>>
public typealias Rows3<C: ColumnBlock> = Stack<Rows2<C>, Rows1<C>>
public typealias Rows4<C: ColumnBlock> = Stack<Rows2<C>, Rows2<C>>
public typealias Rows5<C: ColumnBlock> = Stack<Rows4<C>, Rows1<C>>
public typealias Rows6<C: ColumnBlock> = Stack<Rows4<C>, Rows2<C>>
public typealias Rows7<C: ColumnBlock> = Stack<Rows4<C>, Rows3<C>>
public typealias Rows8<C: ColumnBlock> = Stack<Rows4<C>, Rows4<C>>
public typealias Rows9<C: ColumnBlock> = Stack<Rows8<C>, Rows1<C>>
public typealias Rows10<C: ColumnBlock> = Stack<Rows8<C>, Rows2<C>>
public typealias Rows11<C: ColumnBlock> = Stack<Rows8<C>, Rows3<C>>
public typealias Rows12<C: ColumnBlock> = Stack<Rows8<C>, Rows4<C>>
public typealias Rows13<C: ColumnBlock> = Stack<Rows8<C>, Rows5<C>>
public typealias Rows14<C: ColumnBlock> = Stack<Rows8<C>, Rows6<C>>
