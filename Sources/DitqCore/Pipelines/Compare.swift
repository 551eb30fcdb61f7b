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

  /// As in the reference figures of the field.
  static let guidanceScale = 4.0
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
      run.take(step, images: samples.count)
      guard progress(.denoise, batch * options.steps + step + 1, batches * options.steps, seconds(since: start), nil) else {
        throw DitqError(.cancelled, "the progress callback ended the call")
      }
    }
  }
  return run.report
}

private func check(_ reference: Model, _ model: Model, _ options: CompareOptions) throws(DitqError) {
  let a = reference.config, b = model.config
  guard
    a.hiddenSize == b.hiddenSize && a.depth == b.depth && a.channels == b.channels && a.latentSize == b.latentSize
      && a.patchSize == b.patchSize && a.outputChannels == b.outputChannels && a.classCount == b.classCount && a.mlpSize == b.mlpSize
  else { throw DitqError(.invalidArgument, "model: the architecture of the reference expected, another one found") }
  for (name, value, range) in [
    ("steps", options.steps, 1...min(reference.sampling.trainSteps, model.sampling.trainSteps)), ("samples", options.samples, 1...100_000),
    ("threads", options.threads, 0...SessionOptions.threadLimit),
  ] where !range.contains(value) {
    throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
  }
}

/// Two sessions that take each step together.
private final class LockstepRun {
  private let reference: Session
  private let model: Session
  private let options: CompareOptions
  private let generate: GenerateOptions
  private let probe: LayerProbe
  private var probingSeconds = 0.0
  let report: Report

  init(_ reference: Model, _ model: Model, _ options: CompareOptions) throws(DitqError) {
    var session = SessionOptions()
    session.threads = options.threads
    session.batchLimit = min(CompareOptions.batch, options.samples)
    self.reference = try Session(reference, session)
    self.model = try Session(model, session)
    self.options = options
    var generate = GenerateOptions()
    (generate.steps, generate.guidanceScale) = (options.steps, CompareOptions.guidanceScale)
    if reference.sampling.prediction == .epsilon { generate.sampler = Sampler.ddim.rawValue }
    self.generate = generate
    for session in [self.reference, self.model] { session.arrange(generate) }
    probe = try LayerProbe(reference.config, images: 2 * session.batchLimit)
    report = Report(reference, model, options, timesteps: self.reference.workspace.schedule)
  }

  /// Initial latents of some samples: sample i has seed + i, and labels are spread over the classes.
  func begin(_ samples: Range<Int>) {
    let classes = reference.model.config.classCount, all = options.samples
    let labels = samples.map { Int32(all < classes ? $0 * classes / all : $0 % classes) }
    let seeds = samples.map { options.seed &+ UInt64($0) }
    labels.withUnsafeBufferPointer { labels in
      seeds.withUnsafeBufferPointer { seeds in
        let request = Request(labels: labels.baseAddress!, seeds: seeds.baseAddress!, count: samples.count)
        for session in [reference, model] { session.begin(request, generate, 0..<samples.count) }
      }
    }
  }

  func take(_ step: Int, images: Int) {
    let guidance = reference.guidance(generate), latents = reference.workspace.latents
    let branches = reference.prepare(step: step, generate, guidance, images: images)
    _ = model.prepare(step: step, generate, guidance, images: images)
    var one = reference.network, other = model.network
    let rows = branches * images
    timed(&report.referenceSeconds) { begin(one, reference, latents, images, rows) }
    timed(&report.modelSeconds) { begin(other, model, options.isFreeRunning ? model.workspace.latents : latents, images, rows) }
    for block in 0..<one.weights.blocks.count {
      one.tap = { layer, linear, source, rows in
        self.probing { self.probe.keep(layer, linear, source, rows, self.reference.executor, self.reference.workspace) }
      }
      other.tap = { layer, linear, source, rows in
        self.probing {
          self.probe.measure(layer, linear, source, rows, self.model.executor, self.model.workspace) { input, output in
            self.report.add(step: step, block: block, layer, input: input, output: output)
          }
        }
      }
      timed(&report.referenceSeconds) { one.run(one.weights.blocks[block], rows) }
      timed(&report.modelSeconds) { other.run(other.weights.blocks[block], rows) }
    }
    timed(&report.referenceSeconds) { one.finish(rows, reference.workspace.prediction) }
    timed(&report.modelSeconds) { other.finish(rows, model.workspace.prediction) }
    report.takenSteps += 1
    measurePredictions(step, rows)
    reference.advance(step: step, generate, guidance, images: images)
    if options.isFreeRunning { model.advance(step: step, generate, model.guidance(generate), images: images) }
  }

