// Attention with both products on integers, for blocks whose qkv runs on integers: queries u8 by their own ranges, keys s8 by token, values s8
// by channel, each per head. Softmax stays in float; what it divides is quantized, exp(s − max) in steps of 1/255, and the sum that it
// divides by joins the row's scale, so that small probabilities keep their bits.
//
// The decision, measured on the emoji model (50 guided steps, 16 classes, SQNR of the prediction): 43.43 → 43.32 dB with 8-bit weights and
// 29.49 → 29.49 with 4-bit ones; the limit was 0.3 dB. With probabilities themselves in steps of 1/255 it would have been 42.13.
//
// A panel of keys is [headSize / 4][32 tokens][4] and one of values [tokens / 4][32 channels][4]: the integer GEMM takes both as weights.

import CKernels

extension Executor {
  func attendOnIntegers(_ input: AttentionInput, _ buffers: AttentionBuffers, into output: UnsafeMutablePointer<Float>) {
    pool.run(
      PackIntegers(input: input, buffers: buffers, kernels: kernels, scratch: scratch, cancellation: cancellation))
    pool.run(
      AttendOnIntegers(
        input: input, buffers: buffers, output: output, kernels: kernels, scratch: scratch, cancellation: cancellation))
  }
}

extension AttentionInput {
  /// Up to four rows of one head at a time, from `x` on, with their own ranges; `body` is given them and the first one's number.
  fileprivate func forEachRows(
    _ x: UnsafePointer<Float>, _ count: Int, _ scales: UnsafeMutablePointer<Float>, _ zeros: UnsafeMutablePointer<Float>, isSigned: Bool,
    _ kernels: ditqk_kernels, _ body: (_ rows: UnsafeMutablePointer<UnsafePointer<Float>?>, _ first: Int, _ together: Int) -> Void
  ) {
    withRowPointers { rows in
      for first in Swift.stride(from: 0, to: count, by: 4) {
        let together = min(4, count - first)
        for row in 0..<together { rows[row] = x + (first + row) * stride }
        kernels.row_ranges(rows, together, headSize, scales + first, zeros + first, isSigned ? 1 : 0)
        body(rows, first, together)
      }
    }
  }
}

/// The panels of one image's head in its part of the buffers.
private struct IntegerPanels {
  let numbers: UnsafeMutablePointer<Int8>
  /// [panels][32].
  let scales: UnsafeMutablePointer<Float>
  /// [panels][32]: scale · Σ p. Values have none, because probabilities have no zero point.
  let sums: UnsafeMutablePointer<Float>?
  let depth: Int

  init(_ start: UnsafeMutablePointer<Float>, columns: Int, depth: Int, hasSums: Bool) {
    let panels = panelCount(columns)
    self.depth = depth
    numbers = UnsafeMutableRawPointer(start).assumingMemoryBound(to: Int8.self)
    scales = start + panels * depth * panelColumns / 4
    sums = hasSums ? scales + panels * panelColumns : nil
  }

  static func keys(_ buffers: AttentionBuffers, _ input: AttentionInput, unit: Int) -> IntegerPanels {
    let sizes = input.sizes
    return IntegerPanels(buffers.keys + unit * sizes.integerKeyFloats, columns: input.tokens, depth: sizes.keyDepth, hasSums: true)
  }

  static func values(_ buffers: AttentionBuffers, _ input: AttentionInput, unit: Int) -> IntegerPanels {
    let sizes = input.sizes
    return IntegerPanels(buffers.values + unit * sizes.integerValueFloats, columns: input.headSize, depth: sizes.valueDepth, hasSums: false)
  }

  func panel(_ index: Int) -> UnsafeMutablePointer<Int8> { numbers + index * depth * panelColumns }

  /// Rows of `output` ← tile · panels. Without sums anything finite will do in their place: it is multiplied by a zero point of 0.
  func multiply(
    _ tile: UnsafePointer<UInt8>, _ room: IntegerAttentionScratch, hasSums: Bool, _ output: ditqk_output, _ kernels: ditqk_kernels,
    _ cancellation: Cancellation
  ) {
    let together = Executor.panelsUnseen(productsPerPanel: output.rows * depth * panelColumns), rows = 0..<output.rows
    for panel in stride(from: 0, to: panelCount(output.columns), by: together) {
      if cancellation.isAsked { return }
      let column = panel * panelColumns, part = output.part(rows, panel: panel, count: together, thread: 0)
      var g = ditqk_gemm_u8(
        tiles: tile, panel: self.panel(panel), nibbles: nil, zeros: nil, room: room.tile, panels: panelCount(part.columns), bits: 8,
        scales: scales + column, weight_sums: (hasSums ? sums! : scales) + column, row_scales: room.scales, row_zeros: room.zeros,
        depth: depth, group: depth, next: nil, next_size: 0, output: part)
      kernels.gemm_u8(&g)
    }
  }
}

/// What a thread works in: a tile of queries and one of probabilities, scores, and the parameters of both tiles' rows.
struct IntegerAttentionScratch {
  let queries: UnsafeMutablePointer<UInt8>
  let probabilities: UnsafeMutablePointer<UInt8>
  /// [rows of a tile][tokens].
  let scores: UnsafeMutablePointer<Float>
  let scales: UnsafeMutablePointer<Float>
  let zeros: UnsafeMutablePointer<Float>
  /// What a kernel makes of a tile.
  let tile: UnsafeMutablePointer<UInt8>

