// Attention against a plain double-precision one, and to the bit the same for every set and number of threads.

import Foundation
import Testing

@testable import DitqCore

private struct Shape: Sendable, CustomTestStringConvertible {
  var images = 1, tokens = 1, heads = 1, headSize = 1
  var width: Int { heads * headSize }
  var testDescription: String { "\(images) images, \(tokens) tokens, \(heads) heads of \(headSize)" }
}

/// The projections of all tokens as the fused linear leaves them, [images · tokens, 3 · width].
private struct Projections {
  let shape: Shape
  let values: [Float]

  init(_ shape: Shape, seed: UInt64) {
    self.shape = shape
    values = Matrix.random(shape.images * shape.tokens, 3 * shape.width, seed, -1.5, 1.5).values
  }

  /// Part 0 is the query, 1 the key, 2 the value.
  func at(_ part: Int, image: Int, token: Int, head: Int, _ channel: Int) -> Double {
    Double(values[((image * shape.tokens + token) * 3 + part) * shape.width + head * shape.headSize + channel])
  }

  func attended(_ machine: Machine, onIntegers: Bool = false) -> [Float] {
    let buffer = Buffer(values), output = Buffer(count: shape.images * shape.tokens * shape.width)
    var measuring = Arena()
    _ = AttentionBuffers(&measuring, images: shape.images, tokens: shape.tokens, heads: shape.heads, headSize: shape.headSize)
    let memory = Buffer(count: measuring.peak / 4, filledWith: .nan)
    var arena = Arena(memory.floats)
    let buffers = AttentionBuffers(&arena, images: shape.images, tokens: shape.tokens, heads: shape.heads, headSize: shape.headSize)
    let start = UnsafePointer(buffer.floats)
    let input = AttentionInput(
      query: start, key: start + shape.width, value: start + 2 * shape.width, stride: 3 * shape.width, images: shape.images,
      tokens: shape.tokens, heads: shape.heads, headSize: shape.headSize)
    machine.executor.attend(input, buffers, onIntegers: onIntegers, into: output.floats)
    #expect(buffer.isIntact && memory.isIntact && output.isIntact && machine.isIntact, "\(shape)")
    return output.values
  }

  /// Σ over tokens of p · v with p = softmax(q · k / √headSize), for one image and head: the channels of each query.
  ///
  /// A score of size S = Σ |q| |k| / √headSize is off by (headSize + 4) S roundoffs, and each p by twice as much; the softmax itself adds
  /// what SoftmaxTests derives, and the last sum a roundoff a token. All of it is relative to the largest |v|.
  func expected(image: Int, head: Int) -> (values: [[Double]], tolerance: Double) {
    let root = Double(shape.headSize).squareRoot()
    var rows: [[Double]] = [], largestScore = 0.0, largestValue = 0.0
    for query in 0..<shape.tokens {
      var powers: [Double] = []
      for key in 0..<shape.tokens {
        var sum = 0.0, size = 0.0
        for c in 0..<shape.headSize {
          let product = at(0, image: image, token: query, head: head, c) * at(1, image: image, token: key, head: head, c)
          sum += product
          size += abs(product)
        }
        powers.append(exp(sum / root))
        largestScore = max(largestScore, size / root)
      }
      let total = powers.reduce(0, +)
      var row = [Double](repeating: 0, count: shape.headSize)
      for c in 0..<shape.headSize {
        for key in 0..<shape.tokens {
          let value = at(2, image: image, token: key, head: head, c)
          row[c] += powers[key] / total * value
          largestValue = max(largestValue, abs(value))
        }
      }
      rows.append(row)
    }
    let scores = 2 * (Double(shape.headSize) + 4) * largestScore, softmax = 4 * largestScore + Double(shape.tokens) / 16 + 14
    return (rows, largestValue * roundoff * (scores + softmax + Double(shape.tokens) + 2))
  }
}

