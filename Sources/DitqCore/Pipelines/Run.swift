// Run: a denoising under way, taken step by step with any session of its model. It keeps its images twice: a step reads one set and writes
// the other, and they change places when it is complete, so that a step which was cancelled can be taken again. What options leave to the model
// is settled when the run is made: the model of the session that takes a step lends its network, and nothing else of it counts. Allocates when
// it is made.

package final class Run {
  package let model: Model
  package let count: Int
  private(set) var stepsTaken = 0
  let fingerprint: SIMD8<UInt32>
  /// With the model's own choices in it.
  let sampling: SamplingRun
  let labels: UnsafeMutablePointer<Int32>
  /// Between two steps, and what the next one writes.
  private(set) var images: ImageStates
  private var next: ImageStates
  private let memory: Block
  private let oneCall = OneCall()

  @export(interface)
  package convenience init(_ model: Model, _ request: Request, _ options: SamplingOptions) throws(DitqError) {
    try model.check(count: request.count)
    let run = try model.run(options)
    // Before the labels are read: a count out of all proportion finds no memory.
    try self.init(model, run, count: request.count)
    try model.check(request, run)
    labels.update(from: request.labels, count: count)
    images.begin(request, run, 0..<count, nil)
    // The copies too, as the host's memory may have changed.
    try model.check(labels: labels, count: count)
    if request.noise != nil { try checkFinite("noise", images.latents, count * model.config.latentCount) }
  }

  /// Room for so many images, to be filled in. A convenience initializer, as there may be none: see Block.
  convenience init(_ model: Model, _ run: SamplingRun, count: Int, stepsTaken: Int = 0) throws(DitqError) {
    var measure = Arena()
    _ = Run.reserve(&measure, model, count)
    self.init(
      model, run, count, stepsTaken, try Block(byteCount: try measure.checkedSize("run"), from: .system, for: "run"))
  }

  private init(_ model: Model, _ run: SamplingRun, _ count: Int, _ stepsTaken: Int, _ memory: Block) {
    (self.memory, sampling) = (memory, run)
    var arena = Arena(memory.start)
    (labels, images, next) = Run.reserve(&arena, model, count)
    (self.model, self.count, self.stepsTaken, fingerprint) = (model, count, stepsTaken, model.fingerprint)
  }

  private typealias Memory = (labels: UnsafeMutablePointer<Int32>, images: ImageStates, next: ImageStates)

  private static func reserve(_ arena: inout Arena, _ model: Model, _ count: Int) -> Memory {
    let labels = arena.reserve(Int32.self, count), latentCount = model.config.latentCount
    let images = ImageStates(&arena, images: count, latentCount: latentCount)
    return (labels, images, ImageStates(&arena, images: count, latentCount: latentCount))
  }

  /// Takes a step; `progress` is told before it counts, and may still undo it. The result is how many steps are left.
  @export(interface)
  package func step(_ session: Session, progress: Progress) throws(DitqError) -> Int {
    guard session.model === model || session.model.fingerprint == fingerprint else {
      throw DitqError(.invalidArgument, "session: one of the run's model expected, one of another model found")
    }
    try exclusively { () throws(DitqError) in
      guard stepsTaken < sampling.steps else {
        throw DitqError(.invalidArgument, "run", expected: "a step that is left", found: "none")
      }
      try session.take(stepsTaken, of: sampling, labels: labels, count: count, of: images, into: next, progress)
      (images, next) = (next, images)
      stepsTaken += 1
    }
    return sampling.steps - stepsTaken
  }

  /// Where it stands. A step under way is not yet taken.
  @export(interface)
  package func state() throws(DitqError) -> (sampler: Sampler, steps: Int, stepsTaken: Int, count: Int) {
    var taken = 0
    try exclusively { taken = stepsTaken }
    return (sampling.sampler, sampling.steps, taken, count)
  }

  /// The latents, and what the network last took the finished ones for: [count, C, S, S] each.
  @export(interface)
  package func copy(latents: UnsafeMutablePointer<Float>?, guess: UnsafeMutablePointer<Float>?) throws(DitqError) {
    try exclusively { () throws(DitqError) in
      latents?.update(from: images.latents, count: count * images.latentCount)
      guess?.update(from: images.origins, count: count * images.latentCount)
    }
  }

  func exclusively(_ body: () throws(DitqError) -> Void) throws(DitqError) {
    try oneCall.begin("run: another call is in progress on it")
    defer { oneCall.end() }
    try body()
  }
}

extension Model {
  /// SHA-256 of all that makes two models unable to go on with each other's runs, but for the weights themselves.
  var fingerprint: SIMD8<UInt32> {
    let c = config, s = sampling
    var hash = SHA256()
    for number in [
      Int(c.compatibility.rawValue), c.hiddenSize, c.depth, c.headCount, c.patchSize, c.channels, c.outputChannels, c.latentSize, c.mlpSize,
      c.classCount, Int(c.secondNormEpsilon.bitPattern), c.isPixelSpace ? 1 : 0, format.weightBits == 32 ? 1 : 0,
      s.prediction == .velocity ? 1 : 0, s.trainSteps,
    ] { withUnsafeBytes(of: UInt64(number).littleEndian) { hash.update($0) } }
    for number in [s.betaStart, s.betaEnd, s.noiseTimestep, s.timestepScale] {
      withUnsafeBytes(of: number.bitPattern.littleEndian) { hash.update($0) }
    }
    if !c.hasNullClass { withUnsafeBytes(of: UInt64(1).littleEndian) { hash.update($0) } }
    // Nothing, as in records of older libraries, for most models.
    var unusual = s.unusualFields + (s.predictsAnother ? s.prediction.name : "")
    unusual.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
    return hash.words()
  }
}
