// CalibrationRun: brings a model's layers their inputs, at some steps of a sampling run, one piece of the network at a time: what comes
// before the blocks, each block, what comes after. Only the states between two pieces are kept, so memory does not grow with depth.
//
// The latents at those steps come from a guided DDIM run of the same model in 8 bits, each token by its own range: four times as fast as
// in float, and its latents are as good to calibrate on; where second moments are all that is wanted, the model looked at is that one too.
// Both halves of the guided batch, "class" and "no class", are observed; a model without "no class" is not guided.

/// Which images and steps a calibration looks at.
struct CalibrationPlan {
  /// Of the sampling run, in its order.
  let steps: [Int]
  let totalSteps: Int
  let samples: Int
  let seed: UInt64
  let threads: Int
  /// Whether the network runs at every step on the way; else each prediction serves for a third of the steps that are left, so that they
  /// come closer together towards the end, where they change most: 8 of 50.
  let predictsEachStep: Bool

  /// Images at a time.
  static let batch = 4

  /// The step of the next prediction after that of `step`.
  func nextPrediction(after step: Int) -> Int { predictsEachStep ? step + 1 : step + (totalSteps - step + 2) / 3 }

  /// Labels drawn from the seed (SplitMix64, Steele et al. 2014).
  func label(_ sample: Int, of classes: Int) -> Int32 {
    var z = (seed &+ UInt64(sample)) &* 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return Int32((z ^ (z >> 31)) % UInt64(classes))
  }
}

final class CalibrationRun {
  let session: Session
  /// Of the plan's steps, as the network is given them.
  let timesteps: [Float]
  private let run: SamplingRun
  private let plan: CalibrationPlan
  private let states: [State]
  /// Of the layer about to run.
  private let inputs: UnsafeMutablePointer<Float>
  private let memory: Block

  /// Latents of some samples at one step, and what stands between two pieces of the network.
  private struct State {
    let step: Int
    let samples: Range<Int>
    let latents: UnsafeMutablePointer<Float>
    let stream: UnsafeMutablePointer<Float>
    let conditioning: UnsafeMutablePointer<Float>
  }

  /// Runs `guide` for the latents of the steps; `progress` is told after each step of it. A convenience initializer: see Block.
  convenience init(
    _ model: Model, guide: Model, _ plan: CalibrationPlan, progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void
  ) throws(DitqError) {
    let run = try model.measuredRun(steps: plan.totalSteps)
    var options = SessionOptions()
    options.threads = plan.threads
    options.batchLimit = min(CalibrationPlan.batch, plan.samples)
    var measure = Arena()
    _ = CalibrationRun.reserve(&measure, model.config, plan)
    let memory = try Block(byteCount: try measure.checkedSize("calibration"), from: .system, for: "calibration")
    self.init(plan, run, try Session(model, options), memory)
    try fillLatents(try Session(guide, options), progress)
  }

  private init(_ plan: CalibrationPlan, _ run: SamplingRun, _ session: Session, _ memory: Block) {
    (self.plan, self.run, self.session, self.memory) = (plan, run, session, memory)
    var arena = Arena(memory.start)
    (states, inputs) = CalibrationRun.reserve(&arena, session.model.config, plan)
    timesteps = plan.steps.map { run.timestep($0) }
  }

  private static func reserve(
    _ arena: inout Arena, _ config: DiTConfig, _ plan: CalibrationPlan
  ) -> ([State], UnsafeMutablePointer<Float>) {
    var states: [State] = []
    for first in stride(from: 0, to: plan.samples, by: CalibrationPlan.batch) {
      let samples = first..<min(plan.samples, first + CalibrationPlan.batch), images = config.branches * samples.count
      for step in plan.steps {
        states.append(
          State(
            step: step, samples: samples, latents: arena.floats(samples.count, config.latentCount),
            stream: arena.floats(images, config.tokenCount, config.hiddenSize), conditioning: arena.floats(images, config.hiddenSize)))
      }
    }
    let widest = max(config.hiddenSize, config.mlpSize, config.patchInputs, DiTConfig.timestepFeatures)
    return (states, arena.floats(config.branches * CalibrationPlan.batch, config.tokenCount, widest))
  }

  /// Of one layer's inputs at a time.
  var largestRows: Int { session.model.config.branches * CalibrationPlan.batch * session.model.config.tokenCount }

  // MARK: - Latents

  private func fillLatents(_ guide: Session, _ progress: (Int, Int) throws(DitqError) -> Void) throws(DitqError) {
    let lastStep = plan.steps.last ?? 0
    let total = (states.count / plan.steps.count) * lastStep
    var done = 0
    for batch in stride(from: 0, to: states.count, by: plan.steps.count) {
      let states = states[batch..<batch + plan.steps.count], samples = states[batch].samples
      var nextPrediction = 0
      begin(guide, samples)
      for step in 0...lastStep {
        if let state = states.first(where: { $0.step == step }) {
          state.latents.update(from: guide.workspace.latents, count: samples.count * guide.model.config.latentCount)
        }
        guard step < lastStep else { break }
        try guide.take(step, of: run, images: samples.count) { rows throws(DitqError) in
          guard step == nextPrediction else { return .earlier }
          nextPrediction = plan.nextPrediction(after: step)
          try guide.forward(x: guide.workspace.latents, inputs: samples.count, images: rows, output: guide.workspace.prediction)
          try checkPrediction(guide, step: step, samples, rows: rows)
          return .new
        }
        try guide.checkLatents(step, of: run, samples.count) {
          "calibration sample \(samples.lowerBound + $0), \(guide.className(ofRow: $0)),"
        }
        done += 1
        try progress(done, total)
      }
    }
  }

