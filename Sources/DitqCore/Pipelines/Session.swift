// Session: a model, the threads and the one piece of memory that calls on it work in. Serves one call at a time; a second one at the same
// moment is refused. Cancelling is the one thing that another thread may do.

import CKernels
import Synchronization

package struct SessionOptions {
  /// 0 = every CPU this process may use.
  package var threads = 0
  /// Images denoised together; 0 = 1.
  package var batchLimit = 0
  package var isaLimit: Int32 = 0
  package var allocator = Allocator.system
  package var arena: UnsafeMutableRawPointer?
  package var arenaSize = 0
  package init() {}

  static let batchLimitLimit = 4096
}

/// What options come to on this machine.
private struct Plan {
  let threads: Int
  let batchLimit: Int
  let instructionSet: InstructionSet

  init(_ options: SessionOptions) throws(DitqError) {
    threads = try ThreadPool.threads(options.threads)
    guard (0...SessionOptions.batchLimitLimit).contains(options.batchLimit) else {
      throw DitqError(.invalidArgument, "batch_limit: 0 to \(SessionOptions.batchLimitLimit) expected, \(options.batchLimit) found")
    }
    batchLimit = max(1, options.batchLimit)
    instructionSet = try InstructionSet.best(limit: options.isaLimit)
  }
}

package final class Session {
  package let model: Model
  let executor: Executor
  let instructionSet: InstructionSet
  package let batchLimit: Int
  let workspace: SessionWorkspace
  /// Bytes it works in, and the memory itself unless the host gave it.
  package let byteCount: Int
  private let memory: Block?
  private let oneCall = OneCall()
  let cancellation: Cancellation
  /// Of the last call.
  var timings: Timings

  /// Bytes that a session with these options works in.
  @export(interface)
  package static func memory(_ model: Model, _ options: SessionOptions) throws(DitqError) -> Int {
    let plan = try Plan(options)
    var arena = Arena()
    _ = SessionWorkspace(&arena, model, batchLimit: plan.batchLimit, threads: plan.threads, plan.instructionSet.kernels)
    return try arena.checkedSize("session")
  }

  @export(interface)
  package convenience init(_ model: Model, _ options: SessionOptions) throws(DitqError) {
    let plan = try Plan(options), byteCount = try Session.memory(model, options)
    guard options.arena != nil || options.arenaSize == 0 else {
      throw DitqError(.invalidArgument, "arena: NULL found with an arena_size of \(options.arenaSize); 0 expected to allocate")
    }
    var memory: Block?
    if let given = options.arena {
      guard UInt(bitPattern: given) % UInt(Block.alignment) == 0 else {
        throw DitqError(.invalidArgument, "arena: an address that is a multiple of \(Block.alignment) expected")
      }
      guard options.arenaSize >= byteCount else {
        throw DitqError(.invalidArgument, "arena_size: at least \(byteCount) bytes expected, \(options.arenaSize) found")
      }
    } else {
      memory = try Block(byteCount: byteCount, from: options.allocator, for: "session")
    }
    self.init(
      model, plan, byteCount, memory, at: options.arena ?? memory!.start,
      try ThreadPool(threads: plan.threads, surroundings: plan.instructionSet.surroundings))
  }

  private init(_ model: Model, _ plan: Plan, _ byteCount: Int, _ memory: Block?, at start: UnsafeMutableRawPointer, _ pool: ThreadPool) {
    var arena = Arena(start)
    let kernels = plan.instructionSet.kernels
    workspace = SessionWorkspace(&arena, model, batchLimit: plan.batchLimit, threads: plan.threads, kernels)
    cancellation = Cancellation()
    executor = Executor(pool: pool, kernels: kernels, scratch: workspace.scratch, cancellation: cancellation)
    (self.model, self.byteCount, self.memory) = (model, byteCount, memory)
    (instructionSet, batchLimit) = (plan.instructionSet, plan.batchLimit)
    timings = Timings()
  }

  /// The number of ditq.h.
  package var isa: Int32 {
    @export(interface) get { instructionSet.number }
  }
  package var threads: Int {
    @export(interface) get { executor.pool.threads }
  }

  /// Ends the call in progress soon. Does nothing on an idle session, because each call begins by forgetting what was asked.
  @export(interface)
  package func cancel() { cancellation.ask() }

  /// Runs a call; refuses a second one at the same time.
  func exclusively(_ body: () throws(DitqError) -> Void) throws(DitqError) {
    try oneCall.begin("session: another call is in progress on it; make a session for each thread")
    defer { oneCall.end() }
    guard executor.pool.hasItsThreads else {
      throw DitqError(.unsupported, "session: it was made before a fork, and its threads are not in this process; make one here")
    }
    cancellation.forget()
    try body()
  }
}

/// Lets one call at a time onto what it guards.
final class OneCall: Sendable {
  private let isBusy = Atomic<Bool>(false)

  func begin(_ refusal: String) throws(DitqError) {
    guard isBusy.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged else {
      throw DitqError(.invalidArgument, refusal)
    }
  }

  func end() { isBusy.store(false, ordering: .releasing) }
}

/// Durations of the last call, in seconds.
struct Timings {
  var steps = 0
  var denoising = 0.0
  var fastestStep = 0.0
  var decoding = 0.0

  mutating func addStep(_ duration: Double) {
    fastestStep = steps == 0 ? duration : min(fastestStep, duration)
    steps += 1
    denoising += duration
  }
}

/// All the memory of a session. The decoder runs when the transformer does not, so the two share theirs.
struct SessionWorkspace {
  let transformer: DiTWorkspace
  let decoder: VAEWorkspace?
  let scratch: ThreadScratch
  /// Of a batch, and the network's output for both halves of a guided one.
  let images: ImageStates
  let prediction: UnsafeMutablePointer<Float>
  /// Noise of one image.
  let noise: UnsafeMutablePointer<Float>
  /// For both halves.
  let timesteps: UnsafeMutablePointer<Float>
  let labels: UnsafeMutablePointer<Int32>
  /// One decoded image before rounding.
  let image: UnsafeMutableBufferPointer<Float>

  var latents: UnsafeMutablePointer<Float> { images.latents }

  init(_ arena: inout Arena, _ model: Model, batchLimit: Int, threads: Int, _ kernels: ditqk_kernels) {
    let config = model.config, images = 2 * batchLimit
    self.images = ImageStates(&arena, images: batchLimit, latentCount: config.latentCount)
    prediction = arena.floats(images, config.outputCount)
    noise = arena.floats(config.latentCount)
    timesteps = arena.floats(images)
    labels = arena.reserve(Int32.self, images)
    image = arena.buffer(model.imageCount ?? 0)
    var scratchFloats = DiTWorkspace.scratch(config, kernels)
    if let decoder = model.decoder {
      scratchFloats = max(scratchFloats, VAEWorkspace.scratch(decoder, latentSize: config.latentSize, kernels))
    }
    scratch = ThreadScratch(&arena, threads: threads, floatsPerThread: scratchFloats)
    transformer = arena.overlapping { arena in
      DiTWorkspace(
        &arena, config, packedFloatsPerToken: model.dit.packedFloatsPerToken(kernels.layout),
        attendsOnIntegers: model.dit.attendsOnIntegers,
        hasOwnEmbedders: model.dit.hasOwnEmbedders, kernels.layout, images: images, threads: threads)
    }
    decoder = model.decoder.map { decoder in arena.overlapping { VAEWorkspace(&$0, decoder, latentSize: config.latentSize) } }
  }
}
