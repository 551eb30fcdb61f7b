// The product of 8-bit numbers of a set whose layout the register tile does not read: the definition, number by number, then the epilogue that all sets have.
// It knows of the layout what TileLayout says of it. Kernels16x64 has a link to this file.

import CKernels
import KernelMath

extension Kernels {
  static func gemm(_ arguments: UnsafePointer<ditqk_gemm_u8>) {
    let g = arguments.pointee, rowsOfTile = Int(layout.rows)
    withUnsafeTemporaryAllocation(byteCount: rowsOfTile * 128, alignment: 64) { room in
      let sums = room.baseAddress!.assumingMemoryBound(to: Float.self)
      for first in stride(from: 0, to: g.output.rows, by: rowsOfTile) {
        let rows = min(rowsOfTile, g.output.rows - first), tile = g.tiles + layout.start(ofTileAt: first, depth: g.depth)
        for panel in 0..<g.panels {
          sums.update(repeating: 0, count: rows * 32)
          for row in 0..<rows {
            // By sixteens, as the epilogue takes them.
            for column in 0..<min(32, (g.output.columns - panel * 32 + 15) & ~15) {
              sums[row * 32 + column] = sum(g, tile, row, of: rows, panel, column)
            }
          }
          complete(g.output, sums, first, rows, panel * 32, DequantizedSum<Kernels>(arguments, panel * 32))
        }
      }
    }
  }

  /// Σ over groups of scale · Σ q·p.
  private static func sum(
    _ g: ditqk_gemm_u8, _ tile: UnsafePointer<UInt8>, _ row: Int, of rows: Int, _ panel: Int, _ column: Int
  ) -> Float {
    let groups = (g.depth + g.group - 1) / g.group
    var total: Float = 0
    for group in 0..<groups {
      var products: Int32 = 0
      for k in group * g.group..<min(g.depth, (group + 1) * g.group) {
        let q = tile[layout.place(row: row, input: k, rows: rows)] ^ layout.sign
        products &+= Int32(q) &* weight(g, panel, column, k)
      }
      let scale = g.scales[(panel * groups + group) * 32 + column]
      total = group == 0 ? Float(products) * scale : total.addingProduct(Float(products), scale)
    }
    return total
  }

  private static func weight(_ g: ditqk_gemm_u8, _ panel: Int, _ column: Int, _ k: Int) -> Int32 {
    if let numbers = g.panel { return Int32(numbers[panel * g.depth * 32 + (k / 4 * 32 + column) * 4 + k % 4]) }
    let byte = g.nibbles[k / 8 * 128 + column * 4 + k % 4]
    return Int32(k % 8 < 4 ? byte & 15 : byte >> 4) - Int32(g.zeros[k / g.group * 32 + column])
  }
}
