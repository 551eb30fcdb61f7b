// Second moments of what a decoder's convolutions are given, gathered while it decodes normal latents: those of some channels and all nine taps
// together, because all channels of 512 would be a matrix of 4608². White latents have no pictures in them, but what a convolution sees,
// SiLU of a normalized image, differs little between pictures: its mean, and neighbours that doubling made alike.

import CKernels

final class DecoderMoments {
  private static let seed: UInt64 = 2_000_000
  /// At most so many pixels of an image are looked at; there are images until `least` pixels of latents have been.
  private static let samples = 512
  private static let least = 2048
  /// Rows at a time.
  private static let rows = 64

  private let plan: [Int]
  /// By place in the plan: for each group of channels.
  private let moments: [[SecondMoments]]
  private let widths: [Int]
  private let session: Session
  private let room: Block

  /// A convenience initializer, as memory and threads may not be there: see Block.
  convenience init(_ source: Model, _ decoder: VAEDecoder, _ plan: [Int], threads: Int) throws(DitqError) {
    var options = SessionOptions()
    options.threads = threads
    let widths = plan.map { number in [32, 16, 8, 4].first { decoder.convolutions[number].convolution.inputs % $0 == 0 }! }
    var moments: [[SecondMoments]] = []
    var largest = 0
    for (width, number) in zip(widths, plan) {
      let inputs = decoder.convolutions[number].convolution.inputs
      largest = max(largest, inputs)
      var groups: [SecondMoments] = []
      for _ in 0..<inputs / width {
        groups.append(try SecondMoments(inputs: 9 * width, rows: DecoderMoments.rows, threads: threads))
      }
      moments.append(groups)
    }
    self.init(
      plan, moments, widths, try Session(source, options),
      try Block(byteCount: (DecoderMoments.rows + 1) * 9 * largest * 4, from: .system, for: "decoder calibration"))
  }

  private init(_ plan: [Int], _ moments: [[SecondMoments]], _ widths: [Int], _ session: Session, _ room: Block) {
    (self.plan, self.moments, self.widths, self.session, self.room) = (plan, moments, widths, session, room)
  }

  /// Decodes images of normal latents.
  func run(_ config: DiTConfig, _ decoder: VAEDecoder) throws(DitqError) {
    guard let workspace = session.workspace.decoder else { preconditionFailure("a session of a model with a decoder has room for it") }
    let latents = try Block(byteCount: config.latentCount * 4, from: .system, for: "latents")
    var forward = VAEForward(decoder: decoder, workspace: workspace, executor: session.executor, latentSize: config.latentSize)
    forward.tap = { number, input, size in
      for (place, planned) in self.plan.enumerated() where planned == number {
        self.add(place, input, decoder.convolutions[number].convolution, size)
      }
    }
    let images = max(2, DecoderMoments.least / (config.latentSize * config.latentSize))
    for image in 0..<images {
      Philox.fillNormal(latents.floats, count: config.latentCount, seed: DecoderMoments.seed, draw: image)
      try forward(latents: UnsafeBufferPointer(start: latents.floats, count: config.latentCount), image: session.workspace.image)
    }
  }

  /// Pixels of a convolution's input, evenly spread, with what is under the nine taps.
  private func add(_ place: Int, _ input: ConvolutionInput, _ convolution: Convolution, _ size: Int) {
    let pixels = size * size, count = min(pixels, DecoderMoments.samples), channels = convolution.inputs
    let rows = room.floats + 9 * channels
    for start in stride(from: 0, to: count, by: DecoderMoments.rows) {
      let part = min(DecoderMoments.rows, count - start)
      for row in 0..<part {
        let pixel = (start + row) * pixels / count
        copy(input, channels, y: pixel / size, x: pixel % size, size)
        scatter(channels, widths[place], row: row, of: part, into: rows)
      }
      for (group, moments) in moments[place].enumerated() {
        moments.add(rows + group * part * 9 * widths[place], rows: part, session.executor)
      }
    }
  }

  /// [9][channels] under the taps of a pixel, into the beginning of the room.
  private func copy(_ input: ConvolutionInput, _ channels: Int, y: Int, x: Int, _ size: Int) {
    let halves = input.doubling ? 2 : 1
    for tap in 0..<9 {
      let target = room.floats + tap * channels, row = y + tap / 3 - 1, column = x + tap % 3 - 1
      guard (0..<size).contains(row) && (0..<size).contains(column) else {
        target.initialize(repeating: 0, count: channels)
        continue
      }
      let source = input.pixels + (row / halves * (size / halves) + column / halves) * channels
      if let norm = input.norm {
        norm.apply(source, pixels: 1, into: target, session.executor.kernels)
      } else {
        target.update(from: source, count: channels)
      }
    }
  }

  /// The same as a row [9][width] of each group's matrix.
  private func scatter(_ channels: Int, _ width: Int, row: Int, of rows: Int, into matrices: UnsafeMutablePointer<Float>) {
    for group in 0..<channels / width {
      let target = matrices + (group * rows + row) * 9 * width
      for tap in 0..<9 { (target + tap * width).update(from: room.floats + tap * channels + group * width, count: width) }
    }
  }

  /// How the errors of layer `place` of the plan are spread.
  func spreading(_ place: Int, _ pool: ThreadPool) throws(DitqError) -> ErrorSpreading {
    var groups: [ErrorSpreading] = []
    for moments in moments[place] { groups.append(try ErrorSpreading(moments.values, inputs: moments.inputs, factors: nil, pool)) }
    return ErrorSpreading(groups, width: widths[place])
  }
}
