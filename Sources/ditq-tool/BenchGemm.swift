// ditq bench gemm: ditq_linear_apply against the peak of the instruction that it is made of, on as many threads: the integer multiply-add
// of 8-bit numbers, or the fused one of floats; with few rows also against the bandwidth of memory.
//
// Method: after a warm-up, short slices of both alternate for some seconds, so that all see the same clock frequency and the same
// neighbours; the ratio is that of their medians. A call of ditq_linear_apply packs the rows, or measures and quantizes them, and multiplies:
// all of it counts; its threads and memory are those of the call before. What multiplying takes alone is the difference to a layer of one panel
// of outputs on the same rows, in the same turns. Relies on ditq.h and CPeak; refuses shapes whose matrices are above a gigabyte.

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
      GMAC/s are billions of multiply-accumulates a second. The default shape is the first MLP layer of DiT-XL/2 on 512 tokens. With integer \
      weights each row of x is quantized to 8 bits by its own range. "multiply" is without that: the difference to a layer of \(GemmBench.fewOutputs) outputs.

      Few rows (up to 16) take as long as reading the weights does: then the bandwidth of memory is measured too, in the same turns, and what \
      share of it the bits of the weights come to. That is telling once the weights exceed the cache.

      Examples:
        ditq bench gemm --rows 512 --inputs 1152 --outputs 4608 --threads 1
        ditq bench gemm --weights 4 --group 64
        ditq bench gemm --float
        ditq bench gemm --rows 1 --inputs 8192 --outputs 16384
      """)

  @Flag(help: "Weights and activations are floats.") var float = false
  @Option(help: "Bits of a weight: 8 or 4. (default: 8)") var weights: Int?
  @Option(help: "Inputs that share a scale, a multiple of 16; 0 = the whole row. (default: 0 for 8 bits, 128 for 4)") var group: Int?
  @Option(help: "Rows of x.") var rows = 512
  @Option(help: "Columns of x.") var inputs = 1152
  @Option(help: "Columns of y.") var outputs = 4608
  @Option(help: "Threads, for both sides. (default: the CPUs of this process's affinity mask)") var threads: Int32?
  @Option(help: "How long to measure, after the warm-up.") var seconds = 3.0
  @Option(help: "Use no better instruction set than this.") var isa: InstructionSetLimit?
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard !float || weights == nil && group == nil else {
      throw ValidationError("--weights, --group: not with --float, whose weights are not quantized.")
    }
    if let weights, weights != 8 && weights != 4 { throw ValidationError("--weights: 8 or 4 expected, \(weights) found.") }
    if let group, !(0...65536).contains(group) || group % 16 != 0 {
      throw ValidationError("--group: a multiple of 16 from 0 to 65536 expected, \(group) found.")
    }
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
      rows: rows, inputs: inputs, outputs: outputs, weights: kindOfWeights, threads: threads ?? peak_cpu_count(),
      isaLimit: isa?.number ?? Int32(DITQ_ISA_BEST))
    try bench.measure(seconds: seconds)
    print(json ? bench.json : bench.text)
  }

  private var kindOfWeights: Weights {
    if float { return .floats }
    let bits = weights ?? 8
    return .integers(bits: bits, group: group ?? (bits == 8 ? 0 : 128))
  }
}

/// One shape, its matrices, and what was measured.
private struct GemmBench: ~Copyable {
  private static let fewestRepeats = 3
  /// With more rows multiplying takes longer than reading the weights.
  private static let mostRowsOfMemory = 16
  /// A panel: the rest of such a layer's time is what it does with the rows beforehand.
  static let fewOutputs = 32

  private let rows: Int, inputs: Int, outputs: Int
  private let weights: Weights
  private let threads: Int32
  private let peakOfSet: Peak
  private let linear: Linear
  /// The same with few outputs.
  private let narrow: Linear
  private let x: AlignedFloats
  private let y: AlignedFloats
  /// For few rows alone, whose speed is that of reading the weights.
  private let memory: MemoryPeak?
  private var library = Rates(), narrowRates = Rates(), peak = Rates(), bandwidth = Rates()

  init(rows: Int, inputs: Int, outputs: Int, weights: Weights, threads: Int32, isaLimit: Int32) throws {
    (self.rows, self.inputs, self.outputs, self.weights, self.threads) = (rows, inputs, outputs, weights, threads)
    // Careful: kept in a variable, since nothing may throw once a part of this value needs destroying.
    let memory = rows <= Self.mostRowsOfMemory ? try MemoryPeak(threads: threads) : nil
    var random = FixedRandom(seed: 1)
    func layer(_ outputs: Int) throws -> Linear {
      try Linear(
        weights: random.numbers(outputs * inputs), bias: random.numbers(outputs), outputs: outputs, inputs: inputs, as: weights,
        isaLimit: isaLimit)
    }
    let wide = try layer(outputs)
    narrow = try layer(Self.fewOutputs)
    linear = wide
    self.memory = memory
    peakOfSet = Peak(instructionSet: peak_instruction_set(isaLimit), kind: weights.peakKind, threads: threads)
    x = AlignedFloats(random.numbers(rows * inputs))
    y = AlignedFloats([Float](repeating: 0, count: rows * max(outputs, Self.fewOutputs)))
  }

  /// Alternates them for so long, but at least a few times each.
  mutating func measure(seconds: Double) throws {
    let clock = ContinuousClock()
    // The first call touches memory for the first time; the second tells how many fill a slice.
    _ = try rate(of: linear, outputs: outputs, calls: 1)
    _ = try peakOfSet.rate()
    _ = try rate(of: narrow, outputs: Self.fewOutputs, calls: 1)
    let once = macs(outputs) / (try rate(of: linear, outputs: outputs, calls: 1))
    let calls = Int(exactly: min(1e6, max(1, (Peak.sliceSeconds / once).rounded(.up)))) ?? 1
    let start = clock.now
    while library.count < Self.fewestRepeats || (clock.now - start).seconds < seconds {
      peak.add(try peakOfSet.rate())
      if let memory { bandwidth.add(try memory.rate()) }
      library.add(try rate(of: linear, outputs: outputs, calls: calls))
      narrowRates.add(try rate(of: narrow, outputs: Self.fewOutputs, calls: calls))
    }
  }

  private func macs(_ outputs: Int) -> Double { Double(rows) * Double(inputs) * Double(outputs) }

  /// Multiply-accumulates a second of some calls of ditq_linear_apply.
  private func rate(of layer: borrowing Linear, outputs: Int, calls: Int) throws -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    for _ in 0..<calls { try layer.apply(x.start, rows: rows, into: y.start, threads: threads) }
    return Double(calls) * macs(outputs) / max((clock.now - start).seconds, 1e-9)
  }

  private var ratio: Double { library.median / peak.median }
  /// Of the outputs that the narrow layer has not; that of the whole where it has as many, or noise made it as slow.
  private var multiplyRate: Double {
    let more = macs(outputs) / library.median - macs(Self.fewOutputs) / narrowRates.median
    return outputs > Self.fewOutputs && more > 0 ? macs(outputs - Self.fewOutputs) / more : library.median
  }
  private var multiplyRatio: Double { multiplyRate / peak.median }

  var text: String {
    """
    shape            \(rows) × \(inputs) × \(outputs) (rows × inputs × outputs), \(weights.text)
    threads          \(threads)
    instruction set  \(peakOfSet.setName)
    ditq             \(gmacs(library.median, 1)) GMAC/s median, \(gmacs(library.best, 1)) best of \(library.count)
    peak             \(gmacs(peak.median, 1)) GMAC/s median, \(gmacs(peak.best, 1)) best: \(peakOfSet.instructionName)
    ratio            \(fixed(ratio, digits: 3)) of peak, median / median
    multiply         \(gmacs(multiplyRate, 1)) GMAC/s without what is done with the rows beforehand, \(fixed(multiplyRatio, digits: 3)) of peak
    """ + (memory == nil ? "" : "\n" + memoryText)
  }

  /// Bytes of the weights that a multiplication reads: their bits alone, without scales.
  private var weightBytes: Int { inputs * outputs * weights.bits / 8 }
  private var bytesRead: Double { library.median / Double(rows * inputs * outputs) * Double(weightBytes) }
  private var memoryRatio: Double { bytesRead / bandwidth.median }
  private var exceedsCache: Bool { weightBytes > Int(peak_cache_size()) }

  private var memoryText: String {
    let note = exceedsCache ? "" : "; the cache of \(size(UInt64(peak_cache_size()))) holds them"
    return """
      weights          \(fixed(bytesRead * 1e-9, digits: 1)) GB/s read, of \(size(UInt64(weightBytes)))\(note)
      memory           \(fixed(bandwidth.median * 1e-9, digits: 1)) GB/s median, \(fixed(bandwidth.best * 1e-9, digits: 1)) best
      share of memory  \(fixed(memoryRatio, digits: 3)), median / median
      """
  }

  /// Further members, where there are any.
  private var memoryJSON: String {
    guard memory != nil else { return "" }
    return """
      "weights_size": \(weightBytes), "cache_size": \(peak_cache_size()), "weights_exceed_cache": \(exceedsCache), \
      "weights_gb_per_second": \(fixed(bytesRead * 1e-9, digits: 3)), "memory_gb_per_second": \(fixed(bandwidth.median * 1e-9, digits: 3)), \
      "memory_gb_per_second_best": \(fixed(bandwidth.best * 1e-9, digits: 3)), "memory_ratio": \(fixed(memoryRatio, digits: 4)), \

      """
  }

  var json: String {
    """
    {"gmacs": \(gmacs(library.median, 3)), "gmacs_best": \(gmacs(library.best, 3)), "peak_gmacs": \(gmacs(peak.median, 3)), \
    "peak_gmacs_best": \(gmacs(peak.best, 3)), "ratio": \(fixed(ratio, digits: 4)), "multiply_gmacs": \(gmacs(multiplyRate, 3)), "multiply_ratio": \(fixed(multiplyRatio, digits: 4)), "rows": \(rows), "inputs": \(inputs), \
    "outputs": \(outputs), "weights": \(weights.bits), "group": \(weights.group), "threads": \(threads), "instruction_set": "\(peakOfSet.setName)", "instruction": "\(peakOfSet.instructionName)", \
    "repeats": \(library.count), \(memoryJSON)"version": "\(String(cString: ditq_version()))"}
    """
  }

  private func gmacs(_ rate: Double, _ digits: Int) -> String { fixed(rate * 1e-9, digits: digits) }
}

extension Weights {
  /// PEAK_….
  fileprivate var peakKind: Int32 {
    if case .floats = self { return Int32(PEAK_FLOAT) }
    return Int32(bits == 4 ? PEAK_SMALL_INTEGER : PEAK_INTEGER)
  }
}
