// GroupNorm against double precision, and to the bit the same for every set and number of threads.

import Foundation
import Testing

@testable import DitqCore

private struct Shape: Sendable, CustomTestStringConvertible {
  let height: Int, width: Int, channels: Int, groups: Int
  var count: Int { height * width * channels }
  var testDescription: String { "\(height) by \(width), \(channels) channels in \(groups) groups" }
}

private let cases = [
  Shape(height: 1, width: 1, channels: 4, groups: 2), Shape(height: 2, width: 3, channels: 6, groups: 3),
  Shape(height: 5, width: 7, channels: 17, groups: 1), Shape(height: 4, width: 4, channels: 32, groups: 32),
  Shape(height: 9, width: 8, channels: 40, groups: 8), Shape(height: 16, width: 16, channels: 64, groups: 32),
  Shape(height: 3, width: 50, channels: 512, groups: 32),
]

private struct Example {
  let shape: Shape
  let x: [Float]
  let weight: [Float]
  let bias: [Float]
  static let epsilon: Float = 1e-6

  /// Channels whose means and spreads differ, so that a value of the wrong group or channel shows.
  init(_ shape: Shape) {
    self.shape = shape
    var random = SplitMix(7)
    let offsets = random.floats(shape.channels, -2, 2), spreads = random.floats(shape.channels, 0.1, 3)
    x = random.floats(shape.count).enumerated().map { offsets[$0 % shape.channels] + spreads[$0 % shape.channels] * $1 }
    weight = random.floats(shape.channels, -2, 2)
    bias = random.floats(shape.channels)
  }

  func run(_ set: InstructionSet, threads: Int, silu: Bool) throws -> [Float] {
    let machine = try Machine(set, threads: threads)
    let x = Buffer(x), weight = Buffer(weight), bias = Buffer(bias), output = Buffer(count: shape.count)
    let blocks = PixelBlocks(height: shape.height, width: shape.width, channels: shape.channels), values = blocks.count * shape.channels
    var measuring = Arena()
    _ = ChannelMoments(&measuring, values: values, channels: shape.channels)
    let memory = Buffer(count: measuring.peak / 4, filledWith: .nan)
    var arena = Arena(memory.floats)
    let moments = ChannelMoments(&arena, values: values, channels: shape.channels)
    let norm = GroupNorm(
      channels: shape.channels, groups: shape.groups, epsilon: Example.epsilon, weight: weight.floats, bias: bias.floats)
    machine.executor.gather(x.floats, channels: shape.channels, blocks, into: moments)
    machine.executor.normalize(
      x.floats, pixels: shape.height * shape.width, moments.norm(norm, blocks, silu: silu), into: output.floats)
    #expect(x.isIntact && weight.isIntact && bias.isIntact && memory.isIntact && output.isIntact && machine.isIntact)
    return output.values
  }

  /// Each value with its tolerance. Sums of a block of n pixels are floats: k = n + 4 roundings, of numbers up to 2A, A = max |x|, because a
  /// pixel is subtracted first; the rest is double. The mean's error, divided by s = √(variance + ε), enters once in the value, and the
  /// squares' in s. SiLU has a slope below 1.1.
  func expected(silu: Bool) -> [(value: Double, tolerance: Double)] {
    let size = shape.channels / shape.groups, k = Double(min(shape.height, 8) * min(shape.width, 64) + 4)
    let largest = x.reduce(0) { max($0, Double(abs($1))) }, meanError = 2 * k * roundoff * largest
    var result = [(value: Double, tolerance: Double)](repeating: (0, 0), count: x.count)
    for group in 0..<shape.groups {
      let indices = x.indices.filter { $0 % shape.channels / size == group }
      let mean = indices.reduce(0) { $0 + Double(x[$1]) } / Double(indices.count)
      let variance = indices.reduce(0) { $0 + (Double(x[$1]) - mean) * (Double(x[$1]) - mean) } / Double(indices.count)
      let s = (variance + Double(Example.epsilon)).squareRoot()
      for i in indices {
        let weight = Double(weight[i % shape.channels]), normal = (Double(x[i]) - mean) / s
        let value = normal * weight + Double(bias[i % shape.channels])
        let relative = k * roundoff * (2 * largest / s) * (2 * largest / s) + 6 * roundoff
        let tolerance = abs(weight) * ((meanError + roundoff * largest) / s + abs(normal) * relative) + 2 * roundoff * abs(value)
        result[i] = silu ? (value / (1 + exp(-value)), 1.1 * tolerance + 6 * roundoff * abs(value)) : (value, tolerance)
      }
    }
    return result
  }
}

@Suite("GroupNorm")
struct GroupNormTests {
  @Test("GroupNorm is its formula, with and without SiLU", arguments: cases, [false, true])
  private func formula(shape: Shape, silu: Bool) throws {
    let example = Example(shape), expected = example.expected(silu: silu)
    let found = try example.run(instructionSets()[0], threads: 1, silu: silu)
    for i in found.indices where !(abs(Double(found[i]) - expected[i].value) <= expected[i].tolerance) {
      Issue.record("value \(i) is \(found[i]), \(expected[i].value) ± \(expected[i].tolerance) expected")
      return
    }
  }

  @Test("GroupNorm is the same to the bit for every set and number of threads", arguments: cases)
  private func sameBits(shape: Shape) throws {
    let example = Example(shape)
    for silu in [false, true] {
      let first = try example.run(instructionSets()[0], threads: 1, silu: silu)
      for set in instructionSets() {
        for threads in [1, 2, 3, 5] {
          #expect(same(try example.run(set, threads: threads, silu: silu), first), "\(set.name), \(threads) threads")
        }
      }
    }
  }
}
