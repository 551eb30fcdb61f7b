// Convolution on images in [height][width][channels], with kernel 1×1 or 3×3, stride 1, zeros around. In float it is a GEMM whose rows are
// pixels and whose depth is (tap row, tap column, channel), one chain of fused multiply-adds; IntegerConvolution.swift has the other.
//
// A block of pixels with its border is packed once for all taps and all outputs, [channel][position]: a tap is another address, not another
// copy. On the way go GroupNorm and SiLU, so that no normalized image exists, and doubling, so that no enlarged one does. What GroupNorm will ask
// of the result is gathered while the block is in the cache.

import CKernels

struct Convolution {
  enum Weights {
    /// Panels over the depth size · size · inputs.
    case floats(UnsafePointer<Float>)
    /// The same in 8 bits; the size is 3 and inputs are a multiple of 4.
    case integers(IntegerWeights)
  }
  let inputs: Int
  let outputs: Int
  /// 1 or 3.
  let size: Int
  let weights: Weights
  let bias: UnsafePointer<Float>

  var depth: Int { size * size * inputs }
  /// How far the kernel reaches beyond a pixel.
  var reach: Int { size / 2 }
  /// nil for floats.
  var integers: IntegerWeights? { if case .integers(let weights) = weights { weights } else { nil } }
  /// Of the weights as they are kept.
  var byteCount: Int { integers?.byteCount ?? panelCount(outputs) * panelColumns * depth * 4 }
}

/// What a convolution is given.
struct ConvolutionInput {
  /// [height, width, inputs] of the output's size, or half of it with `doubling`: each of its pixels stands for four.
  let pixels: UnsafePointer<Float>
  var doubling = false
  /// GroupNorm and SiLU on the way.
  var norm: ChannelNorm?
}

extension Executor {
  /// output [height, width, outputs] ← or += convolution of the input. Answers with the blocks by which the output's `moments` were gathered.
  /// `taps`: memory for the transformed taps of integers. Scratch: `convolutionScratch`.
  @discardableResult
  func convolve(
    _ input: ConvolutionInput, _ convolution: Convolution, height: Int, width: Int, accumulate: Bool = false,
    into output: UnsafeMutablePointer<Float>, taps: UnsafeMutablePointer<Float>, moments: ChannelMoments? = nil
  ) -> PixelBlocks {
    let blocks = PixelBlocks(height: height, width: width, channels: convolution.inputs)
    switch convolution.weights {
    case .floats(let panels):
      pool.run(
        ConvolveJob(
          input: input, convolution: convolution, panels: panels, blocks: blocks, accumulate: accumulate, output: output, moments: moments,
          kernels: kernels, scratch: scratch, cancellation: cancellation))
    case .integers(let weights):
      convolveIntegers(input, convolution, weights, blocks, accumulate: accumulate, taps: taps, into: output, moments: moments)
    }
    return blocks
  }

  static func convolutionScratch(_ convolution: Convolution) -> Int {
    var arena = Arena()
    if convolution.integers == nil {
      _ = PackedBlock(&arena, inputs: convolution.inputs)
    } else {
      _ = WinogradBlock(&arena, inputs: convolution.inputs)
    }
    return arena.peak / 4
  }
}

private struct ConvolveJob: ParallelJob {
  let input: ConvolutionInput
  let convolution: Convolution
  let panels: UnsafePointer<Float>
  let blocks: PixelBlocks
  let accumulate: Bool
  let output: UnsafeMutablePointer<Float>
  let moments: ChannelMoments?
  let kernels: ditqk_kernels
  let scratch: ThreadScratch
  let cancellation: Cancellation

  func run(part: Int, of parts: Int) {
    let grid = Grid(packed: blocks.count, others: panelCount(convolution.outputs), parts: parts)
    var arena = Arena(UnsafeMutableRawPointer(scratch.of(thread: part)))
    let packed = PackedBlock(&arena, inputs: convolution.inputs)
    for index in grid.packed(part) {
      if cancellation.isAsked { return }
      let block = blocks[index]
      packed.fill(input, convolution, block, blocks, kernels)
      for panel in grid.others(part) { multiply(packed, block, panel) }
      moments?.add(
        index, block, of: output, width: blocks.width, channels: convolution.outputs,
        grid.elements(part, of: convolution.outputs, each: panelColumns), kernels)
    }
  }

  /// All pixels of a block through one panel.
  private func multiply(_ packed: PackedBlock, _ block: PixelBlock, _ panel: Int) {
    let layout = PackedBlock.Layout(convolution, block), column = panel * panelColumns, outputs = convolution.outputs
    var c = ditqk_convolution(
      pixels: nil, panel: panels + column * convolution.depth, inputs: convolution.inputs, positions: layout.positions, row: layout.pitch,
      size: convolution.size, bias: convolution.bias + column, output: nil, rows: block.columns.count,
      columns: min(panelColumns, outputs - column), stride: outputs, accumulate: accumulate ? 1 : 0)
    for row in block.rows {
      if cancellation.isAsked { return }
      c.pixels = UnsafePointer(packed.tiles + (row - block.rows.lowerBound) * layout.pitch)
      c.output = output + (row * blocks.width + block.columns.lowerBound) * outputs + column
      kernels.convolve(&c)
    }
  }
}
