// KernelSet: what the functions of this module are methods of. Each kernel module conforms a type of its own, and with it every function it
// uses is specialized under a name of its own. Without that, what the compiler does not inline would have one name in several modules, each
// compiled for another CPU, and the linker would keep any of them.

import CKernels

/// An instruction set, as a type without values.
public protocol KernelSet {
  /// The sums of a row in the register tile: of floats, and of 8-bit products.
  associatedtype Floats: FloatSums
  associatedtype Integers: IntegerSums
  /// And of 8-bit products with 4-bit weights, where a set has sums of their own for them.
  associatedtype SmallIntegers: IntegerSums = Integers
  static var hasSmallIntegers: Bool { get }
  /// The whole tile of 8-bit products with sixteen columns of a panel, where a set has another than for all 32.
  associatedtype NarrowTile: Tile = Row<Integers> where NarrowTile.Sums: IntegerSums
  /// And of 16-bit products.
  associatedtype Words: WordSums
  /// Rows of the register tile, at most 14.
  static var tileRows: Int { get }
  /// Where 8-bit numbers of the left matrix stand: as the register tile reads them, unless a set has a product of its own.
  static var layout: TileLayout { get }
  /// How many panels of 8-bit numbers are best multiplied together.
  static var panelsTogether: Int { get }
  /// Whether weights of a few rows are best turned to floats as they come from memory.
  static var hasWeightOnly: Bool { get }
  /// Runs a body with the tile of so many rows, 1 to `tileRows`.
  static func choose<B: TileBody>(_ rows: Int, _ body: B)
  /// The tile as the sums of 8-bit weights read it: as it is, or made anew in the room.
  static func tile(_ g: ditqk_gemm_u8, _ start: UnsafeRawPointer, rows: Int) -> UnsafeRawPointer
  /// Whether e to the x is called, as one function, where it is not worth inlining everywhere.
  static var callsExponential: Bool { get }
  /// Runs a body with one of a few tiles, which has at least so many rows.
  static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B)
}

extension KernelSet {
  @inlinable @inline(__always) public static var layout: TileLayout { registerLayout(sign: 0) }
  @inlinable @inline(__always) public static var panelsTogether: Int { 1 }
  @inlinable @inline(__always) public static var hasWeightOnly: Bool { true }
  @inlinable @inline(__always) public static var callsExponential: Bool { false }
  @inlinable @inline(__always) public static var hasSmallIntegers: Bool { false }
  @inlinable @inline(__always) public static func tile(_ g: ditqk_gemm_u8, _ start: UnsafeRawPointer, rows: Int) -> UnsafeRawPointer {
    start
  }
  /// Steps of four numbers of each row, as many as the panel has of each column.
  @inlinable @inline(__always) public static func registerLayout(sign: UInt8) -> TileLayout {
    TileLayout(rows: Int32(truncatingIfNeeded: tileRows), step: 4, depth_multiple: 8, sign: sign)
  }
  /// The layout of a panel, whose columns are rows there.
  @inlinable @inline(__always) static var panelLayout: TileLayout { TileLayout(rows: 32, step: 4, depth_multiple: 8, sign: 0x80) }
}
