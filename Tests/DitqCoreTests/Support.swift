// What the tests of several floors share: numbers from fixed seeds, buffers that notice writes beyond their ends, executors for each
// instruction set of this CPU, and the fixtures.

import CKernels
import Foundation
import Kernels16x64
import Kernels5x16
import Testing

@testable import DitqCore

/// SplitMix64 (Steele, Lea & Flood 2014): the same numbers in every run.
struct SplitMix {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  /// In [0, 1), with 53 bits.
  mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  mutating func uniform(_ low: Double, _ high: Double) -> Double { low + (high - low) * unit() }

  mutating func floats(_ count: Int, _ low: Double = -1, _ high: Double = 1) -> [Float] {
    (0..<count).map { _ in Float(uniform(low, high)) }
  }
}

/// Half the distance from 1 to the next float: the relative error of one rounding.
let roundoff = 0x1p-24

/// Floats at a 64-byte boundary between two guards, which show what was written outside.
/// Careful: an optimizing compiler frees an object after its last use, whatever pointers were taken from it: ask `isIntact` at the end.
final class Buffer {
  let floats: UnsafeMutablePointer<Float>
  let count: Int
  private let memory: UnsafeMutableRawPointer
  private static let guardFloats = 64
  private static let mark: Float = 1234.5678

  init(_ values: [Float]) {
    count = values.count
    memory = .allocate(byteCount: (count + 2 * Buffer.guardFloats) * 4, alignment: 64)
    let all = memory.bindMemory(to: Float.self, capacity: count + 2 * Buffer.guardFloats)
    all.initialize(repeating: Buffer.mark, count: count + 2 * Buffer.guardFloats)
    floats = all + Buffer.guardFloats
    for i in 0..<count { floats[i] = values[i] }
  }

  convenience init(count: Int, filledWith value: Float = -77.25) { self.init([Float](repeating: value, count: count)) }

  deinit { memory.deallocate() }

  var values: [Float] { Array(UnsafeBufferPointer(start: floats, count: count)) }
  var bits: [UInt32] { values.map { $0.bitPattern } }

  /// Nothing was written before or after the floats.
  var isIntact: Bool {
    (1...Buffer.guardFloats).allSatisfy { floats[-$0] == Buffer.mark && floats[count + $0 - 1] == Buffer.mark }
  }
}

/// An executor with its memory.
final class Machine {
  let executor: Executor
  private let scratch: Buffer

  init(_ set: InstructionSet, threads: Int, scratchFloats: Int = 0) throws {
    var measuring = Arena()
    _ = ThreadScratch(&measuring, threads: threads, floatsPerThread: scratchFloats)
    scratch = Buffer(count: measuring.peak / 4, filledWith: .nan)
    var arena = Arena(scratch.floats)
    executor = Executor(
      pool: try ThreadPool(threads: threads), kernels: set.kernels,
      scratch: ThreadScratch(&arena, threads: threads, floatsPerThread: scratchFloats))
  }

  /// No thread wrote outside the scratch as a whole.
  var isIntact: Bool { scratch.isIntact }
}

/// The instruction sets of this CPU, from the plainest to the best.
func setsOfThisCPU() -> [InstructionSet] { InstructionSet.all.filter { $0.isPresent() } }

/// These, and two that no CPU has, whose tiles have other shapes.
func instructionSets() -> [InstructionSet] {
  setsOfThisCPU() + [
    InstructionSet(number: -1, name: "tiles of 5 × 16", fill: { fill5x16($0) }),
    InstructionSet(number: -2, name: "tiles of 16 × 64", fill: { fill16x64($0) }),
  ]
}

extension InstructionSet: CustomTestStringConvertible {
  public var testDescription: String { name }
}

/// The same bits, or both NaN: the sign and payload of a NaN are nobody's promise.
func same(_ a: Float, _ b: Float) -> Bool { a.bitPattern == b.bitPattern || (a.isNaN && b.isNaN) }

func same(_ a: [Float], _ b: [Float]) -> Bool { a.count == b.count && zip(a, b).allSatisfy { same($0, $1) } }

/// The error that a call throws, or nil.
func thrown<Result>(by attempt: () throws -> Result) -> DitqError? {
  do {
    _ = try attempt()
    return nil
  } catch { return error as? DitqError }
}

// MARK: - Fixtures

enum Fixture {
  private static var repository: URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  }

  static func path(_ name: String) -> String { repository.appendingPathComponent("Tests/Fixtures/" + name).path }

  static func tensors(_ name: String) throws -> TensorCollection { try readSafetensors(Bytes(mapping: path(name)), named: name) }

  /// A list of whole numbers of a golden.json.
  static func integers(_ field: String, in name: String) throws -> [Int] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path(name)))
    let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    return try #require(object[field] as? [Int])
  }

  /// The model that the official code's golden case was made with: 144 channels, two heads, which the file does not say.
  static func officialModel() throws -> Model {
    var options = OpenOptions()
    options.headCount = 2
    return try Model.open(path: path("official-a/model.safetensors"), options)
  }
}

extension TensorCollection {
  /// A tensor of F32 as an array.
  func floats(_ name: String) throws -> [Float] {
    let tensor = try #require(find(name), "no tensor \(name)")
    try #require(tensor.dtype == "F32")
    return (0..<tensor.elementCount).map { tensor.start.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
  }

  func integers(_ name: String) throws -> [Int32] {
    let tensor = try #require(find(name), "no tensor \(name)")
    try #require(tensor.dtype == "I32")
    return (0..<tensor.elementCount).map { tensor.start.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self) }
  }
}

/// ‖a − b‖ / ‖b‖.
func distance(_ a: [Float], _ b: [Float]) -> Double {
  precondition(a.count == b.count)
  var difference = 0.0, norm = 0.0
  for (x, y) in zip(a, b) {
    difference += (Double(x) - Double(y)) * (Double(x) - Double(y))
    norm += Double(y) * Double(y)
  }
  return (difference / norm).squareRoot()
}

func largestDifference(_ a: [Float], _ b: [Float]) -> Double {
  precondition(a.count == b.count)
  // Careful: max() would pass over a NaN.
  return zip(a, b).reduce(0) { most, pair in
    let difference = abs(Double(pair.0) - Double(pair.1))
    return difference <= most ? most : difference.isNaN ? .infinity : difference
  }
}

extension Session {
  /// One call for as many images as there are labels.
  func predict(x: [Float], timesteps: [Float], labels: [Int32], output: Buffer) throws {
    try x.withUnsafeBufferPointer { x in
      try predict(
        x: x, timesteps: timesteps, labels: labels, count: labels.count,
        output: UnsafeMutableBufferPointer(start: output.floats, count: output.count))
    }
  }
}
