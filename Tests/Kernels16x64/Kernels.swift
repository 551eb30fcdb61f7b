// A set that no CPU has, for the tests: 8-bit numbers as matrix units read them, in tiles of 16 rows with 64 inputs of each in turn, and less 128; floats in
// tiles of 5 rows. The loops are KernelMath's, and Product.swift.

import CKernels
import KernelMath

enum Kernels: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = PortableSums<Self>
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 5 }
  static var layout: TileLayout { TileLayout(rows: 16, step: 64, depth_multiple: 64, sign: 0x80) }
  static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo5(rows, body) }
  static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows5<B.Sums>.self) }
}

public func fill16x64(_ table: UnsafeMutablePointer<ditqk_kernels>) { Kernels.fill(table) }