  init(_ arena: inout Arena, _ sizes: AttentionSizes, _ layout: TileLayout) {
    let rows = Int(layout.rows)
    queries = arena.reserve(UInt8.self, rows, layout.rowSize(depth: sizes.headSize))
    probabilities = arena.reserve(UInt8.self, rows, layout.rowSize(depth: sizes.tokens))
    scores = arena.floats(rows, sizes.tokens)
    // Keys are quantized a panel at a time.
    (scales, zeros) = (arena.floats(max(rows, panelColumns)), arena.floats(max(rows, panelColumns)))
    tile = arena.reserve(UInt8.self, ditqk_room(max(sizes.keyDepth, sizes.valueDepth)))
  }

  static func floats(_ sizes: AttentionSizes, _ layout: TileLayout) -> Int {
    var arena = Arena()
    _ = IntegerAttentionScratch(&arena, sizes, layout)
    return arena.peak / 4
  }
}

private struct PackIntegers: ParallelJob {
  let input: AttentionInput
  let buffers: AttentionBuffers
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    var arena = Arena(UnsafeMutableRawPointer(scratch.of(thread: part)))
    let room = IntegerAttentionScratch(&arena, input.sizes, kernels.layout)
    for unit in share(of: input.images * input.heads, part: part, of: parts) {
      packKeys(input.key + input.offset(ofUnit: unit), IntegerPanels.keys(buffers, input, unit: unit), room)
      let values = IntegerPanels.values(buffers, input, unit: unit)
      for panel in 0..<panelCount(input.headSize) {
        if cancellation.isAsked { return }
        let column = panel * panelColumns
        kernels.quantize_columns(
          input.value + input.offset(ofUnit: unit) + column, input.stride, min(panelColumns, input.headSize - column), input.tokens,
          values.panel(panel), values.scales + column)
      }
    }
  }

  private func packKeys(_ keys: UnsafePointer<Float>, _ panels: IntegerPanels, _ room: IntegerAttentionScratch) {
    for panel in 0..<panelCount(input.tokens) {
      if cancellation.isAsked { return }
      let first = panel * panelColumns, count = min(panelColumns, input.tokens - first), scales = panels.scales + first
      if count < panelColumns {
        panels.panel(panel).initialize(repeating: 0, count: panels.depth * panelColumns)
        scales.initialize(repeating: 0, count: panelColumns)
      }
      input.forEachRows(keys + first * input.stride, count, scales, room.zeros, isSigned: true, kernels) { rows, row, together in
        kernels.quantize_keys(rows, together, input.headSize, scales + row, room.zeros + row, row, panels.panel(panel))
      }
    }
    // A row of ones gives the sums.
    room.queries.initialize(repeating: 1 ^ kernels.layout.sign, count: kernels.layout.rowSize(depth: input.headSize))
    (room.scales[0], room.zeros[0]) = (1, 0)
    let columns = panelCount(input.tokens) * panelColumns
    panels.multiply(
      room.queries, room, hasSums: false, ditqk_output(panels.sums!, rows: 1, columns, stride: columns), kernels, cancellation)
  }
}

private struct AttendOnIntegers: ParallelJob {
  let input: AttentionInput
  let buffers: AttentionBuffers
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    var arena = Arena(UnsafeMutableRawPointer(scratch.of(thread: part)))
    let room = IntegerAttentionScratch(&arena, input.sizes, kernels.layout)
    let tileRows = Int(kernels.layout.rows), tilesPerHead = (input.tokens + tileRows - 1) / tileRows
    for item in share(of: input.images * input.heads * tilesPerHead, part: part, of: parts) {
      if cancellation.isAsked { return }
      let first = item % tilesPerHead * tileRows
      attend(unit: item / tilesPerHead, first, min(tileRows, input.tokens - first), room)
    }
  }

  /// One tile.
  private func attend(unit: Int, _ first: Int, _ count: Int, _ room: IntegerAttentionScratch) {
    let (tokens, headSize, layout) = (input.tokens, input.headSize, kernels.layout)
    let queries = input.query + input.offset(ofUnit: unit) + first * input.stride
    input.forEachRows(queries, count, room.scales, room.zeros, isSigned: false, kernels) { rows, row, together in
      kernels.quantize_rows(
        rows, together, headSize, room.scales + row, room.zeros + row, room.queries + layout.place(row: row, input: 0, rows: count), count)
    }
    IntegerPanels.keys(buffers, input, unit: unit).multiply(
      room.queries, room, hasSums: true, ditqk_output(room.scores, rows: count, tokens, stride: tokens), kernels, cancellation)

    let factor = 1 / Float(headSize).squareRoot()
    withRowPointers { rows in
      for row in 0..<count { rows[row] = UnsafePointer(room.scores + row * tokens) }
      for row in stride(from: 0, to: count, by: 2) {
        kernels.softmax_rows(
          rows + row, min(2, count - row), tokens, factor, room.scales + row,
          room.probabilities + layout.place(row: row, input: 0, rows: count), count)
      }
    }
    room.zeros.initialize(repeating: 0, count: count)
    let width = input.heads * headSize, line = unit / input.heads * tokens + first
    IntegerPanels.values(buffers, input, unit: unit).multiply(
      room.probabilities, room, hasSums: false,
      ditqk_output(output + line * width + unit % input.heads * headSize, rows: count, headSize, stride: width), kernels,
      cancellation)
  }
}
