// A linear layer by itself: weights packed once, in float or quantized, applied to rows of floats. What `ditq bench gemm` measures.

import CKernels
import Synchronization

package struct LinearOptions {
  /// 8 or 4; 32 = float.
  package var weightBits = 8
  package var weightGroup = 0
  package var leastSquares = false
  /// All rows by this range; nil: each by its own.
  package var activationRange: ClosedRange<Float>?
  package var isaLimit: Int32 = 0
  package var allocator = Allocator.system
  package init() {}
}

package final class PackedLinear {
  package let outputs: Int
  package let inputs: Int
  private let linear: Linear
  private let memory: Block
  private let instructionSet: InstructionSet
  /// Threads and memory of the last call, kept for the next one unless another call has them.
  private var bench: Bench?
  private let isTaken = Atomic<Bool>(false)

  /// weights [outputs, inputs] and bias [outputs] are copied.
  @export(interface)
  package convenience init(
    weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?, outputs: Int, inputs: Int, _ options: LinearOptions
  ) throws(DitqError) {
    for (name, value) in [("outputs", outputs), ("inputs", inputs)] where !(1...IntegerWeights.mostInputs).contains(value) {
      throw DitqError(.invalidArgument, "\(name): 1 to \(IntegerWeights.mostInputs) expected, \(value) found")
    }
    let format = WeightFormat(bits: options.weightBits, group: options.weightGroup, method: options.leastSquares ? .leastSquares : .round)
    if options.weightBits != 32 {
      try format.check()
      for index in 0..<outputs * inputs where !(weights[index].magnitude <= WeightFormat.largest) {
        throw DitqError(
          .invalidArgument, "weights[\(index)]: a magnitude of at most \(WeightFormat.largest) expected, \(weights[index]) found")
      }
    }
    var measure = Arena()
    let (packed, _, _) = PackedLinear.reserve(&measure, outputs, inputs, format)
    var room: (PanelRoom, Block)?
    if case .integers(let weights) = packed { room = try DitqCore.reserve("linear") { PanelRoom(&$0, weights, spreads: false) } }
    self.init(
      outputs, inputs, bias, format, options.activationRange,
      try Block(byteCount: try measure.checkedSize("linear"), from: options.allocator, for: "linear"),
      try InstructionSet.best(limit: options.isaLimit))
    // As they were copied: the host's memory may have changed since it was checked.
    let row = fill(StoredMatrix(floats: weights, outputs: outputs, inputs: inputs), format, room?.0)
    withExtendedLifetime(room) {}
    if let row {
      throw DitqError(.invalidArgument, "weights: magnitudes of at most \(WeightFormat.largest) expected, row \(row) has another")
    }
  }

  private init(
    _ outputs: Int, _ inputs: Int, _ bias: UnsafePointer<Float>?, _ format: WeightFormat, _ activationRange: ClosedRange<Float>?,
    _ memory: Block, _ instructionSet: InstructionSet
  ) {
    (self.outputs, self.inputs, self.memory, self.instructionSet) = (outputs, inputs, memory, instructionSet)
    var arena = Arena(memory.start)
    let (packed, biasCopy, range) = PackedLinear.reserve(&arena, outputs, inputs, format)
    if let bias { biasCopy.update(from: bias, count: outputs) }
    var linear = Linear(weights: packed, outputs: outputs, inputs: inputs, bias: bias == nil ? nil : UnsafePointer(biasCopy))
    if format.bits != 32 { linear.activations = .ownRange }
    if let given = activationRange {
      range.initialize(to: ActivationRange(low: given.lowerBound, high: given.upperBound))
      linear.activations = .ranges(UnsafeBufferPointer(start: range, count: 1))
    }
    self.linear = linear
  }

  private static func reserve(
    _ arena: inout Arena, _ outputs: Int, _ inputs: Int, _ format: WeightFormat
  ) -> (Linear.Weights, UnsafeMutablePointer<Float>, UnsafeMutablePointer<ActivationRange>) {
    let bias = arena.floats(outputs), range = arena.reserve(ActivationRange.self, 1)
    guard format.bits != 32 else { return (.packed(arena.floats(panelCount(outputs), panelColumns, inputs)), bias, range) }
    return (.integers(IntegerWeights(&arena, outputs: outputs, inputs: inputs, bits: format.bits, group: format.group)), bias, range)
  }

  /// Answers with the first row that has a weight too large.
  private func fill(_ source: StoredMatrix, _ format: WeightFormat, _ room: PanelRoom?) -> Int? {
    let kernels = instructionSet.kernels
    for panel in 0..<panelCount(outputs) {
      switch linear.weights {
      case .integers(let integers):
        if let row = integers.fillPanel(panel, from: FoldedMatrix(source), format, nil, room!, kernels) { return row }
      case .packed(let panels):
        source.packPanel(panel, into: UnsafeMutablePointer(mutating: panels) + panel * panelColumns * inputs, kernels)
      case .stored: preconditionFailure("a packed linear has no stored weights")
      }
    }
    return nil
  }

  /// y [rows, outputs] = x [rows, inputs] · weightsᵀ + bias.
  @export(interface)
  package func apply(_ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, threads: Int) throws(DitqError) {
    guard (1...16_777_216).contains(rows) else { throw DitqError(.invalidArgument, "rows: 1 to 16777216 expected, \(rows) found") }
    try ThreadPool.check(threads)
    let isOurs = isTaken.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
    defer { if isOurs { isTaken.store(false, ordering: .releasing) } }
    var found = isOurs ? bench : nil
    if found == nil || !found!.fits(rows: rows, threadsAsked: threads) {
      try withReserve(isLarge: true) { () throws(DitqError) in
        found = try Bench(rows: rows, inputs: inputs, threadsAsked: threads, instructionSet)
      }
      if isOurs { bench = found }
    }
    withExtendedLifetime(found!) { bench in
      bench.executor.apply(linear, to: .plain(x, stride: inputs), rows: rows, bench.buffers, into: y, stride: outputs)
    }
  }
}

