// The register tile of a GEMM, of floats or of integers. A tile is a row or a stack of two tiles: composed of types, all of it is unrolled
// and kept in registers by the compiler, which gives up on arrays of accumulators. (Look at the assembly after any change: one multiply-add
// a vector, no stores in the loop.)
//
// A step of depth takes 4 bytes of each row of the left matrix, one float or four 8-bit numbers (or 8, where those were made 16-bit ones), and
// 128 bytes of the panel: 32 columns of as much. So both kinds of GEMM share this file.

import CKernels

/// What the rows of a tile have in common: sums of the panel's numbers, for a set whose products need them.
public protocol ColumnSums {
  associatedtype Operand
  init()
  mutating func step(_ b: Operand)
}

/// Most sets need none.
@frozen public struct NoColumnSums<Operand>: ColumnSums {
  @inlinable @inline(__always) public init() {}
  @inlinable @inline(__always) public mutating func step(_ b: Operand) {}
}

/// The sums of one row over some of a panel's 32 columns.
public protocol RowSums {
  /// The panel's numbers of one step.
  associatedtype Operand
  associatedtype Columns: ColumnSums = NoColumnSums<Operand> where Columns.Operand == Operand
  /// Columns.
  static var width: Int { get }
  /// Bytes of a row's step.
  static var stepSize: Int { get }
  /// Whether `fold` is to be called after four steps at most.
  static var folds: Bool { get }
  init()
  static func operand(at panel: UnsafeRawPointer) -> Operand
  /// Adds the products of the row's numbers at `a`.
  mutating func step(_ a: UnsafeRawPointer, _ b: Operand)
  /// Adds up what the last steps came to, where that is kept apart.
  mutating func fold()
  /// After the last step.
  mutating func add(_ columns: Columns)
}

extension RowSums {
  @inlinable @inline(__always) public static var stepSize: Int { 4 }
  @inlinable @inline(__always) public static var folds: Bool { false }
  @inlinable @inline(__always) public mutating func fold() {}
}

extension RowSums where Columns == NoColumnSums<Operand> {
  @inlinable @inline(__always) public mutating func add(_ columns: Columns) {}
}

/// The sums of some rows.
public protocol Tile {
  associatedtype Sums: RowSums
  static var rows: Int { get }
  init()
  mutating func step(_ a: UnsafeRawPointer, _ b: Sums.Operand)
  mutating func fold()
  mutating func add(_ columns: Sums.Columns)
  /// Gives each row's sums to `body`, the first row being number `first`.
  func forEachRow(from first: Int, _ body: (_ row: Int, _ sums: Sums) -> Void)
}

@frozen public struct Row<Sums: RowSums>: Tile {
  @usableFromInline var sums: Sums
  @inlinable @inline(__always) public static var rows: Int { 1 }
  @inlinable @inline(__always) public init() { sums = Sums() }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: Sums.Operand) { sums.step(a, b) }
  @inlinable @inline(__always) public mutating func fold() { sums.fold() }
  @inlinable @inline(__always) public mutating func add(_ columns: Sums.Columns) { sums.add(columns) }
  @inlinable @inline(__always) public func forEachRow(from first: Int, _ body: (_ row: Int, _ sums: Sums) -> Void) { body(first, sums) }
}

@frozen public struct Stack<Upper: Tile, Lower: Tile>: Tile where Upper.Sums == Lower.Sums {
  public typealias Sums = Upper.Sums
  @usableFromInline var upper: Upper
  @usableFromInline var lower: Lower
  @inlinable @inline(__always) public static var rows: Int { Upper.rows + Lower.rows }
  @inlinable @inline(__always) public init() { (upper, lower) = (Upper(), Lower()) }
  @inlinable @inline(__always) public mutating func step(_ a: UnsafeRawPointer, _ b: Sums.Operand) {
    upper.step(a, b)
    lower.step(a + Upper.rows * Sums.stepSize, b)
  }
  @inlinable @inline(__always) public mutating func fold() {
    upper.fold()
    lower.fold()
  }
  @inlinable @inline(__always) public mutating func add(_ columns: Sums.Columns) {
    upper.add(columns)
    lower.add(columns)
  }
  @inlinable @inline(__always) public func forEachRow(from first: Int, _ body: (_ row: Int, _ sums: Sums) -> Void) {
    upper.forEachRow(from: first, body)
    lower.forEachRow(from: first + Upper.rows, body)
  }
}

