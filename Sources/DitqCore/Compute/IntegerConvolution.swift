// Convolutions of 3×3 on integers: weights of 8 bits, pixels of 11 to 14 bits by a range of their block, sums exact.
//
// Why not pixels of 8 bits. A decoder is some thirty convolutions one after the other, and each adds its noise: with 8 bits on either side the
// golden cases come to 27 dB, whatever the ranges, where 35 are asked. Winograd's transformation of 8-bit pixels needs 16-bit numbers anyway, so
// pixels may as well have what is left of those: the noise is then that of the weights alone. It takes 4 products an output instead of 9 (after
// doubling 9/4), each of half an instruction's width, so that it is faster than 8-bit products one by one.
//
// A block's pixels, normalized, are quantized by its own largest |x|, transformed, and stay for all panels; taps are transformed before each
// convolution, 32 bytes for each channel and output, which costs less than keeping them.

import CKernels

extension Convolution {
  /// Floats of room that the transformed taps take.
  var tapFloats: Int { integers == nil ? 0 : panelCount(outputs) * panelTapFloats }
  fileprivate var panelTapFloats: Int { 16 * (inputs / 2 + 1) * panelColumns }

  /// Pixels are integers from −limit to limit: four times as much fits 16 bits, and four times any sum 32.
  fileprivate var limit: Float { Float(min(8191, ((1 << 29) - 1) / (127 * depth))) }
}

extension Executor {
  func convolveIntegers(
    _ input: ConvolutionInput, _ convolution: Convolution, _ weights: IntegerWeights, _ blocks: PixelBlocks, accumulate: Bool,
    taps: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>, moments: ChannelMoments?
  ) {
    pool.run(TransformTaps(weights: weights, convolution: convolution, taps: taps, kernels: kernels, cancellation: cancellation))
    pool.run(
      WinogradJob(
        input: input, convolution: convolution, weights: weights, blocks: blocks, accumulate: accumulate, taps: taps, output: output,
        moments: moments, kernels: kernels, scratch: scratch, cancellation: cancellation))
  }
}

private struct TransformTaps: ParallelJob {
  let weights: IntegerWeights
  let convolution: Convolution
  let taps: UnsafeMutablePointer<Float>
  let kernels: ditqk_kernels
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    for panel in share(of: panelCount(weights.outputs), part: part, of: parts) {
      if cancellation.isAsked { return }
      let numbers = (weights.numbers + panel * weights.panelByteCount).assumingMemoryBound(to: Int8.self)
      kernels.winograd_taps(numbers, convolution.inputs, taps + panel * convolution.panelTapFloats)
    }
  }
}

/// A block of pixels and its border on their way to tiles, and the sums of a panel.
struct WinogradBlock {
  /// Normalized, [rows][columns][inputs] of the source.
  fileprivate let values: UnsafeMutablePointer<Float>
  fileprivate let zeros: UnsafeMutablePointer<Float>
  /// Words.
  fileprivate let pixels: UnsafeMutablePointer<Float>
  fileprivate let tiles: UnsafeMutablePointer<Float>
  fileprivate let sums: UnsafeMutablePointer<Int32>

  init(_ arena: inout Arena, inputs: Int) {
    let size = PixelBlocks.size(channels: inputs), shape = Shape(rows: size.height, columns: size.width), steps = (inputs + 1) / 2
    values = arena.floats(size.height + 2, size.width + 2, inputs)
    zeros = arena.floats(inputs)
    pixels = arena.floats(steps * shape.rowPitch * (2 * shape.down + 2) + 16)
    tiles = arena.floats(16, shape.plane(steps: steps))
    sums = arena.reserve(Int32.self, 16, shape.down * shape.across + Int(DITQK_LARGEST_TILE_ROWS), panelColumns)
  }

  fileprivate struct Shape {
    /// Tiles.
    let down: Int, across: Int

    init(rows: Int, columns: Int) { (down, across) = ((rows + 1) / 2, (columns + 1) / 2) }

    /// Even positions of a row, and as many odd ones; together a multiple of four.
    var half: Int { (across + 2) & ~1 }
    var rowPitch: Int { 2 * half }
    var pitch: Int { down * across + 16 }
    /// An odd number of cache lines, so that sixteen planes do not fall into the same ones of a cache.
    func plane(steps: Int) -> Int { (steps * pitch + 15) / 16 * 16 | 16 }
  }

