// ditq bench decode: latents to an image by the VAE decoder, against the peak of the instruction that its arithmetic is held against.
//
// Method: that of bench step. A model of random weights, the public decoder beside a transformer as small as can be, is written, and quantized
// where asked, by this process, and measured by a fresh one; decodes and slices of the peak alternate.

import ArgumentParser
import CDitq
import CPeak

struct BenchDecode: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode", abstract: "Measure the VAE decoder, of random weights or of a model, against the peak.",
    discussion: """
      GMAC/s count every multiply-accumulate of the decoder as it is defined, and are held against the peak of the float instruction, or with \
      --decoder 8 of the integer one. Memory beyond weights is the process's peak of resident memory less what was there before opening and \
      less the weights.

      Examples:
        ditq bench decode --size 256 --threads 2
        ditq bench decode --size 512 --decoder 8 --json
        ditq bench decode --model xl.ditq
      """)

  @Option(help: "Height and width of the image: a multiple of 16 from 64 to 2048.") var size = 256
  @Option(help: "Bits of the decoder's weights; 32 = float.") var decoder: ActivationBits?
  @Option(help: ArgumentHelp("Measure this model's decoder instead of one of random weights.", valueName: "path")) var model: String?
  @Option(help: "Seed of the weights.") var seed: UInt64 = 0
  @Option(help: "Images to decode.") var images = 7
  @Option(help: "Threads, for both sides, 0 = every core.") var threads: Int32 = 0
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard (64...2048).contains(size), size % 16 == 0 else {
      throw ValidationError("--size: a multiple of 16 from 64 to 2048 expected, \(size) found.")
    }
    guard model == nil || decoder == nil else { throw ValidationError("--decoder: not with --model, which is measured as it is.") }
    if !(1...1000).contains(images) { throw ValidationError("--images: 1 to 1000 expected, \(images) found.") }
  }

  func run() throws {
    let answer = try model.map { try DecodeMeasurement(path: $0, images: images, threads: threads).json } ?? ofRandomModel()
    print(json ? answer.line : text(answer))
  }

  private func ofRandomModel() throws -> JSON {
    let folder = try TemporaryFolder()
    let source = folder.path + "/model", file = folder.path + "/model.ditq"
    let layout = DiffusersLayout(
      shape: DiTShape(depth: 1, hidden: 64, heads: 1, patch: 2), decoderShape: .published, latentSize: size / DecoderShape.upscaling)
    _ = try RandomModel(layout, seed: seed).write(to: source)
    if decoder == .eight {
      var options = ditq_quantize_options()
      ditq_quantize_options_init(&options)
      (options.weight_method, options.threads) = (WeightMethod.round.number, threads)
      try Model(quantizing: Model(path: source), options, rules: [try LayerRule.decoder]).save(to: file)
    }
    let arguments = ["--model", decoder == .eight ? file : source, "--images", "\(images)", "--threads", "\(threads)", "--json"]
    let text = try OwnProcess.output(of: ["bench", "decode"] + arguments)
    withExtendedLifetime(folder) {}
    return .object([("seed", JSON(seed))] + (try JSON(reading: text)).members)
  }

  private func text(_ answer: JSON) -> String {
    func number(_ name: String) -> Double { answer[name]?.double ?? 0 }
    func word(_ name: String) -> String { answer[name].map { $0.string ?? $0.line } ?? "" }
    func milliseconds(_ name: String) -> String { "\(fixed(number(name) * 1e3, digits: 1)) ms" }
    func bytes(_ name: String) -> String { megabytes(number(name)) }
    return aligned([
      ["image", "\(word("height")) × \(word("width")), \(fixed(number("gmac"), digits: 1)) GMAC"],
      ["decoder", "\(word("decoder_bits")) bits, \(bytes("weights_size")) of weights with the transformer's"],
      ["threads", word("threads")], ["instruction set", word("instruction_set")],
      ["decode", "\(milliseconds("decode_seconds")) median, \(milliseconds("decode_seconds_best")) best of \(word("images"))"],
      ["ditq", "\(fixed(number("gmacs"), digits: 1)) GMAC/s median, \(fixed(number("gmacs_best"), digits: 1)) best"],
      ["peak", "\(fixed(number("peak_gmacs"), digits: 1)) GMAC/s median: \(word("instruction"))"],
      ["ratio", "\(fixed(number("ratio"), digits: 3)) of peak, median / median"],
      ["memory", "\(bytes("beyond_weights")) beyond the weights, \(bytes("session_memory")) of it the session's"],
    ])
  }
}

