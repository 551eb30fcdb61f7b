// Safetensors files and sharded directories: round trips, each refusal, truncation and corruption. The files are built in memory by the
// helpers at the top; shards are written below the temporary directory.

import Foundation
import Testing

@testable import DitqCore

/// A file of this header and these data.
private func file(_ header: String, data: [UInt8] = []) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8) + data
}

private struct Sample {
  let name: String
  var dtype = "F32"
  let shape: [Int]
  let data: [UInt8]
}

/// A well-formed file: the data in the order of the samples.
private func file(_ samples: [Sample], metadata: String? = nil) -> [UInt8] {
  var members = metadata.map { ["\"__metadata__\":\($0)"] } ?? []
  var data: [UInt8] = []
  for sample in samples {
    let range = [data.count, data.count + sample.data.count]
    members.append("\(jsonLiteral(sample.name)):{\"dtype\":\"\(sample.dtype)\",\"shape\":\(sample.shape),\"data_offsets\":\(range)}")
    data += sample.data
  }
  return file("{\(members.joined(separator: ","))}", data: data)
}

private func bytes(_ values: Float...) -> [UInt8] { values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian) { Array($0) } } }

/// Reads a copy of exactly this size, which lives for as long as `use` runs.
private func reading<Result>(_ bytes: [UInt8], _ use: (TensorCollection) throws -> Result) throws -> Result {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  // Bytes want an address even for no bytes.
  return try use(readSafetensors(Bytes(borrowing: copy.baseAddress!, count: bytes.count), named: "m.safetensors"))
}

private func refusal<Result>(_ attempt: () throws -> Result) -> DitqError? {
  do {
    _ = try attempt()
    return nil
  } catch { return error as? DitqError }
}

private func refusal(of bytes: [UInt8]) -> DitqError? { refusal { try reading(bytes) { $0.tensors.count } } }

private func entry(_ dtype: String = "\"F32\"", _ shape: String = "[2]", _ offsets: String = "[0,8]") -> String {
  "{\"w\":{\"dtype\":\(dtype),\"shape\":\(shape),\"data_offsets\":\(offsets)}}"
}

/// Two tensors of bytes, w and v.
private func entries(_ shape: String, _ offsets: String, _ otherShape: String, _ otherOffsets: String) -> String {
  entry("\"U8\"", shape, offsets).dropLast() + "," + entry("\"U8\"", otherShape, otherOffsets).dropFirst().replacing("w", with: "v")
}

private let small = file(
  [
    Sample(name: "b", shape: [2], data: bytes(1, 2)), Sample(name: "a.x", dtype: "BF16", shape: [1, 2], data: [1, 2, 3, 4]),
    Sample(name: "a", dtype: "I64", shape: [], data: [7, 0, 0, 0, 0, 0, 0, 0]), Sample(name: "c", shape: [0, 3], data: []),
    Sample(name: "a.y", dtype: "F16", shape: [3], data: [1, 2, 3, 4, 5, 6]),
  ], metadata: "{\"format\":\"pt\",\"ä\":\"\"}")

@Suite("Safetensors")
struct SafetensorsTests {
  @Test("what was written is read, sorted by name")
  func roundTrip() throws {
    try reading(small) { tensors in
      #expect(tensors.tensors.map { $0.name } == ["a", "a.x", "a.y", "b", "c"])
      #expect(tensors.metadata.map { "\($0.name)=\($0.value)" } == ["format=pt", "ä="])
      let b = try tensors.require("b", shape: [2])
      #expect(b.start.loadUnaligned(as: Float.self) == 1 && b.start.loadUnaligned(fromByteOffset: 4, as: Float.self) == 2)
      #expect(b.byteCount == 8 && b.elementCount == 2 && b.dtype == "F32")
      let a = try #require(tensors.find("a"))
      #expect(a.shape == [] && a.elementCount == 1 && a.elementType == nil && a.start.loadUnaligned(as: UInt64.self) == 7)
      #expect(try tensors.requireAnyShape("a.x", rank: 2).elementType == .bf16)
      #expect(try tensors.requireAnyShape("a.y", rank: 1).elementType == .f16)
      #expect(try tensors.require("c", shape: [0, 3]).elementCount == 0)
      #expect(ElementType.f32.byteCount == 4 && ElementType.f16.byteCount == 2 && ElementType.bf16.byteCount == 2)
    }
  }

