// Checkpoints of torch.save: tensors at any strides, which dict is taken, what the machine refuses, truncation and corruption. The files
// are made by TorchFiles.swift.

import Testing

@testable import DitqCore

private typealias Op = Opcodes

private func floats(_ tensors: TensorCollection, _ name: String) throws -> [Float] { try tensors.floats(name) }

@Suite("Torch checkpoints")
struct TorchCheckpointTests {
  @Test("contiguous tensors are used in place, others copied in row-major order")
  func strides() throws {
    let file = checkpoint(
      Op.saved(
        ("whole", Op.tensor([3, 4], strides: [4, 1])), ("turned", Op.tensor([4, 3], strides: [1, 4])),
        ("part", Op.tensor(offset: 5, [2, 2], strides: [4, 2])), ("ones", Op.tensor(offset: 2, [1, 3, 1], strides: [Int.max, 1, 77])),
        ("scalar", Op.tensor(offset: 11, [], strides: [])),
        ("none", Op.tensor(offset: 12, [0, 1 << 40, 1 << 40], strides: [1, 1 << 40, 1])),
        ("same", Op.tensor([2, 3], strides: [0, 1]))))
    try reading(file) { (tensors, source) throws in
      #expect(source == "torch checkpoint" && tensors.tensors.count == 7)
      #expect(try floats(tensors, "whole") == (0..<12).map { Float($0) } && tensors.require("whole", shape: [3, 4]).byteCount == 48)
      #expect(try floats(tensors, "turned") == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
      #expect(try floats(tensors, "part") == [5, 7, 9, 11] && floats(tensors, "ones") == [2, 3, 4] && floats(tensors, "scalar") == [11])
      #expect(try floats(tensors, "none") == [] && floats(tensors, "same") == [0, 1, 2, 0, 1, 2])
      #expect(try tensors.require("scalar", shape: []).start == tensors.require("whole", shape: [3, 4]).start + 44, "in place")
    }
  }

  @Test(
    "storages have the types of torch",
    arguments: [
      ("HalfStorage", "F16", 2), ("BFloat16Storage", "BF16", 2), ("DoubleStorage", "F64", 8), ("LongStorage", "I64", 8),
      ("IntStorage", "I32", 4), ("ShortStorage", "I16", 2), ("CharStorage", "I8", 1), ("ByteStorage", "U8", 1), ("BoolStorage", "BOOL", 1),
    ])
  func types(storage: String, dtype: String, size: Int) throws {
    func saved(_ count: Int) -> [UInt8] { Op.saved(("a", Op.tensor(in: Op.storage(storage, count: count), [count], strides: [1]))) }
    try reading(checkpoint(saved(48 / size))) { tensors, _ in
      #expect(tensors.find("a")?.dtype == dtype && tensors.find("a")?.byteCount == 48)
    }
    #expect(refusal(ofCheckpoint: saved(48 / size + 1))?.message.contains("storage \"0\": 48 bytes found, too few for") == true)
  }

  @Test("the older and the newer way to rebuild a tensor, and a parameter")
  func rebuilding() throws {
    let untyped =
      Op.tuple(
        Op.text("storage"), Op.global("torch.storage", "UntypedStorage"), Op.text("0"), Op.text("cpu"), Op.integer(48)) + Op.persistent
    let old = Op.global("torch._utils", "_rebuild_tensor") + Op.tuple(Op.storage(), Op.integer(3), Op.tuple([2]), Op.tuple([1])) + Op.reduce
    let parameter = Op.global("torch._utils", "_rebuild_parameter") + Op.tuple(old, [0x88], Op.none) + Op.reduce
    let new = Op.tensor(in: untyped, offset: 7, [2], strides: [1], by: "_rebuild_tensor_v3", Op.global("torch", "float32"))
    try reading(checkpoint(Op.saved(("old", old), ("parameter", parameter), ("new", new)))) { (tensors, _) throws in
      #expect(try floats(tensors, "old") == [3, 4] && floats(tensors, "parameter") == [3, 4] && floats(tensors, "new") == [7, 8])
    }
  }

  @Test("the average goes before the model, and the model before what stands beside it")
  func choice() throws {
    func part(_ name: String) -> (String, [UInt8]) { (name, Op.dictionary([("in " + name, Op.tensor([1], strides: [1]))])) }
    let namespace = Op.global("argparse", "Namespace") + [0x29, 0x81] + Op.dictionary([("lr", [0x47] + littleEndian(UInt64(0)))]) + [0x62]
    let loose = ("loose", Op.tensor([1], strides: [1]))
    for (items, name) in [
      ([part("model"), part("ema"), loose], "in ema"), ([part("model"), ("ema", Op.dict), ("args", namespace)], "in model"),
      ([part("state_dict"), part("delta")], "in state_dict"), ([loose, part("delta"), ("epoch", Op.integer(3))], "loose"),
    ] {
      try reading(checkpoint(Op.dictionary(items) + Op.stop)) { (tensors, source) throws in
        #expect(tensors.tensors.map { $0.name } == [name] && source.hasPrefix("torch checkpoint"))
      }
    }
    #expect(refusal(ofCheckpoint: Op.saved(part("delta")))?.message.contains("no tensors found") == true)
  }

