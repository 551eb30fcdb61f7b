// Opening a checkpoint in the official layout: sizes from tensors, what the metadata adds, what is refused. The checkpoints are made of one
// piece of zeros that all their tensors share, so that even the largest public width costs no time.

import Foundation
import Testing

@testable import DitqCore

/// The tensors of an official checkpoint, all zeros.
private struct Checkpoint {
  var hidden = 384, depth = 2, patch = 2, channels = 4, grid = 3, mlp = 20, classes = 10
  var outputChannels = 8
  var record: String?
  var beside: String?
  var arguments: String?
  var removed: [String] = []
  var added: [(name: String, shape: [Int])] = []

  private var shapes: [(name: String, shape: [Int])] {
    var linears = [
      ("t_embedder.mlp.0", hidden, 256), ("t_embedder.mlp.2", hidden, hidden), ("final_layer.adaLN_modulation.1", 2 * hidden, hidden),
      ("final_layer.linear", outputChannels * patch * patch, hidden),
    ]
    for block in 0..<depth {
      let name = "blocks.\(block)."
      linears += [
        (name + "adaLN_modulation.1", 6 * hidden, hidden), (name + "attn.qkv", 3 * hidden, hidden), (name + "attn.proj", hidden, hidden),
        (name + "mlp.fc1", mlp, hidden), (name + "mlp.fc2", hidden, mlp),
      ]
    }
    return linears.flatMap { [($0.0 + ".weight", [$0.1, $0.2]), ($0.0 + ".bias", [$0.1])] } + [
      ("x_embedder.proj.weight", [hidden, channels, patch, patch]), ("x_embedder.proj.bias", [hidden]),
      ("pos_embed", [1, grid * grid, hidden]),
      ("y_embedder.embedding_table.weight", [classes + 1, hidden]),
    ]
  }

  func open(_ options: OpenOptions = OpenOptions()) throws -> DiTConfig { try opened(options) { $0.config } }

  func opened<R>(_ options: OpenOptions = OpenOptions(), _ use: (Model) throws -> R) throws -> R {
    let all = shapes.filter { shape in !removed.contains { $0 == shape.name } } + added
    let most = all.map { 4 * $0.shape.reduce(1, *) }.max()!
    let zeros = UnsafeMutableRawPointer.allocate(byteCount: most, alignment: 64)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0, count: most)
    let tensors = all.map { name, shape in
      let count = shape.reduce(1, *)
      return Tensor(name: name, dtype: "F32", shape: shape, start: zeros, byteCount: 4 * count, elementCount: count)
    }
    let collection = try TensorCollection(tensors, metadata: record.map { [("ditq.config", $0)] } ?? [], in: [])
    let file = CheckpointFile(
      tensors: collection, source: "zeros", arguments: try arguments.map { try Settings(text: $0, named: "args").json })
    return try use(
      openOfficialCheckpoint(file, beside: try beside.map { try Settings(text: $0, named: "x.ditq.json") }, options))
  }
}

private func given(_ json: String) -> OpenOptions {
  var options = OpenOptions()
  options.configJSON = json
  return options
}

private func heads(_ count: Int) -> OpenOptions {
  var options = OpenOptions()
  options.headCount = count
  return options
}

@Suite("Official checkpoints")
struct OfficialCheckpointTests {
  @Test("sizes follow from the tensors")
  func sizes() throws {
    let config = try Checkpoint(hidden: 192, depth: 3, patch: 4, channels: 5, grid: 6, mlp: 77, classes: 13, outputChannels: 10).open(
      heads(3))
    #expect(config.hiddenSize == 192 && config.depth == 3 && config.patchSize == 4 && config.channels == 5 && config.outputChannels == 10)
    #expect(config.latentSize == 24 && config.tokenCount == 36 && config.mlpSize == 77 && config.classCount == 13 && config.headCount == 3)
    #expect(config.compatibility == .official && config.secondNormEpsilon == 1e-6 && !config.isPixelSpace)
    #expect(try Checkpoint(outputChannels: 4).open().outputChannels == 4, "without learned variance")
  }

