// Checkpoints of random weights, as safetensors files of F16: normally distributed, standard deviation 0.02, the same for the same seed.
//
// A file is streamed: memory is that of one buffer, however large the model. Each number is dealt from a deck of 65,536 normal ones by 16
// random bits, which costs a hundredth of drawing each anew. Relies on Output, which makes a file appear whole or not at all.

import Glibc

struct RandomWeights {
  static let deviation = 0.02
  /// Numbers of a buffer.
  private static let bufferCount = 1 << 20

  private let seed: UInt64
  private let deck: [UInt16]

  init(seed: UInt64) {
    self.seed = seed
    var random = FixedRandom(seed: seed)
    deck = (0..<1 << 16).map { _ in Float16(RandomWeights.deviation * random.normal()).bitPattern }
  }

  /// Writes the tensors, one after another, behind a header that names them.
  func write(_ tensors: [TensorPlan], to path: String) throws {
    var buffer = [UInt16](repeating: 0, count: RandomWeights.bufferCount)
    try Output.write(to: path) { append in
      try RandomWeights.header(tensors).withUnsafeBytes(append)
      for tensor in tensors {
        var random = FixedRandom(seed: seed ^ RandomWeights.hash(tensor.origin))
        var left = tensor.count
        while left > 0 {
          let count = min(left, buffer.count)
          deal(&random, into: &buffer, count)
          try buffer.withUnsafeBytes { try append(UnsafeRawBufferPointer(rebasing: $0[..<(2 * count)])) }
          left -= count
        }
      }
    }
  }

  /// Four numbers for each 64 random bits. `buffer` has room for a multiple of four.
  private func deal(_ random: inout FixedRandom, into buffer: inout [UInt16], _ count: Int) {
    deck.withUnsafeBufferPointer { deck in
      buffer.withUnsafeMutableBufferPointer { buffer in
        for start in stride(from: 0, to: count, by: 4) {
          var bits = random.bits()
          for lane in 0..<4 {
            buffer[start + lane] = deck[Int(truncatingIfNeeded: bits & 0xFFFF)]
            bits >>= 16
          }
        }
      }
    }
  }

  /// The length of the text, and the text, padded with spaces so that the numbers begin at a multiple of 8.
  private static func header(_ tensors: [TensorPlan]) -> [UInt8] {
    var end = 0
    let members = tensors.map { tensor in
      let begin = end
      end += 2 * tensor.count
      return (
        name: tensor.name,
        value: JSON.object([
          ("dtype", .text("F16")), ("shape", .list(tensor.shape.map { JSON($0) })), ("data_offsets", .list([JSON(begin), JSON(end)])),
        ])
      )
    }
    var text = Array(JSON.object(members).line.utf8)
    text += [UInt8](repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    return (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
  }

  /// FNV-1a, 64 bits.
  private static func hash(_ text: String) -> UInt64 {
    text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }
}

extension FixedRandom {
  /// Standard normal, by Box and Muller's transform.
  fileprivate mutating func normal() -> Double {
    let first = (Double(next()) + 1) / 2, second = Double(next())
    return (-2 * log(1 - first)).squareRoot() * cos(.pi * second)
  }
}
