// Integer weights times float rows, for few rows: as fast as the weights come from memory. Each number is made a float in a register, times its
// scale, and used for two rows; nothing of the size of a panel is written.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func gemmWeightOnly(_ tile: UnsafePointer<Float>, _ inputs: Int, _ arguments: UnsafePointer<ditqk_gemm_u8>) {
    let g = arguments.pointee, rows = g.output.rows
    forEachTile(g.output, 0, false) { _, _, sums in
      var row = 0
      while row < rows {
        // An odd row is multiplied twice, and written once.
        let other = row + 1 < rows ? row + 1 : row
        var products = RowPair(tile + row, tile + other, rows)
        var start = 0
        while start < inputs {
          let count = inputs - start < g.group ? inputs - start : g.group
          let numbers =
            g.panel.map { UnsafeRawPointer($0 + start * 32) } ?? expanded(g, start, g.depth - start < g.group ? g.depth - start : g.group)
          multiply(&products, numbers, count, g.scales + start / g.group * 32)
          start += count
        }
        store(products.leftOfA, sums + row * 32)
        store(products.rightOfA, sums + row * 32 + 16)
        store(products.leftOfB, sums + other * 32)
        store(products.rightOfB, sums + other * 32 + 16)
        row += 2
      }
    }
  }

  /// The numbers of a group of 4-bit weights in 8 bits, in the first-level cache.
  @inlinable @inline(__always)
  static func expanded(_ g: ditqk_gemm_u8, _ start: Int, _ count: Int) -> UnsafeRawPointer {
    expandPanel(g.nibbles + start * 16, g.zeros + start / g.group * 32, count, count, g.room.assumingMemoryBound(to: Int8.self))
    return UnsafeRawPointer(g.room)
  }

  /// `count` inputs, a multiple of 4, with one scale a column.
  @inlinable @inline(__always)
  static func multiply(_ products: inout RowPair, _ numbers: UnsafeRawPointer, _ count: Int, _ scales: UnsafePointer<Float>) {
    let left = load(scales), right = load(scales + 16)
    var k = 0
    while k < count {
      let word = numbers + k * 32
      ditqk_prefetch_read(word + 4096)
      ditqk_prefetch_read(word + 4160)
      let x = word.loadUnaligned(as: SIMD16<Int32>.self), y = (word + 64).loadUnaligned(as: SIMD16<Int32>.self)
      for i in 0..<4 { products.step(ditqk_floats(byte(i, of: x)) * left, ditqk_floats(byte(i, of: y)) * right) }
      k += 4
    }
  }

  /// Byte `i` of each word, with its sign.
  @inlinable @inline(__always) static func byte(_ i: Int, of words: SIMD16<Int32>) -> SIMD16<Int32> {
    (words &<< SIMD16(repeating: Int32(24 - 8 * i))) &>> SIMD16(repeating: 24)
  }
}

/// The sums of two rows over 32 columns, and where the rows' next inputs stand.
@frozen public struct RowPair {
  @usableFromInline var a: UnsafePointer<Float>
  @usableFromInline var b: UnsafePointer<Float>
  @usableFromInline let stride: Int
  @usableFromInline var leftOfA = Lanes.zero, rightOfA = Lanes.zero, leftOfB = Lanes.zero, rightOfB = Lanes.zero

  @inlinable @inline(__always) init(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ stride: Int) {
    (self.a, self.b, self.stride) = (a, b, stride)
  }

  @inlinable @inline(__always) mutating func step(_ left: Lanes, _ right: Lanes) {
    let x = Lanes(repeating: a.pointee), y = Lanes(repeating: b.pointee)
    leftOfA = leftOfA.addingProduct(x, left)
    rightOfA = rightOfA.addingProduct(x, right)
    leftOfB = leftOfB.addingProduct(y, left)
    rightOfB = rightOfB.addingProduct(y, right)
    a += stride
    b += stride
  }
}
