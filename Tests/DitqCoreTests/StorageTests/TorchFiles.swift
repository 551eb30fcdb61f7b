// Files of torch.save made in code, for the tests of zips, pickles and checkpoints: a zip of stored entries, and opcodes by name.

import Testing

@testable import DitqCore

func littleEndian<T: FixedWidthInteger>(_ numbers: T...) -> [UInt8] {
  numbers.flatMap { number in withUnsafeBytes(of: number.littleEndian) { Array($0) } }
}

/// An entry of a zip; the other fields are what its headers say.
struct ZipSample {
  var name: String
  var data: [UInt8]
  var localName: String?
  var method: UInt16 = 0
  var flags: UInt16 = 0
  var size: UInt32?
  var localSize: UInt32?
  var offset: UInt32?
  var extra: [UInt8] = []
}

func zipFile(_ samples: [ZipSample], comment: [UInt8] = [], count: UInt16? = nil) -> [UInt8] {
  var file: [UInt8] = [], directory: [UInt8] = []
  for sample in samples {
    let offset = sample.offset ?? UInt32(file.count), size = sample.size ?? UInt32(sample.data.count)
    let local = Array((sample.localName ?? sample.name).utf8), name = Array(sample.name.utf8), localSize = sample.localSize ?? size
    let common = littleEndian(sample.flags, sample.method, 0, 0, 0, 0)
    file += [0x50, 0x4b, 3, 4, 0, 0] + common
    file += littleEndian(localSize, localSize) + littleEndian(UInt16(local.count), 0)
    file += local + sample.data
    directory += [0x50, 0x4b, 1, 2, 0, 0, 0, 0] + common
    directory += littleEndian(size, size) + littleEndian(UInt16(name.count), UInt16(sample.extra.count), 0, 0, 0, 0, 0)
    directory += littleEndian(offset) + name + sample.extra
  }
  let entries = count ?? UInt16(samples.count)
  let end = [0x50, 0x4b, 5, 6] + littleEndian(0, 0, entries, entries)
  return file + directory + end + littleEndian(UInt32(directory.count), UInt32(file.count)) + littleEndian(UInt16(comment.count)) + comment
}

/// What `use` makes of a copy of exactly this size, which lives for as long as it runs.
func withCopy<Result>(of bytes: [UInt8], _ use: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return try use(UnsafeRawBufferPointer(copy))
}

// MARK: - Pickles

enum Opcodes {
  static let dict: [UInt8] = [0x7d], setItem: [UInt8] = [0x73], setItems: [UInt8] = [0x75], mark: [UInt8] = [0x28], tuple: [UInt8] = [0x74]
  static let reduce: [UInt8] = [0x52], persistent: [UInt8] = [0x51], stop: [UInt8] = [0x2e], none: [UInt8] = [0x4e]

  static func text(_ text: String) -> [UInt8] { [0x58] + littleEndian(UInt32(text.utf8.count)) + Array(text.utf8) }
  static func integer(_ number: Int) -> [UInt8] { [0x8a, 8] + littleEndian(Int64(number)) }
  static func global(_ module: String, _ name: String) -> [UInt8] { [0x63] + Array("\(module)\n\(name)\n".utf8) }
  static func tuple(_ parts: [UInt8]...) -> [UInt8] { mark + parts.flatMap { $0 } + tuple }
  static func tuple(_ numbers: [Int]) -> [UInt8] { mark + numbers.flatMap { integer($0) } + tuple }

  static func storage(_ type: String = "FloatStorage", key: String = "0", count: Int = 12) -> [UInt8] {
    tuple(text("storage"), global("torch", type), text(key), text("cpu"), integer(count)) + persistent
  }

  static func tensor(
    in storage: [UInt8] = storage(), offset: Int = 0, _ shape: [Int], strides: [Int], by function: String = "_rebuild_tensor_v2",
    _ more: [UInt8] = []
  ) -> [UInt8] {
    global("torch._utils", function) + tuple(storage, integer(offset), tuple(shape), tuple(strides), [0x89], none, more) + reduce
  }

  /// {"name": value, …}, and the end.
  static func saved(_ items: (String, [UInt8])...) -> [UInt8] { dictionary(items) + stop }
  static func dictionary(_ items: [(String, [UInt8])]) -> [UInt8] { dict + mark + items.flatMap { text($0.0) + $0.1 } + setItems }
}

/// A checkpoint of this pickle, with 12 floats 0, 1, … as its storage "0".
func checkpoint(_ opcodes: [UInt8], order: String? = "little") -> [UInt8] {
  let numbers = (0..<12).flatMap { littleEndian(Float($0).bitPattern) }
  return zipFile(
    [ZipSample(name: "m/data.pkl", data: [0x80, 2] + opcodes), ZipSample(name: "m/data/0", data: numbers)]
      + (order.map { [ZipSample(name: "m/byteorder", data: Array($0.utf8))] } ?? []))
}

func reading<Result>(_ file: [UInt8], _ use: (TensorCollection, String) throws -> Result) throws -> Result {
  try withCopy(of: file) {
    let checkpoint = try readTorchCheckpoint(Bytes(borrowing: $0.baseAddress!, count: $0.count), named: "m.pt", .system)
    return try use(checkpoint.tensors, checkpoint.source)
  }
}

func refusal(ofCheckpoint opcodes: [UInt8]) -> DitqError? {
  thrown { try reading(checkpoint(opcodes)) { $0.tensors.count + $1.utf8.count } }
}
