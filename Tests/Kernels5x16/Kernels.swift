// A set that no CPU has, for the tests: 8-bit numbers in tiles of 5 rows with 16 inputs of each in turn, made 48 deep; floats in tiles of 3 rows; three panels
// together. Whatever takes the layout of the others for granted is wrong with it. The loops are KernelMath's, and Product.swift.

import CKernels
import KernelMath

enum Kernels: KernelSet {
  typealias Floats = OneVector<Self>
  typealias Integers = PortableSums<Self>
  typealias Words = OneWordVector<Self>
  static var tileRows: Int { 3 }
  static var layout: TileLayout { TileLayout(rows: 5, step: 16, depth_multiple: 48, sign: 0) }
  static var panelsTogether: Int { 3 }
  static func choose<B: TileBody>(_ rows: Int, _ body: B) { chooseUpTo4(rows, body) }
  static func chooseAtLeast<B: TileBody>(_ rows: Int, _ body: B) { body.run(Rows3<B.Sums>.self) }
}

public func fill5x16(_ table: UnsafeMutablePointer<ditqk_kernels>) { Kernels.fill(table) }