/// Opens a model, decodes in turn with slices of the peak, and reads what memory the process came to.
private struct DecodeMeasurement {
  let json: JSON

  init(path: String, images: Int, threads: Int32) throws {
    let before = OwnProcess.memory("VmRSS")
    let model = try Model(path: path), info = model.info
    let description = try JSON(reading: try model.json())
    guard let decoder = description["decoder"], let macs = decoder["macs"]?.double else {
      throw LibraryError(status: ditq_status(DITQ_UNSUPPORTED), message: "\(path): a model with a decoder expected")
    }
    let isInteger = (decoder["layers"]?.members ?? []).contains { $0.value["weights"]?.string == "W8A8" }
    let session = try Session(model, threads: threads, batchLimit: 1), described = try JSON(reading: try session.json())
    let peakOfSet = Peak(
      instructionSet: described["isa"]?.whole() ?? 0, kind: Int32(isInteger ? PEAK_INTEGER : PEAK_FLOAT),
      threads: described["threads"]?.whole() ?? 1)
    var random = FixedRandom(seed: 3)
    let latents = random.numbers(Int(info.latent_channels * info.latent_height * info.latent_width))
    var values = [Float](repeating: 0, count: Int(info.image_channels * info.image_height * info.image_width))
    var decode = Rates(), peak = Rates()
    let clock = ContinuousClock()
    try session.decode(latents, count: 1, into: &values)
    _ = try peakOfSet.rate()
    for _ in 0..<images {
      peak.add(try peakOfSet.rate())
      let start = clock.now
      try session.decode(latents, count: 1, into: &values)
      decode.add(1 / max((clock.now - start).seconds, 1e-9))
    }
    guard values.allSatisfy(\.isFinite) else {
      throw LibraryError(status: ditq_status(DITQ_UNSUPPORTED), message: "\(path): an image of finite numbers expected, others found")
    }
    let resident = OwnProcess.memory("VmHWM"), weights = before + info.weights_size
    func gmacs(_ rate: Double) -> JSON { JSON(rate * 1e-9, digits: 3) }
    json = .object([
      ("height", JSON(info.image_height)), ("width", JSON(info.image_width)), ("decoder_bits", JSON(isInteger ? 8 : 32)),
      ("weights_size", JSON(info.weights_size)), ("threads", JSON(peakOfSet.threads)), ("instruction_set", .text(peakOfSet.setName)),
      ("images", JSON(images)), ("gmac", gmacs(macs)), ("decode_seconds", JSON(1 / decode.median, digits: 6)),
      ("decode_seconds_best", JSON(1 / decode.best, digits: 6)), ("gmacs", gmacs(macs * decode.median)),
      ("gmacs_best", gmacs(macs * decode.best)), ("peak_gmacs", gmacs(peak.median)), ("peak_gmacs_best", gmacs(peak.best)),
      ("ratio", JSON(macs * decode.median / peak.median, digits: 4)), ("instruction", .text(peakOfSet.instructionName)),
      ("session_memory", described["memory"] ?? .null), ("resident_before_open", JSON(before)), ("peak_resident", JSON(resident)),
      ("beyond_weights", JSON(resident > weights ? resident - weights : 0)), ("version", .text(String(cString: ditq_version()))),
    ])
  }
}

/// The option is named as the function that writes sizes.
private func megabytes(_ bytes: Double) -> String { size(bytes) }
