// Comparing two models on the same noise: the predictions of a guided DDIM run, step by step, and the inputs and outputs of each quantized
// layer. Both run block by block in lockstep, so that only one block's values of the reference have to be kept.

import CKernels

package struct CompareOptions {
  package var steps = 50
  package var samples = 8
  package var threads = 0
  package var seed: UInt64 = 0
  /// Each model follows its own latents; else both are fed the reference's.
  package var isFreeRunning = false
  package init() {}

  /// Images at a time.
  static let batch = 4
}

/// Measures `model` against `reference`; `progress` is told after each step of each batch.
@export(interface)
package func compare(_ reference: Model, _ model: Model, _ options: CompareOptions, progress: Progress) throws(DitqError) -> Report {
  try check(reference, model, options)
  let run = try LockstepRun(reference, model, options)
  let start = nanoseconds()
  let batches = (options.samples + CompareOptions.batch - 1) / CompareOptions.batch
  for batch in 0..<batches {
    let samples = batch * CompareOptions.batch..<min(options.samples, (batch + 1) * CompareOptions.batch)
    run.begin(samples)
    for step in 0..<options.steps {
      try checkCall()
      try run.take(step, images: samples.count, of: samples)
      guard progress(.denoise, batch * options.steps + step + 1, batches * options.steps, seconds(since: start), nil) else {
        throw .endedByHost
      }
    }
  }
  try run.compareDecoders()
  try run.report.finish()
  return run.report
}

private func check(_ reference: Model, _ model: Model, _ options: CompareOptions) throws(DitqError) {
  let a = reference.config, b = model.config
  for (name, expected, found) in [
    ("hidden_size", a.hiddenSize, b.hiddenSize), ("depth", a.depth, b.depth), ("latent_channels", a.channels, b.channels),
    ("latent_size", a.latentSize, b.latentSize), ("patch_size", a.patchSize, b.patchSize),
    ("output_channels", a.outputChannels, b.outputChannels), ("class_count", a.classCount, b.classCount),
    ("rows of the label table", a.labelCount, b.labelCount), ("mlp_size", a.mlpSize, b.mlpSize),
    ("embedders", reference.dit.embedders.count, model.dit.embedders.count),
  ] where expected != found {
    throw DitqError(.invalidArgument, "model: the architecture of the reference expected, \(name) \(expected), \(found) found")
  }
  for (name, value, range) in [
    ("steps", options.steps, 1...min(reference.sampling.trainSteps, model.sampling.trainSteps)), ("samples", options.samples, 1...100_000),
  ] where !range.contains(value) {
    throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
  }
}

/// Two sessions that take each step together.
private final class LockstepRun {
  private let reference: Session
  private let model: Session
  private let options: CompareOptions
  private let run: SamplingRun
  private let probe: LayerProbe
  private var probingSeconds = 0.0
  let report: Report

  /// A convenience initializer, as memory and threads may not be there: see Block.
  convenience init(_ reference: Model, _ model: Model, _ options: CompareOptions) throws(DitqError) {
    let run = try reference.measuredRun(steps: options.steps)
    _ = try model.measuredRun(steps: options.steps)
    var session = SessionOptions()
    session.threads = options.threads
    session.batchLimit = min(CompareOptions.batch, options.samples)
    let one = try Session(reference, session), other = try Session(model, session)
    let probe = try LayerProbe(model, images: 2 * session.batchLimit), timesteps = (0..<options.steps).map { run.timestep($0) }
    self.init(one, other, options, run, probe, try Report(reference, model, options, timesteps: timesteps))
  }

  private init(
    _ reference: Session, _ model: Session, _ options: CompareOptions, _ run: SamplingRun, _ probe: LayerProbe, _ report: Report
  ) {
    (self.reference, self.model, self.options, self.probe) = (reference, model, options, probe)
    (self.run, self.report) = (run, report)
  }

