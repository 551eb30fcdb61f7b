// A linear layer by itself: weights packed once, applied to rows of floats. What `ditq bench gemm` measures.

package final class PackedLinear {
  package let outputs: Int
  package let inputs: Int
  private let linear: Linear
  private let memory: Block
  private let instructionSet: InstructionSet

  /// weights [outputs, inputs] and bias [outputs] are copied.
  @export(interface)
  package init(
    weights: UnsafePointer<Float>, bias: UnsafePointer<Float>?, outputs: Int, inputs: Int, isaLimit: Int32, _ allocator: Allocator
  ) throws(DitqError) {
    for (name, value) in [("outputs", outputs), ("inputs", inputs)] where !(1...65536).contains(value) {
      throw DitqError(.invalidArgument, "\(name): 1 to 65536 expected, \(value) found")
    }
    instructionSet = try InstructionSet.best(limit: isaLimit)
    (self.outputs, self.inputs) = (outputs, inputs)
    let count = Linear.packedCount(outputs: outputs, inputs: inputs)
    memory = try Block(byteCount: (count + outputs) * 4, from: allocator, for: "linear")
    let panels = memory.floats, biasCopy = panels + count
    let tensor = Tensor(
      name: "weights", dtype: "F32", shape: [outputs, inputs], start: weights, byteCount: outputs * inputs * 4,
      elementCount: outputs * inputs)
    let matrix = StoredMatrix([tensor], type: .f32, inputs: inputs)
    for panel in 0..<panelCount(outputs) { matrix.packPanel(panel, into: panels + panel * panelColumns * inputs, instructionSet.kernels) }
    if let bias { biasCopy.update(from: bias, count: outputs) }
    linear = Linear(packed: panels, outputs: outputs, inputs: inputs, bias: bias == nil ? nil : UnsafePointer(biasCopy))
  }

  /// y [rows, outputs] = x [rows, inputs] · weightsᵀ + bias.
  @export(interface)
  package func apply(_ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, threads: Int) throws(DitqError) {
    guard (1...16_777_216).contains(rows) else { throw DitqError(.invalidArgument, "rows: 1 to 16777216 expected, \(rows) found") }
    guard (0...SessionOptions.threadLimit).contains(threads) else {
      throw DitqError(.invalidArgument, "threads: 0 to \(SessionOptions.threadLimit) expected, \(threads) found")
    }
    let packed = try Block(byteCount: rows * inputs * 4, from: .system, for: "rows")
    let pool = try ThreadPool(threads: threads == 0 ? availableCPUs() : threads)
    var nothing = Arena()
    let executor = Executor(
      pool: pool, kernels: instructionSet.kernels, scratch: ThreadScratch(&nothing, threads: pool.threads, floatsPerThread: 0))
    let tiles = executor.pack(x, rows: rows, depth: inputs, stride: inputs, into: packed.floats)
    executor.gemm(tiles, linear, into: y, stride: outputs)
  }
}
