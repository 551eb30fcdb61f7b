// DiTConfig: what follows from its numbers, and which numbers are refused.

import Testing

@testable import DitqCore

/// The public XL/2 at 256 × 256 pixels.
private let largest = DiTConfig(
  compatibility: .official, hiddenSize: 1152, depth: 28, headCount: 16, patchSize: 2, channels: 4, outputChannels: 8, latentSize: 32,
  mlpSize: 4608, classCount: 1000, secondNormEpsilon: 1e-6, isPixelSpace: false)

private func refusal(_ change: (inout DiTConfig) -> Void) -> DitqError? {
  var config = largest
  change(&config)
  return thrown { try config.check() }
}

@Suite("DiT configuration")
struct DiTConfigTests {
  @Test("sizes follow from the numbers of a model")
  func sizes() {
    #expect(largest.headSize == 72 && largest.gridSize == 16 && largest.tokenCount == 256)
    #expect(largest.patchInputs == 16 && largest.patchOutputs == 32 && largest.latentCount == 4096 && largest.outputCount == 8192)
  }

  /// "118.6 Gflops" in the paper (Peebles & Xie 2023, table 4) counts a multiply-accumulate as one.
  @Test("a call of XL/2 is 118.4 billion multiply-accumulates")
  func work() {
    #expect(abs(Double(largest.macsPerForward) / 118.4e9 - 1) < 0.01)
    var half = largest
    half.depth = 14
    // Blocks are all of it but the ends, which are far below a hundredth.
    #expect(abs(Double(largest.macsPerForward) / Double(half.macsPerForward) - 2) < 0.01)
  }

  /// Counted by hand for one block, one token and width 4, MLP 8, one channel, patch 1: qkv 48, proj 16, fc1 32, fc2 32, attention 2 · 4,
  /// modulation 96; patch embedding 4, final linear 4, timestep MLP 1024 + 16, final modulation 32.
  @Test("the work of the smallest model is what a hand counts")
  func smallestWork() {
    let config = DiTConfig(
      compatibility: .diffusers, hiddenSize: 4, depth: 1, headCount: 1, patchSize: 1, channels: 1, outputChannels: 1, latentSize: 1,
      mlpSize: 8,
      classCount: 1, secondNormEpsilon: 1e-5, isPixelSpace: true)
    #expect(config.macsPerForward == 48 + 16 + 32 + 32 + 8 + 96 + 4 + 4 + 1024 + 16 + 32)
    #expect(thrown { try config.check() } == nil)
  }

  @Test("every public size passes", arguments: [(384, 12, 6), (768, 12, 12), (1024, 24, 16), (1152, 28, 16)], [2, 4, 8])
  func publicSizes(size: (hidden: Int, depth: Int, heads: Int), patch: Int) {
    for latent in [32, 64] {
      let error = refusal {
        ($0.hiddenSize, $0.depth, $0.headCount, $0.mlpSize) = (size.hidden, size.depth, size.heads, 4 * size.hidden)
        ($0.patchSize, $0.latentSize) = (patch, latent)
      }
      #expect(error == nil)
    }
  }

  @Test("each number has limits, and what is beyond is named")
  func limits() {
    let numbers: [(name: String, path: WritableKeyPath<DiTConfig, Int>, largest: Int)] = [
      ("hidden size", \.hiddenSize, 65536), ("depth", \.depth, 1024), ("head count", \.headCount, 1024), ("patch size", \.patchSize, 256),
      ("channels", \.channels, 1024), ("latent size", \.latentSize, 8192), ("MLP size", \.mlpSize, 1_048_576),
      ("class count", \.classCount, 10_000_000),
    ]
    for (name, path, largest) in numbers {
      for value in [0, -1, .min, largest + 1, .max] {
        let error = refusal { $0[keyPath: path] = value }
        #expect(error?.status == .unsupported)
        #expect(
          error?.message.hasPrefix("\(name): ") == true && error?.message.hasSuffix(" to \(largest) expected, \(value) found") == true)
      }
    }
    for (path, value) in [(\.depth, 1024), (\.depth, 1), (\.mlpSize, 1_048_576), (\.mlpSize, 1), (\.classCount, 1)]
      as [(WritableKeyPath<DiTConfig, Int>, Int)]
    { #expect(refusal { $0[keyPath: path] = value } == nil) }
  }

  @Test("numbers that do not divide each other are refused")
  func divisibility() {
    #expect(refusal { ($0.hiddenSize, $0.headCount) = (1154, 2) }?.message == "hidden size: a multiple of 4 expected, 1154 found")
    #expect(refusal { $0.headCount = 7 }?.message == "head_count: a divisor of the hidden size 1152 expected, 7 found")
    #expect(refusal { $0.patchSize = 3 }?.message == "sample size: a multiple of the patch size 3 expected, 32 found")
    #expect(refusal { $0.outputChannels = 6 }?.message == "output channels: 4 or 8 expected, 6 found")
    #expect(refusal { $0.outputChannels = 4 } == nil)
  }

  @Test("more tokens than attention has room for are refused")
  func tokens() {
    #expect(refusal { ($0.latentSize, $0.patchSize) = (512, 2) } == nil)
    #expect(refusal { ($0.latentSize, $0.patchSize) = (514, 2) }?.message == "tokens: 1 to 65536 expected, 66049 found")
    #expect(refusal { ($0.latentSize, $0.patchSize) = (8192, 1) }?.message == "tokens: 1 to 65536 expected, 67108864 found")
  }

  @Test("the largest model within the limits has a size and a count of work that are numbers")
  func largestPossible() throws {
    var config = largest
    (config.hiddenSize, config.depth, config.headCount, config.mlpSize) = (65536, 1024, 1024, 1_048_576)
    (config.channels, config.outputChannels, config.latentSize, config.patchSize) = (1024, 2048, 8192, 256)
    #expect(thrown { try config.check() } == nil)
    #expect(config.macsPerForward > 0)
    (config.latentSize, config.patchSize) = (256, 1)
    #expect(thrown { try config.check() } == nil && config.macsPerForward > 0)
    var arena = Arena()
    _ = DiTWorkspace(
      &arena, config, packedFloatsPerToken: config.mlpSize, attendsOnIntegers: false, instructionSets()[0].kernels.layout,
      images: 2 * SessionOptions.batchLimitLimit, threads: 1
    )
    #expect(thrown { try arena.checkedSize("session") } == nil || thrown { try arena.checkedSize("session") }?.status == .outOfMemory)
  }
}
