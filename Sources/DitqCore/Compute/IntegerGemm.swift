// The integer GEMM driver: y = x · weightsᵀ with 8-bit rows and 8- or 4-bit weights, the products summed exactly in 32 bits.
//
// Blocking. That of the float driver (Gemm.swift): tiles of 14 rows, panels of 32 outputs, the depth not blocked; a step of depth is four 8-bit
// products instead of one float, so the same 128 bytes of panel and 56 of rows feed 28 instructions of two a cycle. Panel and tile of depth
// 1152 are 37 + 16 KB, a little more than the first-level cache: the panel comes from the second for each tile, 9 bytes a cycle of the 64
// that it gives, which costs 1.5 %. Blocking the depth was tried: keeping the sums between two parts costs more.
//
// A tile of depth 1152 takes 4032 cycles at the peak. Around it stand some 200 more: its sums become floats, are scaled, and go straight to
// the output where there is one group of inputs; with groups they wait in a scratch tile, aligned to a line (unaligned it cost 5 %), and each
// group of 128 adds 35. (Sums and floats of half a tile together in registers were tried: no better, the panel is read twice as often.)
// The lines of the output are asked for a row at a time while the tile is summed up: 28 at once took the misses that the loads need.
//
// AVX2 has no exact instruction for four products. 8-bit weights are multiplied as 16-bit numbers, and so are the rows: the kernel widens a tile
// once for four panels, since widening each number where it is used took a third of the time. Products with 4-bit weights are at most 255 · 15, and
// eight of them are added up in 16 bits before they join the sum: 9 instructions instead of 16, and half the loads. (Panels of 16-bit numbers, made once
// for all rows, were tried: 5 % at depth 1152, 2 % at 4608, too little for 8 KB of code and 0.3 MB a thread.)
//
// Panels are read from memory once. The loop asks for what it reads 4 KB ahead, at the end of a panel for its start, and each tile for its
// share of the next panel. 4-bit weights are expanded to 8 bits a panel at a time, into the thread's scratch, and used for all rows: 600 stores
// against 37 tiles. One tile alone, as adaLN's one row an image, expands a group at a time instead, 4 KB that never leave the first-level cache:
// it runs at the speed of memory.
//
// Rows are quantized four at a time, so that what was looked at for a range is still near when it is rounded, and four rows' words are stored
// together; meanwhile the next four are asked for. Rows too long for that are looked at a tile together and rounded 512 columns at a time; those
// of the MLP, the longest, are not looked at: GELU's epilogue keeps their extremes as it makes them. Where the next layer's ranges are static, it
// puts out its rows as they will be read.
//
// Σ k of x̂·ŵ = row scale · (Σ over groups g of scale[g] · Σ q·p − zero · Σ over groups of scale[g] · Σ p). The inner sums are exact: |Σ q·p|
// ≤ mostInputs · 255 · 127 < 2³¹. Each is rounded once, to a float, and the groups are added in order by fused multiply-adds: the same to the
// bit for any tile, panel or thread.

import CKernels

/// A weight matrix in 8 or 4 bits, packed: for each panel, one after the other, its numbers, scales, zero points and sums.
struct IntegerWeights {
  /// More, and sums might not fit 32 bits.
  static let mostInputs = 65536

  let outputs: Int
  let inputs: Int
  /// 8 or 4.
  let bits: Int
  /// Inputs that share a scale; at least `depth` for a whole row.
  let group: Int
  /// 8 bits: [panels][depth / 4][32][4] of p. 4 bits: [panels][depth / 8][32 · 4] of two nibbles.
  let numbers: UnsafeMutableRawPointer
  /// [panels][groups][32].
  let scales: UnsafeMutablePointer<Float>
  /// 4 bits: [panels][groups][32].
  let zeros: UnsafeMutablePointer<UInt8>
  /// [panels][32]: Σ over groups of scale · Σ p.
  let sums: UnsafeMutablePointer<Float>

