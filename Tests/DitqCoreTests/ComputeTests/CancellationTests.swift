// Cancelling: every operation whose time the sizes of a model decide looks at the flag, and leaves what is left undone. Asked beforehand, none writes
// anything; and however work is cut between two looks, the results are the same to the bit, which the tests of the operations see.

import Testing

@testable import DitqCore

private let untouched: Float = -77.25

/// An executor whose call was cancelled, an operation's output, and memory for whatever it works in.
private struct Cancelled {
  let machine: Machine
  let output = Buffer(count: 4096, filledWith: untouched)
  let memory = Buffer(count: 1 << 18, filledWith: 0.5)

  init(_ set: InstructionSet) throws {
    machine = try Machine(set, threads: 2, scratchFloats: 1 << 16)
    machine.executor.cancellation.ask()
  }

  var isUntouched: Bool { output.values.allSatisfy { $0 == untouched } && output.isIntact && memory.isIntact }
}

@Suite("Cancelling")
struct CancellationTests {
  @Test("what is asked is asked until it is forgotten")
  func flag() throws {
    let cancellation = Cancellation()
    #expect(!cancellation.isAsked)
    try cancellation.check()
    cancellation.ask()
    #expect(cancellation.isAsked)
    #expect(throws: DitqError.self) { try cancellation.check() }
    cancellation.forget()
    try cancellation.check()
  }

  @Test("linears in float and in integers write nothing", arguments: instructionSets())
  func linears(set: InstructionSet) throws {
    let cancelled = try Cancelled(set), executor = cancelled.machine.executor
    var arena = Arena(cancelled.memory.floats)
    let buffers = RowBuffers(&arena, rows: 32, inputs: 64, executor.layout), weights = arena.floats(64, 64)
    let integers = IntegerWeights(&arena, outputs: 64, inputs: 64, bits: 8, group: 0)
    var linear = Linear(weights: .integers(integers), outputs: 64, inputs: 64, bias: nil)
    for (kind, activations) in [
      (Linear.Weights.packed(weights), Linear.Activations.floats), (.integers(integers), .ownRange), (.integers(integers), .floats),
    ] {
      linear = Linear(weights: kind, outputs: 64, inputs: 64, bias: nil, activations: activations)
      executor.apply(linear, to: .plain(weights, stride: 64), rows: 32, buffers, into: cancelled.output.floats, stride: 64)
      #expect(cancelled.isUntouched)
    }
  }

  @Test("attention in float and on integers writes nothing", arguments: instructionSets())
  func attention(set: InstructionSet) throws {
    let cancelled = try Cancelled(set)
    var arena = Arena(cancelled.memory.floats)
    let buffers = AttentionBuffers(&arena, images: 1, tokens: 64, heads: 2, headSize: 16), qkv = UnsafePointer(arena.floats(64, 96))
    let input = AttentionInput(
      query: qkv, key: qkv + 32, value: qkv + 64, stride: 96, images: 1, tokens: 64, heads: 2, headSize: 16)
    for onIntegers in [false, true] {
      cancelled.machine.executor.attend(input, buffers, onIntegers: onIntegers, into: cancelled.output.floats)
      #expect(cancelled.isUntouched)
    }
  }

  @Test("convolutions, norms and copies write nothing", arguments: instructionSets())
  func images(set: InstructionSet) throws {
    let cancelled = try Cancelled(set), executor = cancelled.machine.executor, output = cancelled.output.floats
    var arena = Arena(cancelled.memory.floats)
    let pixels = arena.floats(8, 8, 16), panels = arena.floats(32, 9 * 16), bias = arena.floats(32), taps = arena.floats(1 << 14)
    let integers = IntegerWeights(&arena, outputs: 16, inputs: 144, bits: 8, group: 0)
    for weights in [Convolution.Weights.floats(panels), .integers(integers)] {
      let convolution = Convolution(inputs: 16, outputs: 16, size: 3, weights: weights, bias: bias)
      executor.convolve(ConvolutionInput(pixels: pixels), convolution, height: 8, width: 8, into: output, taps: taps)
      #expect(cancelled.isUntouched)
    }
    executor.normalize(
      pixels, pixels: 64, ChannelNorm(mean: bias, factor: bias, offset: bias, channels: 16, silu: false), into: output)
    executor.move(1024, from: pixels, to: output)
    #expect(cancelled.isUntouched)
  }

  @Test("random numbers are left undone")
  func noise() {
    let cancellation = Cancellation(), output = Buffer(count: 100, filledWith: untouched)
    cancellation.ask()
    let state = UnsafeMutablePointer<TorchGenerator.State>.allocate(capacity: 1)
    defer { state.deallocate() }
    TorchGenerator(seed: 1, in: state).fillNormal(output.floats, count: 100, cancellation)
    Philox.fillNormal(output.floats, count: 100, seed: 1, draw: 0, cancellation)
    #expect(output.values.allSatisfy { $0 == untouched } && output.isIntact)
  }
}

@Suite("Finite numbers")
struct FiniteTests {
  @Test("the first that is none is found wherever it stands", arguments: [1, 15, 16, 17, 1023, 1024, 1025, 3000])
  func everyPlace(count: Int) {
    var random = SplitMix(1)
    let values = Buffer(random.floats(count))
    #expect(firstNonFinite(values.floats, count) == nil)
    for place in stride(from: 0, to: count, by: max(1, count / 97)) {
      for strange in [Float.nan, -.nan, .infinity, -.infinity, .signalingNaN] {
        let before = values.floats[place]
        values.floats[place] = strange
        values.floats[count - 1] = place == count - 1 ? strange : .nan
        #expect(firstNonFinite(values.floats, count) == place)
        (values.floats[count - 1], values.floats[place]) = (0, before)
      }
    }
    for large in [Float.greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude, -0.0] {
      values.floats[count / 2] = large
      #expect(firstNonFinite(values.floats, count) == nil)
    }
    #expect(values.isIntact)
  }
}
