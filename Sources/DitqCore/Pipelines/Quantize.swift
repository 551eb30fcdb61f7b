// Quantizing a float model: the network is taken piece by piece, its layers' inputs are observed where something has to be calibrated, and
// each layer's weights become integers, on all threads. The source is left as it was, and shared for what stays in float.

import CKernels

/// Quantizes a float model; `progress` is told after each calibrating step and each layer.
@export(interface)
package func quantize(_ source: Model, _ options: QuantizeOptions, progress: Progress) throws(DitqError) -> Model {
  try options.check(source)
  let start = nanoseconds()
  func tell(_ phase: Phase, _ done: Int, _ total: Int) throws(DitqError) {
    try checkCall()
    guard progress(phase, done, total, seconds(since: start), nil) else {
      throw .endedByHost
    }
  }
  let quantizer = try Quantizer(source, options)
  try quantizer.calibrate { done, total throws(DitqError) in try tell(.calibrate, done, total) }
  try quantizer.quantizeLayers { done, total throws(DitqError) in try tell(.quantize, done, total) }
  try quantizer.quantizeDecoder { done, total throws(DitqError) in try tell(.quantize, done, total) }
  try quantizer.meetBudget { done, total throws(DitqError) in try tell(.quantize, done, total) }
  try quantizer.checkRanges { done, total throws(DitqError) in try tell(.quantize, done, total) }
  return try quantizer.result()
}

final class Quantizer {
  let source: Model
  let options: QuantizeOptions
  let pool: ThreadPool
  let kernels: ditqk_kernels
  /// By number.
  let layers: [NamedLinear]
  let plans: [LayerPlan?]
  /// Of the layers done so far.
  private(set) var foldings: [LayerFolding]
  private(set) var weights: DiTWeights
  var decoder: VAEDecoder?
  /// Numbers of the decoder's convolutions that become integers.
  let decoderPlan: [Int]
  /// Of each layer that has memory of its own, and of the decoder's.
  private var layerMemory: [Block?]
  var decoderMemory: [Block] = []
  var record = CalibrationRecord()
  /// The source in 8 bits, whose sampling run makes the latents, and the run itself. Nil where nothing has to be calibrated.
  private var guide: Model?
  private var calibration: CalibrationRun?

  convenience init(_ source: Model, _ options: QuantizeOptions) throws(DitqError) {
    let layers = try source.dit.linears(), set = try InstructionSet.best(limit: 0)
    self.init(
      source, options, layers, try options.plans(layers), try options.decoderPlan(source.decoder),
      try ThreadPool(threads: ThreadPool.threads(options.threads), surroundings: set.surroundings), set.kernels)
  }

  private init(
    _ source: Model, _ options: QuantizeOptions, _ layers: [NamedLinear], _ plans: [LayerPlan?], _ decoderPlan: [Int],
    _ pool: ThreadPool, _ kernels: ditqk_kernels
  ) {
    (decoder, self.decoderPlan) = (source.decoder, decoderPlan)
    (self.source, self.options, self.layers, self.plans) = (source, options, layers, plans)
    (self.pool, self.kernels) = (pool, kernels)
    weights = source.dit
    foldings = [LayerFolding](repeating: LayerFolding(), count: layers.count)
    layerMemory = [Block?](repeating: nil, count: layers.count)
    (record.activations, record.weights) = (options.activations.name, options.methodName(plans))
  }

  func result() throws(DitqError) -> Model {
    try Model(
      source, weights: weights, decoder: decoder, in: try memory(), calibration: try record.json())
  }

  private func memory() throws(DitqError) -> [Block] {
    var blocks = try decoderMemory.mapped { $0 }
    for case let block? in layerMemory { try blocks.add(block) }
    return blocks
  }

  // MARK: - Calibrating

  /// Finds the latents to calibrate on, where any layer needs them.
  func calibrate(_ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    guard plans.contains(where: { needsInputs($0) }) else { return }
    // Where second moments are all that is learnt, those of the 8-bit model's inputs serve as well (the emoji model, W4A8, three seeds: 33.56, 33.74
    // and 33.66 dB; of the float model's 33.66, 33.74 and 33.61), and so do latents of 8 predictions (33.48, 33.68 and 33.68 dB; of 13 evenly spread
    // 33.56, 33.72 and 33.56, of 7 33.42, 33.65 and 33.57; carrying the last two on instead of holding the last cost 1 dB).
    let plan = plan(
      options.steps, samples: options.calibrationSamples, seed: options.calibrationSeed, predictsEachStep: options.looksForExtremes)
    let guide = try eightBitGuide()
    let run = try CalibrationRun(options.looksForExtremes ? source : guide, guide: guide, plan, progress: progress)
    (record.timesteps, record.isBalanced, record.totalSteps) = (run.timesteps, options.balanceSpread != nil, options.calibrationTotalSteps)
    (record.guidanceScale, record.hasNullClass) = (source.measuredGuidance, source.config.hasNullClass)
    (record.samples, record.seed) = (options.calibrationSamples, options.calibrationSeed)
    if options.hasStaticRanges { record.observer = options.observer.name }
    if options.activations == .fixedPerStep { (record.bins, weights.bins.timesteps) = (run.timesteps, run.timesteps) }
    calibration = run
  }