  init(_ arena: inout Arena, outputs: Int, inputs: Int, bits: Int, group: Int) {
    (self.outputs, self.inputs, self.bits) = (outputs, inputs, bits)
    let depth = IntegerWeights.depth(inputs), panels = panelCount(outputs)
    self.group = group == 0 || group >= depth ? depth : group
    let groups = (depth + self.group - 1) / self.group
    numbers = UnsafeMutableRawPointer(arena.reserve(UInt8.self, panels, depth, bits * 4))
    scales = arena.floats(panels, groups, panelColumns)
    zeros = arena.reserve(UInt8.self, panels, groups, panelColumns)
    sums = arena.floats(panels, panelColumns)
  }

  private init(
    _ shape: IntegerWeights, numbers: UnsafeRawPointer, scales: UnsafeRawPointer, zeros: UnsafeRawPointer, sums: UnsafeRawPointer
  ) {
    (outputs, inputs, bits, group) = (shape.outputs, shape.inputs, shape.bits, shape.group)
    self.numbers = UnsafeMutableRawPointer(mutating: numbers)
    self.scales = UnsafeMutableRawPointer(mutating: scales).assumingMemoryBound(to: Float.self)
    self.zeros = UnsafeMutableRawPointer(mutating: zeros).assumingMemoryBound(to: UInt8.self)
    self.sums = UnsafeMutableRawPointer(mutating: sums).assumingMemoryBound(to: Float.self)
  }

  /// The same matrix where it stands, to be read only.
  func standing(numbers: UnsafeRawPointer, scales: UnsafeRawPointer, zeros: UnsafeRawPointer, sums: UnsafeRawPointer) -> IntegerWeights {
    IntegerWeights(self, numbers: numbers, scales: scales, zeros: zeros, sums: sums)
  }

  /// Inputs, rounded up to what a panel holds.
  static func depth(_ inputs: Int) -> Int { (inputs + 7) & ~7 }

  var depth: Int { IntegerWeights.depth(inputs) }
  var groups: Int { (depth + group - 1) / group }
  /// Numbers, scales, zero points and sums.
  var byteCount: Int { panelCount(outputs) * (panelByteCount + panelColumns * (groups * (bits == 4 ? 5 : 4) + 4)) }
  /// Bytes of a panel's numbers.
  var panelByteCount: Int { depth * bits * 4 }
}

/// Rows of 8-bit numbers in tiles, with the scale and zero point of each.
struct QuantizedRows {
  private let tiles: UnsafeMutablePointer<UInt8>
  let layout: TileLayout
  let scales: UnsafeMutablePointer<Float>
  let zeros: UnsafeMutablePointer<Float>
  let rows: Int
  let inputs: Int

  init(_ buffers: RowBuffers, rows: Int, inputs: Int, _ layout: TileLayout) {
    (self.rows, self.inputs, self.layout) = (rows, inputs, layout)
    tiles = UnsafeMutableRawPointer(buffers.packed).assumingMemoryBound(to: UInt8.self)
    (scales, zeros) = (buffers.scales, buffers.zeros)
  }

  var tileRows: Int { Int(layout.rows) }
  var rowSize: Int { layout.rowSize(depth: inputs) }
  /// The tile that begins with a row.
  func tile(at row: Int) -> UnsafeMutablePointer<UInt8> { tiles + layout.start(ofTileAt: row, depth: inputs) }
}

extension Executor {
  /// Quantizes rows by the ranges of their bins, or each by its own. Scratch: `modulationScratch`, where they are modulated.
  func quantize(_ source: RowSource, by ranges: UnsafeBufferPointer<ActivationRange>?, _ bins: RowBins?, into packed: QuantizedRows) {
    pool.run(
      QuantizeJob(
        source: source, ranges: ranges, bins: bins, packed: packed, kernels: kernels, scratch: scratch, cancellation: cancellation))
  }

  /// output [rows, stride] ← epilogue(x · weightsᵀ + bias). Scratch: `integerScratch`.
  func gemm(
    _ x: QuantizedRows, _ weights: IntegerWeights, bias: UnsafePointer<Float>?, into output: UnsafeMutablePointer<Float>, stride: Int,
    _ epilogue: Epilogue = Epilogue()
  ) {
    epilogue.extremes?.clear(rows: x.rows)
    gemm(x, weights, ditqk_output(output, rows: x.rows, weights.outputs, stride: stride, bias: bias, epilogue))
  }