public typealias Rows1<S: RowSums> = Row<S>
public typealias Rows2<S: RowSums> = Stack<Rows1<S>, Rows1<S>>
public typealias Rows3<S: RowSums> = Stack<Rows2<S>, Rows1<S>>
public typealias Rows4<S: RowSums> = Stack<Rows2<S>, Rows2<S>>
public typealias Rows5<S: RowSums> = Stack<Rows4<S>, Rows1<S>>
public typealias Rows6<S: RowSums> = Stack<Rows4<S>, Rows2<S>>
public typealias Rows7<S: RowSums> = Stack<Rows4<S>, Rows3<S>>
public typealias Rows8<S: RowSums> = Stack<Rows4<S>, Rows4<S>>
public typealias Rows9<S: RowSums> = Stack<Rows8<S>, Rows1<S>>
public typealias Rows10<S: RowSums> = Stack<Rows8<S>, Rows2<S>>
public typealias Rows11<S: RowSums> = Stack<Rows8<S>, Rows3<S>>
public typealias Rows12<S: RowSums> = Stack<Rows8<S>, Rows4<S>>
public typealias Rows13<S: RowSums> = Stack<Rows8<S>, Rows5<S>>
public typealias Rows14<S: RowSums> = Stack<Rows8<S>, Rows6<S>>

/// A function of a tile type, chosen by a number of rows.
public protocol TileBody {
  associatedtype Sums: RowSums
  func run<T: Tile>(_: T.Type) where T.Sums == Sums
}

extension KernelSet {
  /// Runs a body for 1 to 4 rows: where little is known of the registers.
  @inlinable @inline(__always)
  public static func chooseUpTo4<B: TileBody>(_ rows: Int, _ body: B) {
    switch rows {
    case 1: body.run(Rows1<B.Sums>.self)
    case 2: body.run(Rows2<B.Sums>.self)
    case 3: body.run(Rows3<B.Sums>.self)
    default: body.run(Rows4<B.Sums>.self)
    }
  }

  /// Runs a body for 1 to 5 rows.
  @inlinable @inline(__always)
  public static func chooseUpTo5<B: TileBody>(_ rows: Int, _ body: B) {
    if rows == 5 { body.run(Rows5<B.Sums>.self) } else { chooseUpTo4(rows, body) }
  }

  /// Runs a body for 1 to 6 rows: for sixteen 256-bit or thirty-two 128-bit registers.
  @inlinable @inline(__always)
  public static func chooseUpTo6<B: TileBody>(_ rows: Int, _ body: B) {
    if rows == 6 { body.run(Rows6<B.Sums>.self) } else { chooseUpTo5(rows, body) }
  }

  /// Runs a body for 1 to 14 rows: with 32 columns, 28 of thirty-two 512-bit registers are sums.
  @inlinable @inline(__always)
  public static func chooseUpTo14<B: TileBody>(_ rows: Int, _ body: B) {
    switch rows {
    case 1...6: chooseUpTo6(rows, body)
    case 7: body.run(Rows7<B.Sums>.self)
    case 8: body.run(Rows8<B.Sums>.self)
    case 9: body.run(Rows9<B.Sums>.self)
    case 10: body.run(Rows10<B.Sums>.self)
    case 11: body.run(Rows11<B.Sums>.self)
    case 12: body.run(Rows12<B.Sums>.self)
    case 13: body.run(Rows13<B.Sums>.self)
    default: body.run(Rows14<B.Sums>.self)
    }
  }

  /// Runs a body for at least so many of up to 6 rows.
  @inlinable @inline(__always)
  public static func chooseAtLeastOf6<B: TileBody>(_ rows: Int, _ body: B) {
    if rows <= 4 { body.run(Rows4<B.Sums>.self) } else { body.run(Rows6<B.Sums>.self) }
  }

  /// Runs a body for at least so many of up to 14 rows.
  @inlinable @inline(__always)
  public static func chooseAtLeastOf14<B: TileBody>(_ rows: Int, _ body: B) {
    switch rows {
    case ...4: body.run(Rows4<B.Sums>.self)
    case ...8: body.run(Rows8<B.Sums>.self)
    default: body.run(Rows14<B.Sums>.self)
    }
  }
}
