// ditq generate: pictures of classes as PNG files, with how they were made in their texts. Batches are generated one after another, and each
// picture is written as soon as it is there, so any number of them takes the memory of a few.

import ArgumentParser
import CDitq

struct GenerateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate", abstract: "Generate pictures of classes as PNG files.",
    discussion: """
      Several pictures go to FILE.png, FILE-1.png, FILE-2.png, …; classes are drawn in turn and seeds count up. The same model, class, seed \
      and settings give the same bytes everywhere.

      Examples:
        ditq generate emoji.safetensors --class "red apple" -o apple.png
        ditq generate emoji.ditq --class 3 --class tangerine --count 8 -o x.png
        ditq generate emoji.ditq --seed 100 --steps 20 --guidance 3 -o x.png --json
      """)

  @Argument(help: "A .ditq, safetensors or .pt file, or a diffusers directory.") var model: String
  @Option(
    name: .customLong("class"),
    help: ArgumentHelp("What to draw. Repeat it to draw several in turn. (default: 0)", valueName: "name|number")) var classes: [String] =
      []
  @Option(help: "Seed of the first picture; the others take the next numbers.") var seed: UInt64 = 7
  @Option(help: "Denoising steps.") var steps: Int32 = 50
  @Option(help: "Classifier-free guidance, 1 = none. (default: 4, or 1 where the model has no \"no class\")") var guidance: Double?
  @Option(help: "How to step; auto is as the model says.") var sampler = SamplerName.auto
  @Option(help: "Noise that ddim adds, 0 to 1.") var eta = 0.0
  @Option(help: "Pictures. (default: one for each class)") var count: Int?
  @Option(help: "Threads to work with, 0 = every core.") var threads: Int32 = 0
  @Option(name: .short, help: ArgumentHelp("Where the picture goes.", valueName: "file.png")) var output: String
  @OptionGroup var opening: OpenOptions
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard Output.isNamed(output, [".png"]) else {
      throw ValidationError("-o: a name that ends in .png expected, '\(output)' found: pictures are PNG files.")
    }
    if steps < 1 { throw ValidationError("--steps: 1 or more expected, \(steps) found.") }
    if let count, !(1...1_000_000).contains(count) { throw ValidationError("--count: 1 to 1000000 expected, \(count) found.") }
  }

  func run() throws {
    let names = NumberedFiles(first: output)
    try Output.check(output, sources: [model] + opening.sources)
    let opened = try opening.open(model)
    guard opened.info.image_height > 0 else {
      throw LibraryError(
        status: ditq_status(DITQ_UNSUPPORTED),
        message: "\(model): a model that makes pictures expected; this one makes latents and has no decoder")
    }
    let labels = try classes.isEmpty ? [0] : classes.map { try opened.label(of: $0) }
    let pictures = (0..<(count ?? labels.count)).map { index in
      Picture(file: names[index], label: labels[index % labels.count], seed: seed &+ UInt64(index))
    }
    for picture in pictures.dropFirst() { try Output.check(picture.file, sources: [model] + opening.sources) }
    let style = Style(steps: steps, guidance: try guidance ?? (opened.hasNullClass() ? 4 : 1), sampler: sampler, eta: eta)
    let studio = try Studio(opened, path: model, opening, style, threads: threads, pictures: pictures.count)
    let seconds = try studio.draw(pictures) { picture, seconds in
      if !json { print(shown(studio.line(picture, seconds: seconds))) }
    }
    if json { print(try studio.json(pictures, seconds: seconds).line) }
  }
}

/// apple.png, apple-1.png, apple-2.png, …
struct NumberedFiles {
  let first: String

  subscript(index: Int) -> String {
    guard index > 0 else { return first }
    let nameStart = first.lastIndex(of: "/").map { first.index(after: $0) } ?? first.startIndex
    guard let dot = first[nameStart...].lastIndex(of: "."), dot != nameStart else { return "\(first)-\(index)" }
    return "\(first[..<dot])-\(index)\(first[dot...])"
  }
}

private struct Picture {
  let file: String
  let label: Int32
  let seed: UInt64
}

/// A sampler by the library's name for it.
struct SamplerName: ExpressibleByArgument, Equatable, Sendable {
  let number: Int32
  let name: String

  static let all: [SamplerName] = sequence(first: 0) { $0 + 1 }.lazy.map { ($0, ditq_sampler_name($0)) }
    .prefix { $0.1 != nil }.compactMap { number, name in name.map { SamplerName(number: number, name: String(cString: $0)) } }
  static let auto = all[0]
  static var allValueStrings: [String] { all.map(\.name) }

  var defaultValueDescription: String { name }

  init?(argument: String) {
    guard let found = SamplerName.all.first(where: { $0.name == argument }) else { return nil }
    self = found
  }

  private init(number: Int32, name: String) { (self.number, self.name) = (number, name) }
}

/// How every picture is made.
private struct Style {
  let steps: Int32
  let guidance: Double
  let sampler: SamplerName
  let eta: Double
}