  func plan(_ steps: [Int], samples: Int, seed: UInt64, predictsEachStep: Bool = true) -> CalibrationPlan {
    CalibrationPlan(
      steps: steps, totalSteps: options.calibrationTotalSteps, samples: samples, seed: seed, threads: pool.threads,
      predictsEachStep: predictsEachStep)
  }

  func eightBitGuide() throws(DitqError) -> Model {
    if let guide { return guide }
    var plain = QuantizeOptions()
    (plain.method, plain.threads) = (.round, options.threads)
    let quantizer = try Quantizer(source, plain)
    try quantizer.quantizeLayers { _, _ in }
    let result = try quantizer.result()
    guide = result
    return result
  }

  private func needsInputs(_ plan: LayerPlan?) -> Bool {
    guard let plan else { return false }
    return plan.format.method == .spread || plan.activationBits == 8 && options.looksForExtremes
  }

  /// What is learnt of a layer's inputs.
  struct Observation {
    var activations: ActivationObserver?
    var moments: SecondMoments?
  }

  // MARK: - Layers

  func quantizeLayers(_ progress: (_ done: Int, _ total: Int) throws(DitqError) -> Void) throws(DitqError) {
    for piece in source.pieces {
      let numbers = source.numbers(of: piece)
      try checkCall()
      var observations = [Observation](repeating: Observation(), count: numbers.count)
      if let calibration { observations = try observe(piece, calibration) }
      if case .block(let index) = piece { balance(index, observations) }
      if let calibration, options.observer != .extremes, options.hasStaticRanges { try count(piece, calibration, observations) }
      for number in numbers {
        if let plan = plans[number] {
          try replace(number, plan, observations[number - numbers.lowerBound])
        } else if !foldings[number].isEmpty {
          let (linear, block) = try floatLayer(layers[number], foldings[number], kernels)
          replace(number, (linear, block))
        }
        try checkCall()
        try progress(number + 1, layers.count + decoderPlan.count)
      }
      source.forgetPages()
    }
    calibration = nil
  }

  /// Which of a layer's static ranges a step belongs to.
  private func bin(_ step: Int) -> Int { options.activations == .fixedPerStep ? step : 0 }

  private func observe(_ piece: Piece, _ run: CalibrationRun) throws(DitqError) -> [Observation] {
    var observations: [Observation] = []
    for number in source.numbers(of: piece) {
      var observation = Observation()
      if let plan = plans[number], needsInputs(plan) {
        let inputs = layers[number].linear.inputs
        let bins = options.activations == .fixedPerStep ? run.timesteps.count : 1
        if plan.activationBits == 8 && options.looksForExtremes {
          observation.activations = try ActivationObserver(inputs: inputs, bins: bins, threads: pool.threads)
        }
        if plan.format.method == .spread {
          observation.moments = try SecondMoments(inputs: inputs, rows: run.largestRows, threads: pool.threads)
        }
      }
      observations.append(observation)
    }
    let first = source.numbers(of: piece).lowerBound
    try run.run(piece, isRepeated: options.observer != .extremes && options.hasStaticRanges) { [self] step, number, linear, rows, x in
      let observation = observations[number - first]
      observation.activations?.widen(x, rows: rows, bin: bin(step), pool)
      observation.moments?.add(x, rows: rows, run.session.executor)
    }
    return observations
  }

  /// The second pass, for observers that count values.
  private func count(_ piece: Piece, _ run: CalibrationRun, _ observations: [Observation]) throws(DitqError) {
    let first = source.numbers(of: piece).lowerBound
    try run.run(piece) { [self] step, number, linear, rows, x in
      observations[number - first].activations?.count(
        x, rows: rows, bin: bin(step), foldings[number].balance?.inputFactors, pool)
    }
  }

  private func balance(_ block: Int, _ observations: [Observation]) {
    guard let spread = options.balanceSpread else { return }
    let first = source.dit.number(of: .modulation, block: block), own = first - source.dit.numbers(ofBlock: block).lowerBound
    let balances = BlockLayer.allCases.map { layer -> ChannelBalance? in
      guard layer != .modulation, plans[first + layer.rawValue]?.activationBits == 8,
        let observer = observations[own + layer.rawValue].activations,
        case .stored(let matrix) = layers[first + layer.rawValue].linear.weights
      else { return nil }
      return ChannelBalance(observer, matrix, kernels, spread: spread)
    }
    for (index, folding) in source.dit.blocks[block].foldings(balances).enumerated() { foldings[first + index] = folding }
  }

  private func replace(_ number: Int, _ plan: LayerPlan, _ observation: Observation) throws(DitqError) {
    var ranges: [ActivationRange]?
    let factors = foldings[number].balance?.inputFactors
    if options.hasStaticRanges, plan.activationBits == 8, let observer = observation.activations {
      ranges = (0..<observer.bins).map { observer.range($0, options.observer, factors) }
    }
    let spreading = try observation.moments.map { moments throws(DitqError) in
      do throws(DitqError) {
        return try ErrorSpreading(moments.values, inputs: moments.inputs, factors: factors, pool)
      } catch {
        throw error.said(of: layers[number].name)
      }
    }
    let (linear, block) = try quantizedLayer(layers[number], plan, foldings[number], ranges, spreading, pool, kernels)
    replace(number, (linear, block))
  }

  /// The layer's memory is nil where its weights are the source's.
  func replace(_ number: Int, _ layer: (linear: Linear, block: Block?)) {
    (weights[number], layerMemory[number]) = (layer.linear, layer.block)
  }
}