  /// The same into the rows of a GEMM to come, whose ranges are given: nothing waits for a look at all of them.
  func gemm(
    _ x: QuantizedRows, _ weights: IntegerWeights, bias: UnsafePointer<Float>?, into next: QuantizedRows,
    by ranges: UnsafeBufferPointer<ActivationRange>, _ bins: RowBins, _ epilogue: Epilogue
  ) {
    for row in 0..<next.rows {
      let range = ranges[held: bins.bin(ofRow: row)]
      (next.scales[row], next.zeros[row]) = (range.scale, range.zero)
    }
    gemm(x, weights, ditqk_output(next, weights.outputs, bias: bias, epilogue))
  }

  private func gemm(_ x: QuantizedRows, _ weights: IntegerWeights, _ whole: ditqk_output) {
    precondition(x.inputs == weights.inputs)
    pool.run(
      IntegerGemmJob(
        x: x, weights: weights, whole: whole, kernels: kernels, scratch: scratch, cancellation: cancellation))
  }

  /// Scratch floats a thread needs to expand a 4-bit panel, or for what a kernel makes of a tile.
  static func integerScratch(inputs: Int) -> Int { ditqk_room(IntegerWeights.depth(inputs)) / 4 }
}

extension IntegerWeights {
  fileprivate func start(ofPanel index: Int) -> UnsafeRawPointer { UnsafeRawPointer(numbers + index * panelByteCount) }

  /// The numbers of a panel in 8 bits: in place, or expanded into `scratch`.
  func eightBitPanel(_ index: Int, _ scratch: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) -> UnsafePointer<Int8> {
    let start = numbers + index * panelByteCount
    guard bits == 4 else { return UnsafePointer(start.assumingMemoryBound(to: Int8.self)) }
    let expanded = UnsafeMutableRawPointer(scratch).assumingMemoryBound(to: Int8.self)
    kernels.expand_panel(start.assumingMemoryBound(to: UInt8.self), zeros + index * groups * panelColumns, depth, group, expanded)
    return UnsafePointer(expanded)
  }

  /// What a kernel is told of some panels, of which a 4-bit one is expanded a group at a time into `room`; their rows are still to be said.
  func arguments(ofPanel index: Int, count: Int = 1, _ room: UnsafeMutableRawPointer, _ output: ditqk_output) -> ditqk_gemm_u8 {
    let start = start(ofPanel: index), parameters = index * groups * panelColumns
    return ditqk_gemm_u8(
      tiles: nil, panel: bits == 4 ? nil : start.assumingMemoryBound(to: Int8.self), nibbles: start.assumingMemoryBound(to: UInt8.self),
      zeros: zeros + parameters, room: room, panels: count, bits: Int32(bits), scales: scales + parameters,
      weight_sums: sums + index * panelColumns, row_scales: nil, row_zeros: nil, depth: depth, group: group, next: nil, next_size: 0,
      output: output)
  }

  /// A panel as floats [depth][32], with room for a 4-bit one behind it.
  func dequantizePanel(_ index: Int, into panel: UnsafeMutablePointer<Float>, _ kernels: ditqk_kernels) {
    let numbers = eightBitPanel(index, panel + depth * panelColumns, kernels)
    kernels.dequantize_panel(numbers, scales + index * groups * panelColumns, depth, group, panel)
  }
}

