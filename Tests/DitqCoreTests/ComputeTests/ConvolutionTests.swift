// Convolutions against a plain loop over taps and channels in the documented order, to the bit. The weights come through ParameterLoader,
// so that its packing is tested with them.

import Testing

@testable import DitqCore

/// A convolution [outputs, inputs, size, size] with its bias, and an image [height, width, inputs].
private struct Case {
  let inputs: Int
  let outputs: Int
  let size: Int
  let weights: [Float]
  let bias: [Float]

  init(_ inputs: Int, _ outputs: Int, _ size: Int) {
    (self.inputs, self.outputs, self.size) = (inputs, outputs, size)
    var random = SplitMix(UInt64(inputs * 1000 + outputs * 10 + size))
    // Eight significant bits: BF16 and F16 hold them exactly.
    weights = (0..<outputs * inputs * size * size).map { _ in Float(Int(random.next() % 255) - 127) / 128 }
    bias = random.floats(outputs)
  }

  /// Each output one chain of fused multiply-adds over (tap row, tap column, channel), + bias, + what was there.
  func expected(_ x: [Float], _ height: Int, _ width: Int, doubling: Bool, before: [Float]?) -> [Float] {
    var result: [Float] = []
    let reach = size / 2
    for y in 0..<height {
      for column in 0..<width {
        for output in 0..<outputs {
          var sum: Float = 0
          for dy in 0..<size {
            for dx in 0..<size {
              let (sy, sx) = (y + dy - reach, column + dx - reach)
              guard (0..<height).contains(sy) && (0..<width).contains(sx) else { continue }
              let pixel = doubling ? sy / 2 * (width / 2) + sx / 2 : sy * width + sx
              for input in 0..<inputs {
                sum = sum.addingProduct(x[pixel * inputs + input], weights[((output * inputs + input) * size + dy) * size + dx])
              }
            }
          }
          let value = sum + bias[output]
          result.append(before.map { $0[result.count] + value } ?? value)
        }
      }
    }
    return result
  }

  /// Runs `body` with the convolution, loaded from stored tensors of this type.
  func loaded<R>(_ type: ElementType, _ body: (Convolution) throws -> R) throws -> R {
    let stored = StoredWeights(Matrix(outputs, inputs * size * size, weights), type, shift: 1), biasBuffer = Buffer(bias)
    let dtype = type == .f32 ? "F32" : type == .f16 ? "F16" : "BF16"
    let tensors = try TensorCollection(
      [
        Tensor(
          name: "conv.weight", dtype: dtype, shape: [outputs, inputs, size, size], start: stored.matrix.row(0),
          byteCount: weights.count * type.byteCount, elementCount: weights.count),
        Tensor(
          name: "conv.bias", dtype: "F32", shape: [outputs], start: biasBuffer.floats, byteCount: 4 * outputs, elementCount: outputs),
      ], metadata: [], in: [])
    let (convolution, block) = try ParameterLoader.load(tensors, PackedLayers(), .system) { loader throws(DitqError) in
      try loader.convolution("conv", outputs: outputs, inputs: inputs, size: size)
    }
    defer { withExtendedLifetime((stored, biasBuffer, block)) {} }
    return try body(convolution)
  }
}

private func run(
  _ machine: Machine, _ x: [Float], _ convolution: Convolution, _ height: Int, _ width: Int, doubling: Bool, before: [Float]?
) -> [Float] {
  let input = Buffer(x), output = Buffer(count: height * width * convolution.outputs, filledWith: .nan)
  if let before { for i in before.indices { output.floats[i] = before[i] } }
  machine.executor.convolve(
    input.floats, convolution, height: height, width: width, doubling: doubling, accumulate: before != nil, into: output.floats)
  #expect(input.isIntact && output.isIntact && machine.isIntact)
  return output.values
}

private func machine(_ set: InstructionSet, threads: Int, _ convolution: Convolution) throws -> Machine {
  let scratch = Executor.convolutionScratch(depth: convolution.depth, inputs: convolution.inputs, tileRows: Int(set.kernels.tile_rows))
  return try Machine(set, threads: threads, scratchFloats: scratch)
}

@Suite("Convolution")
struct ConvolutionTests {
  @Test(
    "a convolution of any size is the plain loop's to the bit, alone or added to what is there", arguments: [1, 3],
    [(1, 1), (3, 1), (1, 3), (4, 33), (17, 32), (16, 40)])
  func sizes(size: Int, channels: (Int, Int)) throws {
    let example = Case(channels.0, channels.1, size)
    try example.loaded(.f32) { convolution in
      for (height, width) in [(1, 1), (1, 2), (2, 1), (2, 3), (5, 7), (8, 8)] {
        let x = Matrix.random(height * width, example.inputs, 1).values
        for before in [nil, Matrix.random(height * width, example.outputs, 2).values] {
          let expected = example.expected(x, height, width, doubling: false, before: before)
          for set in instructionSets() {
            for threads in 1...3 {
              let found = run(
                try machine(set, threads: threads, convolution), x, convolution, height, width, doubling: false, before: before)
              #expect(same(found, expected), "\(set.name), \(threads) threads, \(height) by \(width)")
            }
          }
        }
      }
    }
  }

  @Test("with doubling, each pixel stands for four", arguments: [1, 3], [(3, 5), (16, 33)])
  func doubling(size: Int, channels: (Int, Int)) throws {
    let example = Case(channels.0, channels.1, size)
    try example.loaded(.f32) { convolution in
      for (height, width) in [(2, 2), (2, 6), (6, 4), (10, 14)] {
        let x = Matrix.random(height / 2 * (width / 2), example.inputs, 3).values
        let expected = example.expected(x, height, width, doubling: true, before: nil)
        for set in instructionSets() {
          for threads in 1...3 {
            let found = run(try machine(set, threads: threads, convolution), x, convolution, height, width, doubling: true, before: nil)
            #expect(same(found, expected), "\(set.name), \(threads) threads, \(height) by \(width)")
          }
        }
      }
    }
  }

  @Test("an image of several blocks of tiles is done whole, by any number of threads")
  func blocks() throws {
    // Depth 576: a block is 8 tiles of 14 rows on AVX-512, 18 of 6 on AVX2, 28 of 4 elsewhere; 323 pixels are three blocks everywhere.
    let example = Case(64, 5, 3), x = Matrix.random(17 * 19, 64, 4).values
    try example.loaded(.f32) { convolution in
      let expected = example.expected(x, 17, 19, doubling: false, before: nil)
      for set in instructionSets() {
        for threads in [1, 2, 3, 5] {
          let found = run(try machine(set, threads: threads, convolution), x, convolution, 17, 19, doubling: false, before: nil)
          #expect(same(found, expected), "\(set.name), \(threads) threads")
        }
      }
    }
  }

  @Test("weights stored in half precision make the same convolution", arguments: [ElementType.f16, .bf16])
  func stored(type: ElementType) throws {
    let example = Case(5, 35, 3), x = Matrix.random(35, 5, 5).values
    let expected = example.expected(x, 5, 7, doubling: false, before: nil)
    try example.loaded(type) { convolution in
      let found = run(try machine(instructionSets().last!, threads: 1, convolution), x, convolution, 5, 7, doubling: false, before: nil)
      #expect(same(found, expected))
    }
  }
}