  @Test("eleven blocks are eleven, though their names are sorted otherwise")
  func manyBlocks() throws { #expect(try Checkpoint(hidden: 64, depth: 11).open(heads(1)).depth == 11) }

  @Test(
    "the public widths have the heads of the public models, which is said to be taken",
    arguments: [(384, 6), (768, 12), (1024, 16), (1152, 16)])
  func headCounts(hidden: Int, expected: Int) throws {
    try Checkpoint(hidden: hidden, depth: 1, grid: 1).opened { model in
      #expect(model.config.headCount == expected && model.assumed.contains { $0 == "head_count" })
    }
  }

  @Test(
    "of other widths the heads have to be given: a guess is wrong without a word",
    arguments: [
      (64, "1 (64 each), 2 (32 each), 4 (16 each), 8 (8 each)"), (144, "1 (144 each), 2 (72 each), 3 (48 each)"), (512, "8 (64 each)"),
    ])
  func unknownHeads(hidden: Int, divisors: String) throws {
    let error = thrown { try Checkpoint(hidden: hidden, depth: 1, grid: 1).open() }
    #expect(error?.status == .invalidArgument && error?.message.contains("the hidden size \(hidden) is none of") == true)
    #expect(error?.message.contains(divisors) == true, "\(error?.message ?? "")")
    #expect(try Checkpoint(hidden: hidden, depth: 1, grid: 1).open(heads(4)).headCount == 4)
  }

  @Test("what the host says of heads goes before the file, and the file before the table")
  func headPrecedence() throws {
    #expect(try Checkpoint(record: "{\"head_count\": 8}").open().headCount == 8)
    #expect(try Checkpoint(record: "{\"head_count\": 8}").open(heads(4)).headCount == 4)
    #expect(try Checkpoint(hidden: 144).open(heads(2)).headSize == 72)
    let error = thrown { try Checkpoint(hidden: 144).open() }
    #expect(error?.status == .invalidArgument && error?.message.hasPrefix("head_count: the file does not say it") == true)
    #expect(thrown { try Checkpoint().open(heads(5)) }?.message == "head_count: a divisor of the hidden size 384 expected, 5 found")
  }

  @Test("one and three channels are pixels, unless the file says otherwise")
  func pixelSpace() throws {
    #expect(try Checkpoint(channels: 3, outputChannels: 6).open().isPixelSpace)
    #expect(try Checkpoint(channels: 1, outputChannels: 1).open().isPixelSpace)
    #expect(try Checkpoint().open().isPixelSpace == false)
    #expect(try Checkpoint(channels: 3, outputChannels: 6, record: "{\"pixel_space\": false}").open().isPixelSpace == false)
    #expect(thrown { try Checkpoint(record: "{\"pixel_space\": true}").open() }?.status == .unsupported)
  }

  @Test("compatibility is the host's, else the file's, else the layout's; it brings the epsilon of the second norm")
  func compatibility() throws {
    let recorded = Checkpoint(record: "{\"compatibility\": \"diffusers\"}")
    #expect(try recorded.open().compatibility == .diffusers && recorded.open().secondNormEpsilon == 1e-5)
    var options = OpenOptions()
    options.compatibility = .official
    #expect(try recorded.open(options).compatibility == .official && recorded.open(options).secondNormEpsilon == 1e-6)
    #expect(thrown { try Checkpoint(record: "{\"compatibility\": \"other\"}").open() }?.status == .unsupported)
  }

  @Test("names and the sampler's settings are read, and notes for people are passed over")
  func record() throws {
    let text = """
      {"class_names": ["apple", "pear"], "steps": 20, "guidance_scale": 2.5, "sampler": "ddim", "learned_variance": true,
      "license": {"text": "any"}}
      """
    try Checkpoint(record: text).opened { model in
      #expect(model.classNames[1] == "pear" && model.classNames.count == 2)
      #expect(model.sampling.steps == 20 && model.sampling.guidanceScale == 2.5 && model.sampling.trainSteps == 1000)
      #expect(model.imageSize == nil && model.imageCount == nil && !model.hasDecoder)
    }
  }

  @Test(
    "a record that is wrong is refused by its field",
    arguments: [
      ("[]", "an object expected"), ("{", "JSON"), ("{\"head_count\": 0}", "head_count"), ("{\"head_count\": 1.5}", "head_count"),
      ("{\"class_names\": \"apple\"}", "class_names"), ("{\"class_names\": [1]}", "class_names"), ("{\"steps\": 1001}", "steps"),
      ("{\"guidance_scale\": \"4\"}", "guidance_scale"), ("{\"pixel_space\": 1}", "pixel_space"), ("{\"sampler\": \"euler\"}", "sampler"),
      ("{\"learned_variance\": false}", "learned_variance"),
    ])
  func wrongRecord(record: String, subject: String) {
    let error = thrown { try Checkpoint(record: record).open() }
    #expect(error?.message.hasPrefix("ditq.config: ") == true && error?.message.contains(subject) == true, "\(error?.message ?? "nothing")")
  }

  @Test(
    "a file without one of its tensors is refused by that tensor's name",
    arguments: [
      "pos_embed", "x_embedder.proj.weight", "x_embedder.proj.bias", "y_embedder.embedding_table.weight", "final_layer.linear.weight",
      "final_layer.adaLN_modulation.1.bias", "t_embedder.mlp.0.weight", "blocks.0.mlp.fc1.weight", "blocks.1.attn.qkv.weight",
      "blocks.1.adaLN_modulation.1.bias",
    ])
  func missing(name: String) {
    let error = thrown { try Checkpoint(removed: [name]).open() }
    #expect(error?.status == .notFound && error?.message == "\(name): no such tensor")
  }

  @Test(
    "a tensor that this architecture does not have is refused",
    arguments: [
      "extra", "blocks.0.attn.q_norm.weight", "blocks.x.weight", "blocks.-1.weight", "x_embedder.proj.weight2",
    ])
  func unknown(name: String) {
    let error = thrown { try Checkpoint(added: [(name, [1])]).open() }
    #expect(error?.status == .unsupported && error?.message == "\(name): a tensor that this architecture does not have")
  }

  /// In a process of its own: a trap would end all tests.
  @Test("a name that ends where a block's number should stand is refused like any other")
  func emptyBlockNumber() async {
    await #expect(processExitsWith: .success) {
      for name in ["blocks.", "blocks..", "blocks...weight"] {
        guard thrown(by: { try Checkpoint(added: [(name, [1])]).open() })?.status == .unsupported else { exit(EXIT_FAILURE) }
      }
    }
  }

