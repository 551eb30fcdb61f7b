// Attention: softmax(q · kᵀ / √headSize) · v for every image and head, as two GEMMs with a softmax between, a tile of queries at a time.
// Keys and values are packed once into panels that all threads share; scores never leave the thread's scratch.

import CKernels

/// Where queries, keys and values stand, and the sizes: token t of image i, head h: q at (i · tokens + t) · stride + h · headSize.
struct AttentionInput {
  let query: UnsafePointer<Float>
  let key: UnsafePointer<Float>
  let value: UnsafePointer<Float>
  let stride: Int
  let images: Int
  let tokens: Int
  let heads: Int
  let headSize: Int

  var sizes: AttentionSizes { AttentionSizes(tokens: tokens, headSize: headSize) }

  /// Queries, keys and values of one image's head, and where its output begins.
  func offset(ofUnit unit: Int) -> Int { unit / heads * tokens * stride + unit % heads * headSize }
}

/// Packed keys and values of all images and heads, floats or integers.
struct AttentionBuffers {
  let keys: UnsafeMutablePointer<Float>
  let values: UnsafeMutablePointer<Float>

  /// For integers alone where so said, else for either.
  init(_ arena: inout Arena, images: Int, tokens: Int, heads: Int, headSize: Int, onIntegers: Bool = false) {
    let sizes = AttentionSizes(tokens: tokens, headSize: headSize)
    keys = arena.floats(images, heads, onIntegers ? sizes.integerKeyFloats : sizes.keyFloats)
    values = arena.floats(images, heads, onIntegers ? sizes.integerValueFloats : sizes.valueFloats)
  }
}

/// Floats of memory for one image's head: panels of floats, or of as many 8-bit numbers with their scales and sums.
struct AttentionSizes {
  let tokens: Int
  let headSize: Int

  var keyDepth: Int { IntegerWeights.depth(headSize) }
  var valueDepth: Int { IntegerWeights.depth(tokens) }
  var integerKeyFloats: Int { panelCount(tokens) * panelColumns * (keyDepth / 4 + 2) }
  var integerValueFloats: Int { panelCount(headSize) * panelColumns * (valueDepth / 4 + 1) }
  var keyFloats: Int { max(panelCount(tokens) * panelColumns * headSize, integerKeyFloats) }
  var valueFloats: Int { max(panelCount(headSize) * panelColumns * tokens, integerValueFloats) }
}

extension Executor {
  /// output [images · tokens, heads · headSize]; the two products on integers where asked. Scratch: `attentionScratch`.
  func attend(_ input: AttentionInput, _ buffers: AttentionBuffers, onIntegers: Bool, into output: UnsafeMutablePointer<Float>) {
    if onIntegers { return attendOnIntegers(input, buffers, into: output) }
    pool.run(PackKeysAndValues(input: input, buffers: buffers, kernels: kernels, cancellation: cancellation))
    pool.run(
      AttendQueries(
        input: input, buffers: buffers, output: output, kernels: kernels, tileRows: tileRows, scratch: scratch, cancellation: cancellation))
  }

  /// A tile of queries, its scores [tileRows][tokens], and the same packed; or what integers need.
  static func attentionScratch(tokens: Int, headSize: Int, _ kernels: ditqk_kernels) -> Int {
    let sizes = AttentionSizes(tokens: tokens, headSize: headSize)
    return max(Int(kernels.tile_rows) * (headSize + 2 * tokens), IntegerAttentionScratch.floats(sizes, kernels.layout))
  }
}