  @Test("the arguments of a training are kept where they are scalars, the last of a name first")
  func arguments() throws {
    let members: [(String, [UInt8])] = [
      ("model", Op.text("DiT-S/2")), ("num_classes", Op.integer(7)), ("big", Op.integer(1 << 60 + 1)), ("ckpt", Op.none), ("cfg", [0x88]),
      ("betas", Op.dict), ("num_classes", Op.integer(8)),
    ]
    let namespace = Op.global("argparse", "Namespace") + [0x29, 0x81] + Op.dictionary(members) + [0x62]
    for args in [namespace, Op.dictionary(members)] {
      let opcodes = Op.dictionary([("a", Op.tensor([1], strides: [1])), ("args", args)]) + Op.stop
      let found = try withCopy(of: checkpoint(opcodes)) {
        try readTorchCheckpoint(Bytes(borrowing: $0.baseAddress!, count: $0.count), named: "m.pt", .system).arguments
      }
      #expect(found?.members?.count == 5)
      #expect(found?.member("model")?.string == "DiT-S/2" && found?.member("num_classes")?.integer == 8)
      #expect(found?.member("ckpt")?.isNull == true && found?.member("cfg")?.bool == true)
    }
    try reading(checkpoint(Op.saved(("a", Op.tensor([1], strides: [1]))))) { _, source in #expect(source == "torch checkpoint") }
  }

  @Test("an object is refused by its class, whatever opcodes it was made with, and nothing is made of names alone")
  func names() {
    let empty: [UInt8] = [0x29], mark = Op.mark
    for (module, name) in [
      ("os", "system"), ("builtins", "eval"), ("torch", "load"), ("torch", "Float"), ("", ""), ("torch.", "FloatStorage"),
    ] {
      let lines = Array("\(module)\n\(name)\n".utf8), named = Op.global(module, name), stacked = Op.text(module) + Op.text(name) + [0x93]
      for opcodes in [
        named + empty + Op.reduce, stacked + empty + Op.reduce, named + empty + [0x81], stacked + empty + Op.dict + [0x92],
        mark + [0x69] + lines, mark + named + [0x6f], mark + named + Op.none + [0x6f],
      ] {
        let error = refusal(ofCheckpoint: opcodes + Op.stop)
        #expect(error?.status == .unsupported && error?.message.contains("an object of \(module).\(name) found: nothing is") == true)
      }
      #expect(refusal(ofCheckpoint: named + Op.stop)?.message.contains("a dict of tensors expected, a name found") == true)
    }
  }

  @Test("the opcodes of protocol 0, which are lines of text")
  func lines() throws {
    func line(_ text: String) -> [UInt8] { Array("\(text)\n".utf8) }
    let storage =
      line("(S'storage'") + Op.global("torch", "FloatStorage") + line("V0") + line("S\"cpu\"") + line("I12") + [0x74] + line("p7")
      + Op.persistent
    let tensor =
      Op.global("torch._utils", "_rebuild_tensor_v2") + Op.mark + storage + line("L5L") + line("(I2") + line("L2L") + [0x74]
      + line("(I4") + line("I2") + [0x74] + line("I00") + Op.none + [0x74, 0x52]
    let others =
      line("Vescaped \\u00e9") + line("(I1") + line("F-1.5e-07") + line("Finf") + line("L-123456789012345678901234567890L") + [0x6c, 0x73]
      + line("S'again'") + line("g7") + [0x73] + line("Vid") + line("Pan id") + [0x73]
    try reading(checkpoint(line("(Va") + tensor + [0x64] + others + Op.stop)) { (tensors, _) throws in
      #expect(try floats(tensors, "a") == [5, 7, 9, 11] && tensors.tensors.count == 1)
    }
  }

  @Test("sets, bytes, buffers and extensions are values like others")
  func containers() throws {
    let set: [UInt8] = [0x8f, 0x28, 0x4b, 1, 0x90], frozen: [UInt8] = [0x28, 0x4b, 1, 0x91],
      bytes: [UInt8] = [0x96, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    let coded: [UInt8] = [0x83, 1, 2, 0x29, 0x52], latin: [UInt8] = [0x55, 1, 0xe9], long: [UInt8] = [0x54, 1, 0, 0, 0, 0x61]
    let list = Op.global("a", "B") + [0x29, 0x81, 0x28, 0x4b, 1, 0x65],
      items = Op.global("a", "C") + [0x29, 0x81] + Op.text("k") + [0x4e, 0x73]
    let file = checkpoint(
      Op.saved(
        ("set", set), ("frozen", frozen), ("bytes", bytes), ("coded", coded), ("latin", latin), ("long", long), ("list", list),
        ("items", items),
        ("a", Op.tensor([1], strides: [1]))))
    try reading(file) { (tensors, _) throws in #expect(tensors.tensors.map { $0.name } == ["a"]) }
  }

  @Test("a tensor that leaves its storage is refused")
  func outside() {
    let cases: [(Int, [Int], [Int])] = [
      (0, [13], [1]), (1, [12], [1]), (13, [0], [1]), (.max, [1], [1]), (0, [2, 2], [.max, .max]), (0, [1 << 32, 1 << 32], [0, 0]),
      (-1, [1], [1]),
      (11, [2], [-1]), (0, [-1], [1]), (0, [2], [1, 1]), (0, [2, 2], [1]), (.max, [2], [1]), (0, [3, 3], [5, 1]), (0, [.max], [.max]),
    ]
    for (offset, shape, strides) in cases {
      let error = refusal(ofCheckpoint: Op.saved(("a", Op.tensor(offset: offset, shape, strides: strides))))
      #expect(error?.status == .malformed && error?.message.hasPrefix("m.pt: data.pkl: a: ") == true, "\(offset) \(shape) \(strides)")
    }
    let error = refusal(ofCheckpoint: Op.saved(("a", Op.tensor([1 << 40], strides: [0]))))
    #expect(error?.status == .unsupported && error?.message.contains("a: shape [1099511627776]: expanded") == true)
  }

  @Test("counts are believed only as far as there are bytes and opcodes")
  func counts() {
    let most = [UInt8](repeating: 0xff, count: 8)
    for opcodes in [
      [0x58] + most, [0x8d] + most, [0x8e] + most, [0x8b] + most, [0x95] + most, [0x96] + most, [0x42] + most, [0x7d, 0x72] + most,
      [0x6a] + most,
      [0x63] + most, [UInt8](repeating: 0x28, count: 999), [0x2e], [0x28, 0x2e], [0x7d, 0x75], [0x85], [0x52], [0x62], [0x51], [0x94], [],
    ] as [[UInt8]] {
      #expect(refusal(ofCheckpoint: opcodes)?.status == .malformed, "\(opcodes.prefix(4))")
    }
    #expect(refusal(ofCheckpoint: [UInt8](repeating: 0x28, count: 1001))?.message.contains("nested deeper than 1000") == true)
    let many = [UInt8](repeating: 0x4e, count: Limit.pickleOpcodes + 1)
    #expect(refusal(ofCheckpoint: many)?.message.contains("more than \(Limit.pickleOpcodes) opcodes") == true)
  }

  @Test("values in each other, however deep or in a circle, cost nothing")
  func nesting() {
    let deep = [0x29] + [UInt8](repeating: 0x85, count: 1_000_000) + Op.stop
    #expect(refusal(ofCheckpoint: deep)?.message.contains("a dict of tensors expected, a tuple found") == true)
    let circle = Op.dict + [0x71, 0] + Op.text("ema") + [0x68, 0] + Op.setItem + Op.stop
    #expect(refusal(ofCheckpoint: circle)?.message.contains("no tensors found") == true)
  }

  @Test("big-endian numbers and bare pickles are refused, and files that do not say are little-endian")
  func formats() {
    let opcodes = Op.saved(("a", Op.tensor([1], strides: [1])))
    #expect(thrown { try reading(checkpoint(opcodes, order: nil)) { tensors, _ in tensors.tensors.count } } == nil)
    #expect(
      thrown { try reading(checkpoint(opcodes, order: "big")) { tensors, _ in tensors.tensors.count } }?.message
        == "m.pt: byteorder: \"little\" expected, \"big\" found")
    #expect(
      thrown { try reading([0x80, 2] + opcodes) { tensors, _ in tensors.tensors.count } }?.message.contains("a bare pickle found") == true)
    #expect(!withCopy(of: [0x80, 2, 0, 0, 0, 0, 0, 0, 0x7b]) { isTorchFile($0) }, "the header of a safetensors file may have 640 bytes")
  }

  @Test("truncation at every byte is malformed, and any bit flipped ends in a collection or a status")
  func damage() {
    let file = checkpoint(
      Op.saved(("ema", Op.dictionary([("a", Op.tensor([4, 3], strides: [1, 4])), ("b", Op.tensor([2], strides: [1]))]))))
    for count in 1..<file.count {
      #expect(thrown { try reading(Array(file[..<count])) { tensors, _ in tensors.tensors.count } }?.status == .malformed, "\(count) bytes")
    }
    for index in file.indices {
      for bit in 0..<8 {
        var flipped = file
        flipped[index] ^= 1 << bit
        let status = thrown { try reading(flipped) { tensors, _ in tensors.tensors.count } }?.status
        #expect(status == nil || status == .malformed || status == .unsupported)
      }
    }
  }
}