/// What a call on a linear works with: made under its reserve, so that the call itself allocates nothing.
private final class Bench {
  let rows: Int
  /// 0 = every CPU that this process might use when this was made: looking them up takes longer than many a call.
  private let threadsAsked: Int
  let executor: Executor
  let buffers: RowBuffers
  private let memory: Block

  /// A convenience initializer, as memory and threads may not be there: see Block.
  convenience init(rows: Int, inputs: Int, threadsAsked: Int, _ set: InstructionSet) throws(DitqError) {
    let threads = try ThreadPool.threads(threadsAsked)
    var measure = Arena()
    _ = Bench.reserve(&measure, rows: rows, inputs: inputs, threads: threads, set.kernels.layout)
    let memory = try Block(byteCount: try measure.checkedSize("rows"), from: .system, for: "rows")
    var arena = Arena(memory.start)
    let (buffers, scratch) = Bench.reserve(&arena, rows: rows, inputs: inputs, threads: threads, set.kernels.layout)
    let pool = try ThreadPool(threads: threads, surroundings: set.surroundings)
    self.init(rows, threadsAsked, memory, buffers, Executor(pool: pool, kernels: set.kernels, scratch: scratch))
  }

  private init(_ rows: Int, _ threadsAsked: Int, _ memory: Block, _ buffers: RowBuffers, _ executor: Executor) {
    (self.rows, self.threadsAsked, self.memory, self.buffers, self.executor) = (rows, threadsAsked, memory, buffers, executor)
  }

  func fits(rows: Int, threadsAsked: Int) -> Bool {
    rows <= self.rows && threadsAsked == self.threadsAsked && executor.pool.hasItsThreads
  }

  private static func reserve(
    _ arena: inout Arena, rows: Int, inputs: Int, threads: Int, _ layout: TileLayout
  ) -> (RowBuffers, ThreadScratch) {
    let scratch = ThreadScratch(&arena, threads: threads, floatsPerThread: Executor.integerScratch(inputs: inputs))
    return (RowBuffers(&arena, rows: rows, inputs: inputs, layout), scratch)
  }
}