private struct PackKeysAndValues: ParallelJob {
  let input: AttentionInput
  let buffers: AttentionBuffers
  let kernels: ditqk_kernels
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    for unit in share(of: input.images * input.heads, part: part, of: parts) {
      let offset = input.offset(ofUnit: unit)
      packKeys(input.key + offset, into: buffers.keys + unit * input.sizes.keyFloats)
      packValues(input.value + offset, into: buffers.values + unit * input.sizes.valueFloats)
    }
  }

  /// Panels of 32 tokens, [headSize][32].
  private func packKeys(_ keys: UnsafePointer<Float>, into panels: UnsafeMutablePointer<Float>) {
    var rows = InlineArray<32, UnsafeRawPointer?>(repeating: nil)
    for panel in 0..<panelCount(input.tokens) {
      if cancellation.isAsked { return }
      let first = panel * panelColumns
      let count = min(panelColumns, input.tokens - first)
      for token in 0..<count { rows[token] = UnsafeRawPointer(keys + (first + token) * input.stride) }
      withUnsafeBytes(of: &rows) { bytes in
        kernels.pack_panel(
          bytes.baseAddress!.assumingMemoryBound(to: UnsafeRawPointer?.self), count, Int32(DITQK_F32), input.headSize,
          panels + panel * panelColumns * input.headSize)
      }
    }
  }

  /// Panels of 32 channels, [tokens][32].
  private func packValues(_ values: UnsafePointer<Float>, into panels: UnsafeMutablePointer<Float>) {
    for panel in 0..<panelCount(input.headSize) {
      if cancellation.isAsked { return }
      let first = panel * panelColumns
      kernels.copy_panel(
        values + first, input.stride, min(panelColumns, input.headSize - first), input.tokens, panels + panel * panelColumns * input.tokens)
    }
  }
}

private struct AttendQueries: ParallelJob {
  let input: AttentionInput
  let buffers: AttentionBuffers
  let output: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let tileRows: Int
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let tilesPerHead = (input.tokens + tileRows - 1) / tileRows
    for item in share(of: input.images * input.heads * tilesPerHead, part: part, of: parts) {
      if cancellation.isAsked { return }
      attend(unit: item / tilesPerHead, tile: item % tilesPerHead, scratch.of(thread: part))
    }
  }

  private func attend(unit: Int, tile: Int, _ scratch: UnsafeMutablePointer<Float>) {
    let (tokens, headSize) = (input.tokens, input.headSize)
    let first = tile * tileRows
    let count = min(tileRows, tokens - first)
    let queries = scratch, scores = queries + tileRows * headSize, packedScores = scores + tileRows * tokens
    let (image, head) = (unit / input.heads, unit % input.heads)

    pack(input.query + (image * tokens + first) * input.stride + head * headSize, input.stride, count, headSize, queries)
    multiply(queries, count, headSize, buffers.keys + unit * input.sizes.keyFloats, tokens, into: scores, stride: tokens)
    let factor = 1 / Float(headSize).squareRoot()
    // Careful: what was left undone are no numbers, or any, and softmax takes them all.
    for row in 0..<count { kernels.softmax(scores + row * tokens, factor, tokens) }
    pack(scores, tokens, count, tokens, packedScores)
    let width = input.heads * headSize
    multiply(
      packedScores, count, tokens, buffers.values + unit * input.sizes.valueFloats, headSize,
      into: output + (image * tokens + first) * width + head * headSize, stride: width)
  }

  private func pack(_ x: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ depth: Int, _ tile: UnsafeMutablePointer<Float>) {
    withRowPointers { rows in
      for row in 0..<count { rows[row] = x + row * stride }
      kernels.pack_rows(rows, count, depth, tile, count)
    }
  }

  private func multiply(
    _ tile: UnsafePointer<Float>, _ rows: Int, _ depth: Int, _ panels: UnsafePointer<Float>, _ columns: Int,
    into output: UnsafeMutablePointer<Float>, stride: Int
  ) {
    let together = Executor.panelsUnseen(productsPerPanel: rows * depth * panelColumns)
    for panel in Swift.stride(from: 0, to: panelCount(columns), by: together) {
      if cancellation.isAsked { return }
      let column = panel * panelColumns
      var g = ditqk_gemm(
        tiles: tile, panels: panels + column * depth, depth: depth, panel_stride: depth * panelColumns,
        output: ditqk_output(output + column, rows: rows, min(together * panelColumns, columns - column), stride: stride))
      kernels.gemm(&g)
    }
  }
}