/// Generates and writes pictures of one model.
private struct Studio {
  private static let batchLimit = 8

  private let model: Model
  private let modelName: String
  /// What auto stands for, and whose numbers the model gives.
  private let sampler: String, compatibility: String
  private let session: Session
  private let style: Style
  private let openingTexts: [(String, String)]

  init(_ model: Model, path: String, _ opening: OpenOptions, _ style: Style, threads: Int32, pictures: Int) throws {
    (self.model, self.style, openingTexts) = (model, style, opening.texts)
    modelName = Output.name(of: path)
    let description = try JSON(reading: try model.json())
    sampler = style.sampler == .auto ? description["sampling"]?["sampler"]?.string ?? "" : style.sampler.name
    compatibility = description["compatibility"]?.string ?? ""
    session = try Session(model, threads: threads, batchLimit: min(pictures, Studio.batchLimit))
  }

  /// Tells `written` of each picture, with its share of its batch's time; the result is the time of all, without writing.
  func draw(_ pictures: [Picture], written: (Picture, Double) -> Void) throws -> Double {
    let batches = (pictures.count + Studio.batchLimit - 1) / Studio.batchLimit
    let progress = Progress(unitsInAll: batches * Int(style.steps))
    let pictureSize = Int(model.info.image_height) * Int(model.info.image_width) * Int(model.info.image_channels)
    var total = 0.0
    for batch in 0..<batches {
      let some = pictures[batch * Studio.batchLimit..<min(pictures.count, (batch + 1) * Studio.batchLimit)]
      var pixels = [UInt8](repeating: 0, count: some.count * pictureSize)
      let begin = progress.seconds
      try progress.during(unitsBefore: batch * Int(style.steps)) { callback, context in
        try session.generate(labels: some.map(\.label), seeds: some.map(\.seed), options(callback, context), into: &pixels)
      }
      let seconds = progress.seconds - begin
      total += seconds
      for (index, picture) in some.enumerated() {
        try write(picture, Array(pixels[index * pictureSize..<(index + 1) * pictureSize]))
        written(picture, seconds / Double(some.count))
      }
    }
    return total
  }

  private func options(_ callback: @escaping ditq_progress_callback, _ context: UnsafeMutableRawPointer) -> ditq_generate_options {
    var options = ditq_generate_options()
    ditq_generate_options_init(&options)
    (options.steps, options.guidance_scale) = (style.steps, style.guidance)
    (options.sampler, options.eta) = (style.sampler.number, style.eta)
    (options.progress, options.progress_context) = (callback, context)
    return options
  }

  /// The texts are those of gen_png: all that it takes to make the picture again. What they do not say is the library's default.
  private func write(_ picture: Picture, _ pixels: [UInt8]) throws {
    let texts =
      [
        ("Software", "libditq \(String(cString: ditq_version()))"), ("Model", shown(modelName)), ("Compatibility", compatibility),
        ("Class", shown(model.className(picture.label))), ("Label", "\(picture.label)"), ("Seed", "\(picture.seed)"),
        ("Steps", "\(style.steps)"), ("Guidance", general(style.guidance)), ("Sampler", sampler), ("Random", "torch"),
      ] + (style.eta > 0 ? [("Eta", general(style.eta))] : []) + openingTexts
    let info = model.info
    try withCStrings(texts.flatMap { [$0.0, $0.1] }) { strings in
      let pairs = texts.indices.map { ditq_png_text(key: strings[2 * $0], text: strings[2 * $0 + 1]) }
      try checked {
        ditq_png_write(picture.file, pixels, info.image_width, info.image_height, info.image_channels, pairs, pairs.count, $0)
      }
    }
  }

  func line(_ picture: Picture, seconds: Double) -> String {
    "\(picture.file): \(model.className(picture.label)), \(model.info.image_width)x\(model.info.image_height), seed \(picture.seed), "
      + "\(style.steps) steps, \(fixed(seconds, digits: 2)) s"
  }

  func json(_ pictures: [Picture], seconds: Double) throws -> JSON {
    let description = try JSON(reading: try session.json())
    return .object([
      (
        "pictures",
        .list(
          pictures.map { picture in
            .object([
              ("file", .text(picture.file)), ("class", .text(model.className(picture.label))), ("label", JSON(picture.label)),
              ("seed", JSON(picture.seed)),
            ])
          })
      ),
      ("width", JSON(model.info.image_width)), ("height", JSON(model.info.image_height)), ("steps", JSON(style.steps)),
      ("model", .text(modelName)), ("compatibility", .text(compatibility)), ("guidance", JSON(style.guidance)), ("sampler", .text(sampler)),
      ("eta", JSON(style.eta)), ("random", .text("torch")), ("seconds", JSON(seconds, digits: 3)),
      ("instruction_set", description["instruction_set"] ?? .null), ("threads", description["threads"] ?? .null),
      ("version", .text(String(cString: ditq_version()))),
    ])
  }
}