  /// Brings a block's pixels into tiles; answers with their scale.
  fileprivate func fill(
    _ input: ConvolutionInput, _ convolution: Convolution, _ block: PixelBlock, _ blocks: PixelBlocks, _ kernels: ditqk_kernels
  ) -> Float {
    let inputs = convolution.inputs, shape = Shape(rows: block.rows.count, columns: block.columns.count), half = shape.half
    let source = PixelWindow(input, block, blocks, reach: 1, inputs: inputs).copied(to: values, input.norm, kernels)
    let step = source.magnitude(kernels) / convolution.limit, scale = step < Float.leastNormalMagnitude ? 0 : step
    zeros.initialize(repeating: 0, count: inputs)
    let rows = 2 * shape.down + 2
    withPositionPointers { pointers in
      for row in 0..<rows {
        for place in 0..<2 * half {
          let position = place < half ? 2 * place : 2 * (place - half) + 1
          let y = block.rows.lowerBound + row - 1, x = block.columns.lowerBound + position - 1
          pointers[place] = source.pixel(y: y, x: x) ?? UnsafePointer(zeros)
        }
        for place in stride(from: 0, to: 2 * half, by: 4) {
          kernels.quantize_words(pointers + place, inputs, scale, pixels + row * 2 * half + place, rows * 2 * half)
        }
      }
    }
    return scale
  }
}

private struct WinogradJob: ParallelJob {
  let input: ConvolutionInput
  let convolution: Convolution
  let weights: IntegerWeights
  let blocks: PixelBlocks
  let accumulate: Bool
  let taps: UnsafeMutablePointer<Float>
  let output: UnsafeMutablePointer<Float>
  let moments: ChannelMoments?
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let grid = Grid(packed: blocks.count, others: panelCount(convolution.outputs), parts: parts)
    var arena = Arena(UnsafeMutableRawPointer(scratch.of(thread: part)))
    let room = WinogradBlock(&arena, inputs: convolution.inputs)
    for index in grid.packed(part) {
      if cancellation.isAsked { return }
      let block = blocks[index]
      multiply(room, block, grid.others(part), scale: room.fill(input, convolution, block, blocks, kernels))
      moments?.add(
        index, block, of: output, width: blocks.width, channels: convolution.outputs,
        grid.elements(part, of: convolution.outputs, each: panelColumns), kernels)
    }
  }

  private func multiply(_ room: WinogradBlock, _ block: PixelBlock, _ panels: Range<Int>, scale: Float) {
    let shape = WinogradBlock.Shape(rows: block.rows.count, columns: block.columns.count), outputs = convolution.outputs
    // After doubling, the two middle ones of four columns or rows are the same pixels, and their difference, position 2, is 0.
    let positions: UInt32 = input.doubling ? 0b1011_0000_1011_1011 : 0xffff
    var w = ditqk_winograd(
      pixels: room.pixels, tiles: room.tiles, panel: nil, sums: room.sums, steps: convolution.inputs / 2, half: shape.half,
      down: shape.down,
      across: shape.across, pitch: shape.pitch, plane: shape.plane(steps: convolution.inputs / 2), positions: positions, scale: scale,
      scales: nil, bias: nil, output: nil,
      rows: block.rows.count, width: block.columns.count, columns: 0, line: blocks.width * outputs, stride: outputs,
      accumulate: accumulate ? 1 : 0)
    kernels.winograd_tiles(&w)
    if input.doubling {
      room.sums.initialize(repeating: 0, count: 16 * (shape.down * shape.across + Int(DITQK_LARGEST_TILE_ROWS)) * panelColumns)
    }
    for panel in panels {
      if cancellation.isAsked { return }
      let column = panel * panelColumns
      w.panel = UnsafeRawPointer(taps + panel * convolution.panelTapFloats)
      (w.scales, w.bias, w.columns) = (
        UnsafePointer(weights.scales + column), convolution.bias + column, min(panelColumns, outputs - column)
      )
      w.output = output + (block.rows.lowerBound * blocks.width + block.columns.lowerBound) * outputs + column
      kernels.winograd_sums(&w)
      kernels.winograd_output(&w)
    }
  }
}