private struct QuantizeJob: ParallelJob {
  let source: RowSource
  /// By bin; nil: each row's own.
  let ranges: UnsafeBufferPointer<ActivationRange>?
  let bins: RowBins?
  let packed: QuantizedRows
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let tileRows = packed.tileRows
    for tile in share(of: (packed.rows + tileRows - 1) / tileRows, part: part, of: parts) {
      if cancellation.isAsked { return }
      let first = tile * tileRows
      let count = min(tileRows, packed.rows - first)
      // Few rows at a time, which are still in the first-level cache when they are read again; where they are too long for that, the whole tile,
      // so that its lines are not written in turns.
      let together = packed.inputs <= 2048 ? 4 : count
      for row in stride(from: 0, to: count, by: together) {
        quantize(first, row, min(together, count - row), of: count, scratch.of(thread: part))
      }
    }
  }

  /// Some rows of the tile that begins with row `start`, of so many.
  private func quantize(_ start: Int, _ place: Int, _ count: Int, of tileRows: Int, _ scratch: UnsafeMutablePointer<Float>) {
    let first = start + place, tile = packed.tile(at: start), layout = packed.layout
    withRowPointers { rows in
      source.point(rows, to: first, count, packed.inputs, kernels, scratch)
      for row in stride(from: 0, to: count, by: 4) { setRanges(first + row, min(4, count - row), rows + row) }
      for column in stride(from: 0, to: packed.inputs, by: 512) {
        let columns = min(512, packed.inputs - column)
        for row in stride(from: 0, to: count, by: 4) {
          kernels.quantize_rows(
            rows + row, min(4, count - row), columns, packed.scales + first + row, packed.zeros + first + row,
            tile + layout.place(row: place + row, input: column, rows: tileRows), tileRows)
        }
        for row in 0..<count { rows[row]! += columns }
      }
    }
  }

  /// Up to four at a time.
  private func setRanges(_ first: Int, _ count: Int, _ values: UnsafePointer<UnsafePointer<Float>?>) {
    let scales = packed.scales + first, zeros = packed.zeros + first
    if let ranges {
      for row in 0..<count {
        let range = ranges[held: bins?.bin(ofRow: first + row) ?? 0]
        (scales[row], zeros[row]) = (range.scale, range.zero)
      }
    } else if let extremes = source.extremes {
      withRowPointers { rows in
        for row in 0..<count { rows[row] = UnsafePointer(extremes.row(first + row)) }
        kernels.row_ranges(rows, count, extremes.count, scales, zeros, 0)
      }
    } else {
      kernels.row_ranges(values, count, packed.inputs, scales, zeros, 0)
    }
  }
}

private struct IntegerGemmJob: ParallelJob {
  let x: QuantizedRows
  let weights: IntegerWeights
  let whole: ditqk_output
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let tileRows = x.tileRows
    let grid = Grid(packed: panelCount(weights.outputs), others: (x.rows + tileRows - 1) / tileRows, parts: parts)
    let rows = grid.elements(part, of: x.rows, each: tileRows), panels = grid.packed(part)
    guard !rows.isEmpty else { return }
    let together = weights.bits == 4 ? 1 : Int(kernels.panels_together)
    for panel in stride(from: panels.lowerBound, to: panels.upperBound, by: together) {
      if cancellation.isAsked { return }
      let room = scratch.of(thread: part), next = min(panel + together, panels.upperBound)
      var g = weights.arguments(ofPanel: panel, count: next - panel, UnsafeMutableRawPointer(room), whole)
      // One tile uses an expanded panel once: a group at a time.
      if rows.count > tileRows { g.panel = weights.eightBitPanel(panel, room, kernels) }
      let rowsTogether = Executor.rowsUnseen(productsPerRow: weights.depth * panelColumns * (next - panel), tileRows: tileRows)
      for first in stride(from: rows.lowerBound, to: rows.upperBound, by: rowsTogether) {
        if cancellation.isAsked { return }
        let some = first..<min(first + rowsTogether, rows.upperBound)
        g.output = whole.part(some, panel: panel, count: next - panel, thread: part)
        if some.upperBound == rows.upperBound && next < panels.upperBound && rows.count > 4 * tileRows {
          (g.next, g.next_size) = (weights.start(ofPanel: next), weights.panelByteCount)
        }
        g.tiles = UnsafePointer(x.tile(at: first))
        (g.row_scales, g.row_zeros) = (UnsafePointer(x.scales + first), UnsafePointer(x.zeros + first))
        kernels.gemm_u8(&g)
      }
    }
  }
}

extension IntegerWeights {
  static func check(inputs: Int, of layer: String) throws(DitqError) {
    guard inputs <= mostInputs else {
      throw DitqError(.unsupported, "\(layer): at most \(mostInputs) inputs expected, so that sums fit 32 bits, \(inputs) found")
    }
  }
}
