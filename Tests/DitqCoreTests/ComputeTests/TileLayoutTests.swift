// Where the 8-bit numbers of the left matrix stand: every layout keeps what CKernels.h says of it, and every set has one of the kinds that callers reckon with.

import CKernels
import Testing

@testable import DitqCore

@Suite("Tile layouts")
struct TileLayoutTests {
  private var layouts: [(name: String, layout: TileLayout)] {
    instructionSets().map { ($0.name, $0.kernels.layout) }
      + [4, 16, 32, 64].flatMap { step in
        [1, 3, 32].map { ("\($0) × \(step)", TileLayout(rows: Int32($0), step: Int32(step), depth_multiple: 64 * Int32($0), sign: 0)) }
      }
  }

  @Test("rows, steps and depths are such as callers leave room for and kernels write")
  func limits() {
    for (name, layout) in layouts {
      #expect((1...Int32(DITQK_MOST_LAYOUT_ROWS)).contains(layout.rows), "\(name)")
      #expect([4, 16, 32, 64].contains(layout.step) && [0, 0x80].contains(layout.sign), "\(name)")
      #expect(layout.depth_multiple % 8 == 0 && layout.depth_multiple % layout.step == 0, "\(name)")
    }
    for set in instructionSets() { #expect((1...Int32(DITQK_LARGEST_TILE_ROWS)).contains(set.kernels.tile_rows), "\(set.name)") }
  }

  @Test("every number has a place of its own, and a matrix takes its rows' bytes and no more")
  func places() {
    for (name, layout) in layouts {
      let tileRows = Int(layout.rows)
      for (rows, depth) in [(1, 1), (tileRows, 5), (tileRows + 1, 8), (3 * tileRows - 1, 65), (2, 200)] {
        let size = layout.rowSize(depth: depth)
        #expect(size >= depth && size - depth < layout.depth_multiple && size % Int(layout.depth_multiple) == 0, "\(name)")
        var taken = [Bool](repeating: false, count: rows * size)
        for row in 0..<rows {
          let first = row / tileRows * tileRows, height = min(tileRows, rows - first), start = layout.start(ofTileAt: first, depth: depth)
          for input in 0..<size {
            let place = start + layout.place(row: row - first, input: input, rows: height)
            guard taken.indices.contains(place) && !taken[place] else {
              Issue.record("\(name): row \(row) of \(rows), input \(input) of \(size) at \(place)")
              return
            }
            taken[place] = true
          }
        }
        #expect(!taken.contains(false), "\(name)")
      }
    }
  }

  @Test("a step's inputs stand side by side, and the next sixteen where advancing leads")
  func steps() {
    for (name, layout) in layouts {
      for rows in 1...Int(layout.rows) {
        for input in 0..<192 {
          let place = layout.place(row: rows - 1, input: input, rows: rows)
          if input % Int(layout.step) > 0 { #expect(place == layout.place(row: rows - 1, input: input - 1, rows: rows) + 1, "\(name)") }
          if input % 16 == 0 {
            #expect(
              place + layout.advance(from: input, rows: rows) == layout.place(row: rows - 1, input: input + 16, rows: rows), "\(name)")
          }
        }
      }
    }
  }
}