  private func begin(_ session: Session, _ samples: Range<Int>) {
    let labels = samples.map { plan.label($0, of: session.model.config.classCount) }
    let seeds = samples.map { plan.seed &+ UInt64($0) }
    labels.withUnsafeBufferPointer { labels in
      seeds.withUnsafeBufferPointer { seeds in
        let request = Request(labels: labels.baseAddress!, seeds: seeds.baseAddress!, count: samples.count)
        session.begin(request, run, 0..<samples.count)
      }
    }
  }

  // MARK: - The network, a piece at a time

  /// Runs a piece on all states and tells `tap` of its layers' inputs x [rows, inputs]; `step` is an index into the plan's steps. With
  /// `isRepeated` the states stay, so that the same piece can be run again. Ends at the first layer whose input is no number.
  func run(
    _ piece: Piece, isRepeated: Bool = false,
    _ tap: @escaping (_ step: Int, _ number: Int, _ linear: Linear, _ rows: Int, _ x: UnsafePointer<Float>) -> Void
  ) throws(DitqError) {
    for state in states {
      let step = plan.steps.firstIndex(of: state.step) ?? 0
      let found = FirstLayer()
      var network = session.network
      network.tap = { [session, inputs] number, linear, source, rows in
        session.executor.copy(source, rows: rows, inputs: linear.inputs, into: inputs)
        found.look(at: number, inputs, rows, linear.inputs)
        if !found.isFound { tap(step, number, linear, rows, UnsafePointer(inputs)) }
      }
      run(piece, state, network, keepsState: isRepeated)
      try found.check(session, step: state.step, of: plan.totalSteps, images: session.model.config.branches * state.samples.count)
    }
  }

  /// Ends the call where what the guide predicted is no number: looks, in another run of the network, at which layer that begins.
  private func checkPrediction(_ guide: Session, step: Int, _ samples: Range<Int>, rows: Int) throws(DitqError) {
    guard firstNonFinite(guide.workspace.prediction, rows * guide.model.config.outputCount) != nil else { return }
    let found = FirstLayer()
    var network = guide.network
    network.tap = { [inputs] number, linear, source, rows in
      guide.executor.copy(source, rows: rows, inputs: linear.inputs, into: inputs)
      found.look(at: number, inputs, rows, linear.inputs)
    }
    for piece in guide.model.pieces {
      guide.run(piece, network, x: guide.workspace.latents, inputs: samples.count, images: rows)
    }
    try found.check(guide, step: step, of: plan.totalSteps, images: rows)
    try guide.checkPrediction(
      rows, samples.count, "step \(step + 1) of \(plan.totalSteps): the output of the last layer for calibration sample",
      samples.lowerBound)
  }

  /// The noise that a network of these weights predicts for all states: `body` is given that of each image and branch.
  func predict(
    _ weights: DiTWeights, _ body: (_ step: Int, _ values: UnsafePointer<Float>, _ count: Int) -> Void
  ) throws(DitqError) {
    let config = session.model.config
    var network = session.network
    network.weights = weights
    for state in states {
      let inputs = state.samples.count, images = config.branches * inputs
      fillConditions(state)
      for piece in session.model.pieces { session.run(piece, network, x: state.latents, inputs: inputs, images: images) }
      let step = plan.steps.firstIndex(of: state.step) ?? 0
      try session.checkPrediction(
        images, inputs, "step \(state.step + 1) of \(plan.totalSteps): what is predicted for calibration sample",
        state.samples.lowerBound)
      for image in 0..<images { body(step, session.workspace.prediction + image * config.outputCount, config.latentCount) }
    }
  }

  private func run(_ piece: Piece, _ state: State, _ network: DiTForward, keepsState: Bool) {
    let config = session.model.config, images = config.branches * state.samples.count, w = session.workspace.transformer
    let streamCount = images * config.tokenCount * config.hiddenSize, conditioningCount = images * config.hiddenSize
    fillConditions(state)
    // The embedders write over both.
    w.stream.update(from: state.stream, count: streamCount)
    w.conditioning.update(from: state.conditioning, count: conditioningCount)
    session.run(piece, network, x: state.latents, inputs: state.samples.count, images: images)
    guard !keepsState else { return }
    state.stream.update(from: w.stream, count: streamCount)
    state.conditioning.update(from: w.conditioning, count: conditioningCount)
  }

  /// Timesteps and labels of both halves; there is no second one where there is no "no class", and its labels are not looked at.
  private func fillConditions(_ state: State) {
    let count = state.samples.count, classes = session.model.config.classCount
    for (index, sample) in state.samples.enumerated() {
      session.workspace.labels[index] = plan.label(sample, of: classes)
      session.workspace.labels[count + index] = Int32(classes)
    }
    session.tell(state.step, of: run, images: count)
  }
}

/// The first layer that is given an input which is no number.
private final class FirstLayer {
  private var number = 0
  private var row = 0
  private var rows = 0
  private(set) var isFound = false

  /// At a layer's x [rows, inputs].
  func look(at number: Int, _ x: UnsafePointer<Float>, _ rows: Int, _ inputs: Int) {
    guard !isFound, let place = firstNonFinite(x, rows * inputs) else { return }
    (self.number, row, self.rows, isFound) = (number, place / inputs, rows, true)
  }

  /// Ends the call where there is one, in a step of so many images.
  func check(_ session: Session, step: Int, of steps: Int, images: Int) throws(DitqError) {
    guard isFound else { return }
    let name = session.model.dit.name(ofLinear: number), image = row / (rows / images)
    throw DitqError(
      .malformed,
      "\(name): calibrating, step \(step + 1) of \(steps): its input for \(session.className(ofRow: image)) is not finite: "
        + "the weights before it lead beyond what a float holds")
  }
}