  @Test(
    "sizes that disagree are refused with what was expected and found",
    arguments: [
      ("blocks.1.mlp.fc2.weight", [384, 21], "[384, 20] expected, [384, 21] found"),
      ("blocks.0.attn.qkv.weight", [384, 384], "[1152, 384] expected, [384, 384] found"),
      ("x_embedder.proj.weight", [384, 4, 2, 3], "[384, 4, 2, 2] expected, [384, 4, 2, 3] found"),
      ("t_embedder.mlp.0.weight", [384, 255], "[384, 256] expected, [384, 255] found"),
      ("final_layer.linear.bias", [33], "[32] expected, [33] found"),
    ])
  func disagreeing(name: String, shape: [Int], message: String) {
    let error = thrown { try Checkpoint(removed: [name], added: [(name, shape)]).open() }
    #expect(error?.status == .malformed && error?.message == "\(name): shape \(message)")
  }

  @Test("a number of tokens that is no square is refused", arguments: [0, 2, 8, 10])
  func squares(tokens: Int) {
    let error = thrown { try Checkpoint(removed: ["pos_embed"], added: [("pos_embed", [1, tokens, 384])]).open() }
    #expect(
      error?.status == .malformed && error?.message.hasPrefix("pos_embed: a square number of tokens expected, \(tokens) found") == true)
  }
}

@Suite("The official model")
struct OfficialModelTests {
  @Test("a call agrees with the official code, and is the same to the bit for every set, number of threads and batch limit")
  func forward() throws {
    let golden = try Fixture.tensors("official-a/golden.safetensors"), model = try Fixture.officialModel()
    let (x, t, labels) = (try golden.floats("forward.x"), try golden.floats("forward.t"), try golden.integers("forward.y"))
    let expected = try golden.floats("forward.out")
    var first: [Float]?
    for set in setsOfThisCPU() {
      for (threads, batchLimit) in [(1, 1), (2, 1), (3, 2)] {
        var options = SessionOptions()
        (options.isaLimit, options.threads, options.batchLimit) = (set.number, threads, batchLimit)
        let session = try Session(model, options), output = Buffer(count: expected.count)
        try session.predict(x: x, timesteps: t, labels: labels, output: output)
        #expect(output.isIntact)
        // 2e-5: float sums of a few hundred terms in another order, over three blocks.
        #expect(distance(output.values, expected) <= 2e-5, "\(set.name), \(threads) threads")
        if let first { #expect(same(output.values, first), "\(set.name), \(threads) threads") } else { first = output.values }
      }
    }
  }

  @Test("it is counted and described as what it is")
  func description() throws {
    let model = try Fixture.officialModel(), tensors = try Fixture.tensors("official-a/model.safetensors").tensors
    #expect(model.parameterCount == tensors.reduce(0) { $0 + $1.elementCount })
    #expect(model.config.hiddenSize == 144 && model.config.depth == 3 && model.config.headCount == 2 && model.config.classCount == 10)
  }
}
