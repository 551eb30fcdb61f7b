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

  init(inputs: Int, outputs: Int, size: Int, weights: [Float], bias: [Float]) {
    (self.inputs, self.outputs, self.size, self.weights, self.bias) = (inputs, outputs, size, weights, bias)
  }

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
  let taps = Buffer(count: convolution.tapFloats, filledWith: .nan)
  if let before { for i in before.indices { output.floats[i] = before[i] } }
  machine.executor.convolve(
    ConvolutionInput(pixels: input.floats, doubling: doubling), convolution, height: height, width: width, accumulate: before != nil,
    into: output.floats, taps: taps.floats)
  #expect(input.isIntact && output.isIntact && taps.isIntact && machine.isIntact)
  return output.values
}

private func machine(_ set: InstructionSet, threads: Int, _ convolution: Convolution) throws -> Machine {
  try Machine(set, threads: threads, scratchFloats: Executor.convolutionScratch(convolution))
}

extension Case {
  /// The same with weights and pixels as integers: exact sums, each block by the largest |x| under its kernels.
  func expectedOnIntegers(_ x: [Float], _ height: Int, _ width: Int, doubling: Bool, before: [Float]?, _ weights: IntegerWeights) -> [Float]
  {
    let blocks = PixelBlocks(height: height, width: width, channels: inputs), limit = Float(min(8191, (1 << 29 - 1) / (127 * 9 * inputs)))
    var result = before ?? [Float](repeating: 0, count: height * width * outputs)
    func pixel(_ y: Int, _ x: Int) -> Int? {
      guard (0..<height).contains(y) && (0..<width).contains(x) else { return nil }
      return doubling ? y / 2 * (width / 2) + x / 2 : y * width + x
    }
    func number(_ output: Int, _ depth: Int) -> Int {
      let place = output / 32 * weights.panelByteCount + depth / 4 * 128 + output % 32 * 4 + depth % 4
      return Int(weights.numbers.load(fromByteOffset: place, as: Int8.self))
    }
    for index in 0..<blocks.count {
      let block = blocks[index]
      var largest: Float = 0
      for y in block.rows.lowerBound - 1...block.rows.upperBound {
        for column in block.columns.lowerBound - 1...block.columns.upperBound {
          guard let pixel = pixel(y, column) else { continue }
          for input in 0..<inputs { largest = max(largest, abs(x[pixel * inputs + input])) }
        }
      }
      let scale = largest / limit, inverse = scale > 0 ? 1 / scale : 0
      for y in block.rows {
        for column in block.columns {
          for output in 0..<outputs {
            var sum = 0
            for tap in 0..<9 {
              guard let pixel = pixel(y + tap / 3 - 1, column + tap % 3 - 1) else { continue }
              for input in 0..<inputs {
                let q = (x[pixel * inputs + input] * inverse).rounded(.toNearestOrEven)
                sum += Int(q) * number(output, tap * inputs + input)
              }
            }
            let value = bias[output].addingProduct(Float(4 * sum), weights.scales[output] * (scale * 0.25))
            let place = (y * width + column) * outputs + output
            result[place] = before == nil ? value : value + result[place]
          }
        }
      }
    }
    return result
  }

  /// Runs `body` with the convolution on integers, its weights rounded.
  func quantized<R>(_ body: (Convolution, IntegerWeights) throws -> R) throws -> R {
    try loaded(.f32) { convolution in
      guard case .floats(let panels) = convolution.weights else { preconditionFailure("loaded from floats") }
      let rows = Buffer(count: outputs * convolution.depth)
      for output in 0..<outputs {
        for k in 0..<convolution.depth {
          rows.floats[output * convolution.depth + k] = panels[(output / 32 * convolution.depth + k) * 32 + output % 32]
        }
      }
      var measure = Arena()
      _ = IntegerWeights(&measure, outputs: outputs, inputs: convolution.depth, bits: 8, group: 0)
      let memory = Buffer(count: measure.peak / 4)
      var arena = Arena(memory.floats)
      let weights = IntegerWeights(&arena, outputs: outputs, inputs: convolution.depth, bits: 8, group: 0)
      let matrix = StoredMatrix(floats: rows.floats, outputs: outputs, inputs: convolution.depth)
      weights.fill(from: matrix, WeightFormat(bits: 8, group: 0, method: .round))
      defer { withExtendedLifetime((rows, memory)) {} }
      let result = Convolution(inputs: inputs, outputs: outputs, size: size, weights: .integers(weights), bias: convolution.bias)
      return try body(result, weights)
    }
  }
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
    // Blocks are 8 rows of 64 pixels: 19 by 70 are six.
    let example = Case(64, 5, 3), x = Matrix.random(19 * 70, 64, 4).values
    try example.loaded(.f32) { convolution in
      let expected = example.expected(x, 19, 70, doubling: false, before: nil)
      for set in instructionSets() {
        for threads in [1, 2, 3, 5] {
          let found = run(try machine(set, threads: threads, convolution), x, convolution, 19, 70, doubling: false, before: nil)
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

  @Test(
    "on integers a convolution is the plain loop's to the bit, for any set, threads, sizes and blocks",
    arguments: [(4, 3), (16, 32), (20, 40), (64, 5)], [false, true])
  func integers(channels: (Int, Int), doubling: Bool) throws {
    let example = Case(channels.0, channels.1, 3)
    try example.quantized { convolution, weights in
      for (height, width) in doubling ? [(2, 2), (6, 10), (18, 70)] : [(1, 1), (1, 2), (3, 1), (5, 7), (8, 8), (17, 67)] {
        let pixels = doubling ? height / 2 * (width / 2) : height * width
        let x = Matrix.random(pixels, example.inputs, 6).values
        for before in [nil, Matrix.random(height * width, example.outputs, 7).values] {
          let expected = example.expectedOnIntegers(x, height, width, doubling: doubling, before: before, weights)
          for set in instructionSets() {
            for threads in [1, 2, 5] {
              let found = run(
                try machine(set, threads: threads, convolution), x, convolution, height, width, doubling: doubling, before: before)
              #expect(same(found, expected), "\(set.name), \(threads) threads, \(height) by \(width)")
            }
          }
        }
      }
    }
  }

  @Test("sums of the largest pixels and weights fit, and an image of zeros is the bias")
  func extremes() throws {
    let example = Case(inputs: 128, outputs: 4, size: 3, weights: [Float](repeating: 1, count: 4 * 128 * 9), bias: [0.5, -2, 0, 1])
    try example.quantized { convolution, weights in
      for value in [0, 3, -3] as [Float] {
        let x = [Float](repeating: value, count: 9 * 128)
        let expected = example.expectedOnIntegers(x, 3, 3, doubling: false, before: nil, weights)
        for set in instructionSets() {
          let found = run(try machine(set, threads: 1, convolution), x, convolution, 3, 3, doubling: false, before: nil)
          #expect(same(found, expected), "\(set.name), all \(value)")
        }
        // All nine taps see the pixel in the middle.
        let sum: Float = 9 * 128 * value
        #expect(abs(expected[4 * 4] - (sum + 0.5)) <= abs(sum) * 1e-6)
      }
    }
  }
}