  @Test("spaces after the header and a file of no tensors are allowed", arguments: ["{}", "{}      "])
  func smallest(header: String) { #expect(refusal(of: file(header)) == nil) }

  @Test("names are found by their beginnings")
  func prefixes() throws {
    try reading(small) { tensors in
      #expect((try? tensors.names(startingWith: "a.")) == ["a.x", "a.y"])
      #expect((try? tensors.names(startingWith: "")) == ["a", "a.x", "a.y", "b", "c"])
      #expect((try? tensors.names(startingWith: "c")) == ["c"])
      #expect((try? tensors.names(startingWith: "d")) == [] && (try? tensors.names(startingWith: "a.z")) == [])
      #expect(tensors.find("") == nil && tensors.find("a.") == nil && tensors.find("zz") == nil)
    }
  }

  @Test("what a model requires and does not get is told by name")
  func requirements() throws {
    try reading(small) { tensors in
      func error(_ name: String, _ shape: [Int]) -> DitqError? { refusal { try tensors.require(name, shape: shape) } }
      #expect(error("q.w", [1])?.status == .notFound && error("q.w", [1])?.message == "q.w: no such tensor")
      #expect(error("b", [1, 2])?.status == .malformed && error("b", [1, 2])?.message == "b: shape [1, 2] expected, [2] found")
      #expect(error("a", [])?.status == .unsupported && error("a", [])?.message == "a: dtype F32, F16 or BF16 expected, I64 found")
      #expect(refusal { try tensors.requireAnyShape("b", rank: 4) }?.message == "b: a shape of rank 4 expected, [2] found")
    }
  }

  @Test(
    "a header that the format forbids is refused, with file, tensor and reason",
    arguments: [
      ("[]", "header: '{' expected at its beginning"), (" {}", "header: '{' expected at its beginning"), ("", "header: '{' expected"),
      ("{", "header: JSON at byte 1: '\"' expected, the end found"), ("{}x", "header: JSON at byte 2: the end expected"),
      ("{\"w\":1}", "w: dtype, shape and data_offsets expected"),
      (entry().replacingOccurrences(of: "dtype", with: "type"), "w: dtype, shape"),
      (entry("\"F32\"", "[2]", "[0,8],\"x\":0"), "w: dtype, shape and data_offsets expected, nothing else"),
      (entry("32"), "w: dtype: a string expected, a number found"), (entry("\"F32\"", "2"), "w: shape: an array expected, a number found"),
      (entry("\"F32\"", "[-2]"), "w: shape: integers from 0 to 2^53 expected"), (entry("\"F32\"", "[2.5]"), "w: shape: integers"),
      (entry("\"F32\"", "[9007199254740993]"), "w: shape: integers"), (entry("\"F32\"", "[\"2\"]"), "w: shape: integers"),
      (entry("\"F32\"", "[2]", "{}"), "w: data_offsets: an array expected, an object found"),
      (entry("\"F32\"", "[2]", "[0]"), "w: data_offsets: a begin and an end expected, [0] found"),
      (entry("\"F32\"", "[2]", "[0,8,8]"), "w: data_offsets: a begin"), (entry("\"F32\"", "[2]", "[8,0]"), "w: data_offsets: a begin"),
      (entry("\"F32\"", "[2]", "[0,-8]"), "w: data_offsets: integers"),
      (entry("\"F32\"", "[3]"), "w: 12 bytes expected of F32 [3], 8 bytes found"),
      (entry("\"F32\"", "[4503599627370496,4096]"), "w: shape [4503599627370496, 4096] has too many elements"),
      (entry("\"F32\"", "[4503599627370496,512]"), "has too many elements"),
      (entry("\"F32\"", "[2]", "[4,12]"), "w: data from 0 on expected, from 4 on found: a hole stands before it"),
      (entries("[8]", "[0,8]", "[4]", "[4,8]"), "v: data from 8 on expected, from 4 on found: it overlaps another tensor"),
      (entries("[8]", "[0,8]", "[0]", "[4,4]"), "v: data from 8 on expected, from 4 on found: it overlaps another tensor"),
      (entries("[2]", "[0,2]", "[5]", "[3,8]"), "v: data from 2 on expected, from 3 on found: a hole stands before it"),
      ("{\"__metadata__\":[]}", "__metadata__: an object expected, an array found"),
      ("{\"__metadata__\":{\"a\":1}}", "__metadata__: strings expected, a number found"),
      ("{\"w\":{},\"w\":{}}", "header: JSON at byte 0: member \"w\" stands twice"),
    ])
  func malformedHeaders(header: String, reason: String) throws {
    let error = try #require(refusal(of: file(header, data: [UInt8](repeating: 0, count: 8))))
    #expect(error.status == .malformed)
    #expect(error.message.hasPrefix("m.safetensors: ") && error.message.contains(reason), "\(error.message)")
  }

  @Test("a file longer or shorter than its tensors is malformed, and both sizes are told")
  func sizes() throws {
    let header = entry()
    for count in [0, 7, 9, 100] {
      let error = try #require(refusal(of: file(header, data: [UInt8](repeating: 0, count: count))))
      let start = 8 + header.utf8.count
      #expect(error.status == .malformed && error.message.contains("a file of \(start + 8) bytes expected, \(start + count) bytes found"))
    }
  }

  @Test("a header longer than the file is malformed")
  func longHeader() throws {
    for (length, reason) in [
      (3, "a header of 3 bytes expected, 2 bytes found"), (100_000_001, "at most 100000000 bytes expected, 100000001 found"),
      (UInt64.max, "at most 100000000 bytes expected, 18446744073709551615 found"),
    ] as [(UInt64, String)] {
      var bytes = file("{}")
      withUnsafeBytes(of: length.littleEndian) { bytes.replaceSubrange(0..<8, with: $0) }
      let error = refusal(of: bytes)
      #expect(error?.status == .malformed && error?.message.contains(reason) == true)
    }
  }

  @Test("what the format allows and this reader does not is unsupported")
  func limits() throws {
    let name = String(repeating: "n", count: 1025)
    let many = (0...100_000).map { "\"\($0)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}" }.joined(separator: ",")
    for (bytes, reason) in [
      (file(entry("\"C64\"", "[1]"), data: [UInt8](repeating: 0, count: 8)), "w: dtype \"C64\" is not known"),
      (file(entry("\"F32\"", "[1,1,1,1,1,1,1,1,2]"), data: [UInt8](repeating: 0, count: 8)), "w: a shape of rank 9, more than 8"),
      (file([Sample(name: name, shape: [1], data: bytes(1))]), "a tensor's name of 1025 bytes, more than 1024"),
      (file("{\(many)}"), "100001 tensors, more than 100000"),
    ] {
      let error = refusal(of: bytes)
      #expect(error?.status == .unsupported && error?.message.contains(reason) == true)
    }
    #expect(refusal(of: file([Sample(name: String(name.dropLast()), shape: [1, 1, 1, 1, 1, 1, 1, 1], data: bytes(1))])) == nil)
  }

  @Test(
    "every element type of the format is read with its size",
    arguments: [
      (8, ["F64", "I64", "U64"]), (4, ["F32", "I32", "U32"]), (2, ["F16", "BF16", "I16", "U16"]),
      (1, ["I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"]),
    ])
  func elementTypes(size: Int, dtypes: [String]) throws {
    let samples = dtypes.map { Sample(name: $0, dtype: $0, shape: [3], data: [UInt8](repeating: 0, count: 3 * size)) }
    try reading(file(samples)) { tensors in
      for dtype in dtypes { #expect(tensors.find(dtype)?.byteCount == 3 * size) }
    }
  }

  @Test("truncation at every byte is malformed")
  func truncation() throws {
    #expect(refusal(of: small) == nil)
    for count in 1..<small.count { #expect(refusal(of: Array(small[..<count]))?.status == .malformed, "\(count) bytes") }
  }

  @Test("any bit of the header flipped ends in a collection inside the file or in a status")
  func corruption() throws {
    let headerEnd = 8 + Int(small[0]) + Int(small[1]) << 8
    for index in 0..<headerEnd {
      for bit in 0..<8 {
        var flipped = small
        flipped[index] ^= 1 << bit
        let outcome = refusal { try reading(flipped) { tensors in #expect(tensors.tensors.reduce(0) { $0 + $1.byteCount } == 26) } }
        #expect(outcome == nil || outcome?.status == .malformed || outcome?.status == .unsupported)
      }
    }
  }
}

// MARK: - Shards

@Suite("Sharded safetensors")
final class ShardedSafetensorsTests {
  private let directory = NSTemporaryDirectory() + "ditq-shards-" + UUID().uuidString

  init() throws { try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: directory) }

  private func write(_ name: String, _ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/\(name)")) }
  private func write(index: String) throws { try write("m.safetensors.index.json", Array(index.utf8)) }

  /// One tensor of one number in each file.
  private func writeShards() throws {
    try write("one.safetensors", file([Sample(name: "a", shape: [1], data: bytes(1)), Sample(name: "c", shape: [1], data: bytes(3))]))
    try write("two.safetensors", file([Sample(name: "b", shape: [1], data: bytes(2))], metadata: "{\"k\":\"v\"}"))
  }

  private var refused: DitqError? { refusal { try openTensors(directory: directory, stem: "m", .system) } }

  @Test("an index is read before the file beside it, as diffusers does, and that before a pickle")
  func candidates() throws {
    for (name, contents) in [("m.bin", [1]), ("m.safetensors", small)] { try write(name, contents) }
    #expect(try openTensors(directory: directory, stem: "m", .system).tensors.tensors.count == 5)
    try write(index: "nonsense")
    #expect(refused?.status == .malformed, "not passed over for the file")
  }

  @Test("the shards of an index become one collection that keeps them open")
  func shards() throws {
    try writeShards()
    try write(index: #"{"metadata":{"total_size":12},"weight_map":{"c":"one.safetensors","b":"two.safetensors","a":"one.safetensors"}}"#)
    let tensors = try openTensors(directory: directory, stem: "m", .system).tensors
    #expect(tensors.tensors.map { $0.name } == ["a", "b", "c"])
    #expect(tensors.tensors.map { $0.start.loadUnaligned(as: Float.self) } == [1, 2, 3])
    #expect(tensors.metadata.map { $0.value } == ["v"])
  }

  @Test(
    "an index that does not fit its shards is refused",
    arguments: [
      (#"{"a":"two.safetensors","b":"two.safetensors","c":"one.safetensors"}"#, Status.malformed, "a: in one.safetensors"),
      (#"{"a":"one.safetensors","b":"two.safetensors"}"#, .malformed, "c: in one.safetensors, where the index does not place it"),
      (#"{"d":"two.safetensors","b":"two.safetensors"}"#, .malformed, "d: not in two.safetensors, where the index places it"),
      (#"{"a":"../one.safetensors"}"#, .malformed, "a: the plain name of a .safetensors file expected, \"../one.safetensors\" found"),
      (#"{"a":".."}"#, .malformed, "\"..\" found"), (#"{"a":"one.bin"}"#, .malformed, "\"one.bin\" found"),
      (#"{"a":"one\u0000.safetensors"}"#, .malformed, "plain name"),
      (#"{"a":1}"#, .malformed, "a: the name of a shard expected, a number found"),
      (#"{"a":"three.safetensors"}"#, .notFound, "three.safetensors: cannot open"), ("[]", .malformed, "\"weight_map\" expected"),
      (#"{"a":"empty.safetensors"}"#, .malformed, "empty.safetensors: the file is empty"), ("{", .malformed, "JSON at byte"),
    ])
  func misfits(map: String, status: Status, reason: String) throws {
    try writeShards()
    try write("empty.safetensors", [])
    try write(index: "{\"weight_map\":\(map)}")
    let error = try #require(refused)
    #expect(error.message.hasPrefix("\(directory)/m.safetensors.index.json: ") && error.message.contains(reason), "\(error.message)")
    #expect(error.status == status)
  }

  @Test("a tensor in two shards is refused")
  func twice() throws {
    try writeShards()
    try write("two.safetensors", file([Sample(name: "a", shape: [1], data: bytes(2)), Sample(name: "b", shape: [1], data: bytes(2))]))
    try write(index: #"{"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"one.safetensors"}}"#)
    #expect(refused?.status == .malformed && refused?.message.contains("a: in two.safetensors, where the index does not place it") == true)
  }

  @Test("collections that share a name do not merge")
  func merging() throws {
    try reading(small) { tensors in
      let error = refusal { try TensorCollection(merging: [tensors, tensors]) }
      #expect(error?.status == .malformed && error?.message == "a: two tensors of this name")
    }
  }

  @Test("a directory without tensors is not found, one with a bare pickle is unsupported")
  func nothing() throws {
    #expect(refused?.status == .notFound)
    #expect(refused?.message == "\(directory): neither m.safetensors nor m.bin found, nor an index of either")
    try write("m.bin", [0x80, 2, 0x7d, 0x71, 0, 0x28, 0x58, 3, 0, 0])
    #expect(refused?.status == .unsupported && refused?.message.contains("m.bin: a zip file expected, a bare pickle found") == true)
  }
}
