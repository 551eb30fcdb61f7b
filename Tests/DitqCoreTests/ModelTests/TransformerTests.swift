// A call of the transformer, whole: the same to the bit with every instruction set, also with those that no CPU has, in the memory that was measured.

import Testing

@testable import DitqCore

@Suite("Transformer")
struct TransformerTests {
  private static func quantized(_ model: Model, _ bits: Int, group: Int? = nil, _ activations: ActivationMode) throws -> Model {
    var options = QuantizeOptions()
    (options.weightBits, options.weightGroup, options.method, options.activations) = (bits, group, .round, activations)
    (options.calibrationSteps, options.calibrationTotalSteps, options.calibrationSamples, options.threads) = (1, 4, 2, 2)
    return try quantize(model, options, progress: { _, _, _, _, _ in true })
  }

  private func prediction(_ model: Model, _ set: InstructionSet, threads: Int) throws -> [Float] {
    let kernels = set.kernels, images = 2
    var measure = Arena()
    _ = SessionWorkspace(&measure, model, batchLimit: 1, threads: threads, kernels)
    let memory = Buffer(count: measure.peak / 4, filledWith: .nan)
    var arena = Arena(memory.floats), random = SplitMix(3)
    let workspace = SessionWorkspace(&arena, model, batchLimit: 1, threads: threads, kernels)
    let pool = try ThreadPool(threads: threads, surroundings: set.surroundings)
    let forward = DiTForward(
      config: model.config, weights: model.dit, workspace: workspace.transformer,
      executor: Executor(pool: pool, kernels: kernels, scratch: workspace.scratch))
    let x = Buffer(random.floats(images * model.config.latentCount, -2, 2)), output = Buffer(count: images * model.config.outputCount)
    try forward(x: x.floats, inputs: images, timesteps: [999, 20.5], labels: [3, 7], images: images, output: output.floats)
    #expect(memory.isIntact && x.isIntact && output.isIntact, "\(set.name), \(threads) threads")
    return output.values
  }

  @Test("a call gives the same bits with every set and number of threads, in float and quantized")
  func everySet() throws {
    let model = try Fixture.officialModel()
    let models = [
      ("float", model), ("8 bits", try Self.quantized(model, 8, .perToken)), ("4 bits", try Self.quantized(model, 4, group: 48, .perToken)),
      ("4 bits by row, static", try Self.quantized(model, 4, group: 0, .fixed)), ("8 bits, static", try Self.quantized(model, 8, .fixed)),
      ("4 bits, weights alone", try Self.quantized(model, 4, group: 32, .none)),
    ]
    for (name, model) in models {
      let first = try prediction(model, instructionSets()[0], threads: 1)
      #expect(first.allSatisfy { $0.isFinite } && Set(first).count > first.count / 2, "\(name)")
      for set in instructionSets() {
        for threads in [1, 3] {
          #expect(same(try prediction(model, set, threads: threads), first), "\(name): \(set.name), \(threads) threads")
        }
      }
    }
  }
}
