// ditq bench gemm: ditq_linear_apply against the peak of the multiply-add that it is made of, on as many threads.
//
// Method: after a warm-up, short slices of the two alternate for some seconds, so that both see the same clock frequency and the same
// neighbours; the ratio is that of their medians. A call of ditq_linear_apply starts its threads and takes its packing buffer, packs the
// rows and multiplies: all of it counts. Relies on ditq.h and CPeak; refuses shapes whose matrices are above a gigabyte.

import ArgumentParser
import CDitq
import CPeak

/// Instruction sets by the words of the command line.
enum InstructionSetLimit: String, ExpressibleByArgument, CaseIterable {
  case generic, avx2, avx512

  /// DITQ_ISA_….
  var number: Int32 {
    switch self {
    case .generic: Int32(DITQ_ISA_GENERIC)
    case .avx2: Int32(DITQ_ISA_AVX2)
    case .avx512: Int32(DITQ_ISA_AVX512VNNI)
    }
  }
}

struct BenchGemm: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gemm", abstract: "Measure y [rows, outputs] = x [rows, inputs] · weightsᵀ against the peak of its instruction.",
    discussion: """
      GMAC/s are billions of multiply-accumulates a second. The default shape is the first MLP layer of DiT-XL/2 on 512 tokens.

      Example:
        ditq bench gemm --float --rows 512 --inputs 1152 --outputs 4608 --threads 1
      """)

  @Flag(help: "Weights are floats (the only ones so far).") var float = false
  @Option(help: "Rows of x.") var rows = 512
  @Option(help: "Columns of x.") var inputs = 1152
  @Option(help: "Columns of y.") var outputs = 4608
  @Option(help: "Threads, for both sides. (default: the CPUs of this process's affinity mask)") var threads: Int32?
  @Option(help: "How long to measure, after the warm-up.") var seconds = 3.0
  @Option(help: "Use no better instruction set than this.") var isa: InstructionSetLimit?
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard float else { throw ValidationError("--float expected, no kind of weights found: floats are the only ones so far.") }
    for (name, value) in [("rows", rows), ("inputs", inputs), ("outputs", outputs)] where !(1...65536).contains(value) {
      throw ValidationError("--\(name): 1 to 65536 expected, \(value) found.")
    }
    for (name, count) in [("x", rows * inputs), ("weights", inputs * outputs), ("y", rows * outputs)] where count > 1 << 28 {
      throw ValidationError("\(name): a matrix of at most \(1 << 28) elements expected, \(count) found.")
    }
    if let threads, threads < 1 { throw ValidationError("--threads: 1 or more expected, \(threads) found.") }
    guard (0.01...3600).contains(seconds) else { throw ValidationError("--seconds: 0.01 to 3600 expected, \(seconds) found.") }
  }

  func run() throws {
    var bench = try GemmBench(
      rows: rows, inputs: inputs, outputs: outputs, threads: threads ?? peak_cpu_count(), isaLimit: isa?.number ?? Int32(DITQ_ISA_BEST))
    try bench.measure(seconds: seconds)
    print(json ? bench.json : bench.text)
  }
}

/// One shape, its matrices, and what was measured.
private struct GemmBench: ~Copyable {
  /// A slice is at least so long: enough to make starting threads unimportant for the peak, short enough for a steady clock.
  private static let sliceSeconds = 0.02
  private static let fewestRepeats = 3

  private let rows: Int, inputs: Int, outputs: Int
  private let threads: Int32, instructionSet: Int32
  private let linear: Linear
  private let x: [Float]
  private var y: [Float]
  private var library = Rates(), peak = Rates()

  init(rows: Int, inputs: Int, outputs: Int, threads: Int32, isaLimit: Int32) throws {
    (self.rows, self.inputs, self.outputs, self.threads) = (rows, inputs, outputs, threads)
    var random = FixedRandom(seed: 1)
    linear = try Linear(
      weights: random.numbers(outputs * inputs), bias: random.numbers(outputs), outputs: outputs, inputs: inputs, isaLimit: isaLimit)
    instructionSet = peak_instruction_set(isaLimit)
    x = random.numbers(rows * inputs)
    y = [Float](repeating: 0, count: rows * outputs)
  }

  /// Alternates the two for so long, but at least a few times each.
  mutating func measure(seconds: Double) throws {
    let clock = ContinuousClock()
    // The first call touches memory for the first time; the second tells how many fill a slice.
    _ = try libraryRate(calls: 1)
    _ = try peakRate()
    let once = Double(rows) * Double(inputs) * Double(outputs) / (try libraryRate(calls: 1))
    let calls = max(1, Int((Self.sliceSeconds / once).rounded(.up)))
    let start = clock.now
    while library.count < Self.fewestRepeats || (clock.now - start).seconds < seconds {
      peak.add(try peakRate())
      library.add(try libraryRate(calls: calls))
    }
  }

  /// Multiply-accumulates a second of some calls of ditq_linear_apply.
  private mutating func libraryRate(calls: Int) throws -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    for _ in 0..<calls { try linear.apply(x, rows: rows, into: &y, threads: threads) }
    let elapsed = max((clock.now - start).seconds, 1e-9)
    return Double(calls) * Double(rows) * Double(inputs) * Double(outputs) / elapsed
  }

  private func peakRate() throws -> Double {
    let rate = peak_measure(instructionSet, threads, Self.sliceSeconds)
    guard rate > 0 else {
      throw LibraryError(status: ditq_status(DITQ_OUT_OF_MEMORY), message: "\(threads) threads expected, fewer could be started")
    }
    return rate
  }

  private var ratio: Double { library.median / peak.median }
  private var setName: String { String(cString: peak_set_name(instructionSet)) }
  private var instructionName: String { String(cString: peak_instruction_name(instructionSet)) }

  var text: String {
    """
    shape            \(rows) × \(inputs) × \(outputs) (rows × inputs × outputs), float
    threads          \(threads)
    instruction set  \(setName)
    ditq             \(gmacs(library.median, 1)) GMAC/s median, \(gmacs(library.best, 1)) best of \(library.count)
    peak             \(gmacs(peak.median, 1)) GMAC/s median, \(gmacs(peak.best, 1)) best: \(instructionName)
    ratio            \(fixed(ratio, digits: 3)) of peak, median / median
    """
  }

  var json: String {
    """
    {"gmacs": \(gmacs(library.median, 3)), "gmacs_best": \(gmacs(library.best, 3)), "peak_gmacs": \(gmacs(peak.median, 3)), \
    "peak_gmacs_best": \(gmacs(peak.best, 3)), "ratio": \(fixed(ratio, digits: 4)), "rows": \(rows), "inputs": \(inputs), \
    "outputs": \(outputs), "threads": \(threads), "instruction_set": "\(setName)", "instruction": "\(instructionName)", \
    "repeats": \(library.count), "version": "\(String(cString: ditq_version()))"}
    """
  }

  private func gmacs(_ rate: Double, _ digits: Int) -> String { fixed(rate * 1e-9, digits: digits) }
}