  private func begin(_ network: DiTForward, _ session: Session, _ latents: UnsafePointer<Float>, _ images: Int, _ rows: Int) {
    network.begin(x: latents, inputs: images, timesteps: session.workspace.timesteps, labels: session.workspace.labels, images: rows)
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

/// What the layers of one block of the reference were given and put out.
private final class LayerProbe {
  private struct Kept {
    let input: UnsafeMutablePointer<Float>
    let output: UnsafeMutablePointer<Float>
  }
  private var kept: [Kept] = []
  private let found: Kept
  private let memory: Block

  init(_ config: DiTConfig, images: Int) throws(DitqError) {
    var measure = Arena()
    _ = LayerProbe.reserve(&measure, config, images)
    memory = try Block(byteCount: try measure.checkedSize("comparison"), from: .system, for: "comparison")
    var arena = Arena(memory.start)
    (kept, found) = LayerProbe.reserve(&arena, config, images)
  }

  private static func reserve(_ arena: inout Arena, _ config: DiTConfig, _ images: Int) -> ([Kept], Kept) {
    let width = config.hiddenSize, widest = max(6 * width, config.mlpSize), rows = images * config.tokenCount
    let kept = BlockLayer.allCases.map { layer in
      let rows = layer == .modulation ? images : rows
      return Kept(
        input: arena.floats(rows, layer == .fc2 ? config.mlpSize : width),
        output: arena.floats(rows, layer == .fc1 ? config.mlpSize : layer == .modulation ? 6 * width : layer == .qkv ? 3 * width : width))
    }
    return (kept, Kept(input: arena.floats(rows, max(width, config.mlpSize)), output: arena.floats(rows, widest)))
  }

  /// Keeps a layer's rows and what it makes of them.
  func keep(
    _ layer: BlockLayer, _ linear: Linear, _ source: RowSource, _ rows: Int, _ executor: Executor, _ workspace: SessionWorkspace
  ) {
    write(linear, source, rows, executor, workspace, to: kept[layer.rawValue])
  }

  /// Compares another model's with what was kept.
  func measure(
    _ layer: BlockLayer, _ linear: Linear, _ source: RowSource, _ rows: Int, _ executor: Executor, _ workspace: SessionWorkspace,
    _ report: (_ input: SignalAndNoise, _ output: SignalAndNoise) -> Void
  ) {
    write(linear, source, rows, executor, workspace, to: found)
    var input = SignalAndNoise(), output = SignalAndNoise()
    input.add(kept[layer.rawValue].input, found.input, count: rows * linear.inputs)
    output.add(kept[layer.rawValue].output, found.output, count: rows * linear.outputs)
    report(input, output)
  }

  /// The layer runs a moment later in the same buffers, so they are free now.
  private func write(
    _ linear: Linear, _ source: RowSource, _ rows: Int, _ executor: Executor, _ workspace: SessionWorkspace, to target: Kept
  ) {
    for row in 0..<rows {
      let copy = target.input + row * linear.inputs
      copy.update(from: source.row(row, linear.inputs, executor.kernels, copy), count: linear.inputs)
    }
    executor.apply(linear, to: source, rows: rows, workspace.transformer.packed, into: target.output, stride: linear.outputs)
  }
}