private let cases = [
  Shape(), Shape(tokens: 2, headSize: 3), Shape(images: 2, tokens: 5, heads: 2, headSize: 8), Shape(tokens: 16, heads: 2, headSize: 72),
  Shape(images: 3, tokens: 15, heads: 3, headSize: 33), Shape(images: 2, tokens: 33, heads: 4, headSize: 16),
  Shape(tokens: 64, heads: 1, headSize: 128), Shape(images: 2, tokens: 65, heads: 1, headSize: 31),
  Shape(tokens: 100, heads: 5, headSize: 4),
]

@Suite("Attention")
struct AttentionTests {
  private func machine(_ set: InstructionSet, threads: Int, _ shape: Shape) throws -> Machine {
    let scratch = Executor.attentionScratch(tokens: shape.tokens, headSize: shape.headSize, set.kernels)
    return try Machine(set, threads: threads, scratchFloats: scratch)
  }

  @Test("attention is its formula, for every image, head and number of tokens", arguments: cases)
  private func formula(shape: Shape) throws {
    let projections = Projections(shape, seed: 1), found = projections.attended(try machine(instructionSets()[0], threads: 1, shape))
    for image in 0..<shape.images {
      for head in 0..<shape.heads {
        let (rows, tolerance) = projections.expected(image: image, head: head)
        for (query, row) in rows.enumerated() {
          let start = (image * shape.tokens + query) * shape.width + head * shape.headSize
          #expect(
            row.indices.allSatisfy { abs(Double(found[start + $0]) - row[$0]) <= tolerance }, "image \(image), head \(head), query \(query)"
          )
        }
      }
    }
  }

  /// Numbers lie within 1.5 in magnitude: a step is at most 3/255 of a query, 1.5/127 of a key or a value, and half of it is lost. Scores are
  /// off by the two losses times the other's size, each exp by half of 1/255 beside what its score is off by, each value by its loss.
  @Test("on integers attention is its formula, as nearly as 8 bits allow", arguments: cases)
  private func formulaOnIntegers(shape: Shape) throws {
    let projections = Projections(shape, seed: 1)
    let found = projections.attended(try machine(instructionSets()[0], threads: 1, shape), onIntegers: true)
    let loss = 1.5 * (1.5 / 255 + 0.75 / 127) + 1.5 / 255 * 0.75 / 127, scores = Double(shape.headSize).squareRoot() * loss
    let tolerance = 1.5 * (exp(2 * scores) - 1 + exp(2 * scores) * Double(shape.tokens) / 510 + 1 / 254 + 1e-3)
    for image in 0..<shape.images {
      for head in 0..<shape.heads {
        for (query, row) in projections.expected(image: image, head: head).values.enumerated() {
          let start = (image * shape.tokens + query) * shape.width + head * shape.headSize
          #expect(
            row.indices.allSatisfy { abs(Double(found[start + $0]) - row[$0]) <= tolerance }, "image \(image), head \(head), query \(query)"
          )
        }
      }
    }
  }

  @Test("attention is the same to the bit for every set and number of threads", arguments: cases)
  private func sameBits(shape: Shape) throws {
    let projections = Projections(shape, seed: 2)
    for onIntegers in [false, true] {
      let first = projections.attended(try machine(instructionSets()[0], threads: 1, shape), onIntegers: onIntegers)
      for set in instructionSets() {
        for threads in [1, 2, 3, 5] {
          let found = projections.attended(try machine(set, threads: threads, shape), onIntegers: onIntegers)
          #expect(same(found, first), "\(set.name), \(threads) threads, on integers: \(onIntegers)")
        }
      }
    }
  }

  @Test("with one token its value is the result, whatever the scores")
  func oneToken() throws {
    let shape = Shape(images: 2, tokens: 1, heads: 3, headSize: 17), projections = Projections(shape, seed: 3)
    for set in instructionSets() {
      let found = projections.attended(try machine(set, threads: 2, shape))
      for image in 0..<2 {
        for i in 0..<51 { #expect(found[image * 51 + i] == projections.values[(image * 3 + 2) * 51 + i]) }
      }
    }
  }
}