  /// Initial latents of some samples: sample i has seed + i, and labels are spread over the classes.
  func begin(_ samples: Range<Int>) {
    let classes = reference.model.config.classCount, all = options.samples
    let labels = samples.map { Int32(all < classes ? $0 * classes / all : $0 % classes) }
    let seeds = samples.map { options.seed &+ UInt64($0) }
    labels.withUnsafeBufferPointer { labels in
      seeds.withUnsafeBufferPointer { seeds in
        let request = Request(labels: labels.baseAddress!, seeds: seeds.baseAddress!, count: samples.count)
        for session in [reference, model] { session.begin(request, run, 0..<samples.count) }
      }
    }
  }

  /// The reference takes a step; what the other model predicts in it is measured, and where it follows its own latents it takes it too.
  func take(_ step: Int, images: Int, of samples: Range<Int>) throws(DitqError) {
    try reference.take(step, of: run, images: images) { rows throws(DitqError) in
      model.tell(step, of: run, images: images)
      try predict(step, rows, images, of: samples)
      return .new
    }
    try reference.checkLatents(step, of: run, images) { "sample \(samples.lowerBound + $0), by the reference," }
    guard options.isFreeRunning else { return }
    try model.take(step, of: run, images: images) { _ in .new }
    try model.checkLatents(step, of: run, images) { "sample \(samples.lowerBound + $0), by the model," }
  }

  /// Both networks, a piece at a time.
  private func predict(_ step: Int, _ rows: Int, _ images: Int, of samples: Range<Int>) throws(DitqError) {
    let latents = reference.workspace.latents
    let others = options.isFreeRunning ? model.workspace.latents : latents
    for piece in model.model.pieces {
      let numbers = model.model.numbers(of: piece)
      var one = reference.network, other = model.network
      one.tap = { number, linear, source, rows in
        self.probing { self.probe.keep(number - numbers.lowerBound, linear, source, rows, self.reference) }
      }
      other.tap = { number, linear, source, rows in
        guard self.report.tells(of: number) else { return }
        self.probing {
          self.report.add(step: step, number, self.probe.measure(number, piece, linear, source, rows, self.model))
        }
      }
      timed(&report.referenceSeconds) { reference.run(piece, one, x: latents, inputs: images, images: rows) }
      timed(&report.modelSeconds) { model.run(piece, other, x: others, inputs: images, images: rows) }
    }
    report.takenSteps += 1
    for (session, name) in [(reference, "the reference"), (model, "the model")] {
      try session.checkPrediction(
        rows, images, "step \(step + 1) of \(options.steps): what \(name) predicts for sample", samples.lowerBound)
    }
    measurePredictions(step, rows)
  }

  /// An image of the reference's latents by both decoders, where the model's is quantized.
  func compareDecoders() throws(DitqError) {
    guard model.model.decoder?.isQuantized == true, let count = reference.model.imageCount, count == model.model.imageCount else { return }
    let latents = reference.workspace.images.latents(of: 0..<1)
    try reference.decode(latents, of: 0)
    try model.decode(latents, of: 0)
    var measure = SignalAndNoise()
    measure.add(reference.workspace.image.baseAddress!, model.workspace.image.baseAddress!, count: count)
    report.decoder = measure
  }

  /// Adds what a model's own work takes, without what measuring takes in the midst of it.
  private func timed(_ total: inout Double, _ body: () -> Void) {
    let start = nanoseconds(), before = probingSeconds
    body()
    total += seconds(since: start) - (probingSeconds - before)
  }

  private func probing(_ body: () -> Void) {
    let start = nanoseconds()
    body()
    probingSeconds += seconds(since: start)
  }

  /// The predicted noise of each image and branch, without the learned variance.
  private func measurePredictions(_ step: Int, _ rows: Int) {
    let config = reference.model.config
    for row in 0..<rows {
      let offset = row * config.outputCount
      report.predictions[step].add(
        reference.workspace.prediction + offset, model.workspace.prediction + offset, count: config.latentCount)
    }
  }
}
