// Samplers: what their steps are given, and the table that leads from a sampler's number to its timesteps and its step. Each is a struct in
// a file of its own whose `apply` takes one image a step on, value by value, in double precision: sampling is a thousandth of the work, and
// this way the order of operations is beyond doubt. Refuses nothing: Pipelines/Checks.swift has seen the numbers.

/// One image in a step: `count` values each.
struct SampledImage {
  /// The latents, taken on in place.
  let x: UnsafeMutablePointer<Float>
  /// x₀, what the finished latents are taken for: the last step's on entry, this step's on return.
  let origin: UnsafeMutablePointer<Float>
  /// What the network says, guided.
  let prediction: UnsafePointer<Float>
  /// What it says of the variance; nil where it learned none.
  let variance: UnsafePointer<Float>?
  /// Standard normals; nil for a sampler that draws none.
  let noise: UnsafePointer<Float>?
  let count: Int

  /// Some of its values.
  subscript(range: Range<Int>) -> SampledImage {
    let first = range.lowerBound
    return SampledImage(
      x: x + first, origin: origin + first, prediction: prediction + first, variance: variance.map { $0 + first },
      noise: noise.map { $0 + first }, count: range.count)
  }
}

/// Where a step stands in its run.
struct StepPlace {
  let step: Int
  let steps: Int
  /// ᾱ of the timestep before, in the first step this one's; of this one; and of the next, which is 1 after the last.
  let previousAlphaBar: Double
  let alphaBar: Double
  let nextAlphaBar: Double

  var isFirst: Bool { step == 0 }
  var isLast: Bool { step == steps - 1 }

  init(_ step: Int, of steps: Int, _ timesteps: UnsafePointer<Int32>, _ alphaBars: [Double]) {
    (self.step, self.steps) = (step, steps)
    alphaBar = alphaBars[Int(timesteps[step])]
    previousAlphaBar = step == 0 ? alphaBar : alphaBars[Int(timesteps[step - 1])]
    nextAlphaBar = step + 1 < steps ? alphaBars[Int(timesteps[step + 1])] : 1
  }
}

extension Sampler {
  /// Which timesteps a run of so many steps visits.
  func spacing(steps: Int, of trainSteps: Int, _ compatibility: Compatibility) -> TimestepSpacing {
    switch self {
    case .ddim: compatibility == .official && trainSteps % steps != 0 ? .respaced : .leading
    case .ddpm: compatibility == .official ? .respaced : .leading
    case .dpmpp2M: .bothEnds
    case .flowEuler: .leading
    }
  }

  /// The most steps in which no timestep comes twice.
  func stepLimit(_ trainSteps: Int) -> Int { self == .dpmpp2M ? max(1, trainSteps - 1) : trainSteps }

  func drawsNoise(eta: Double) -> Bool { self == .ddpm || eta > 0 }

  func apply(_ image: SampledImage, at place: StepPlace, eta: Double, _ settings: SamplingSettings, _ compatibility: Compatibility) {
    switch self {
    case .ddim: DDIMStep(alphaBar: place.alphaBar, nextAlphaBar: place.nextAlphaBar, eta: eta).apply(image)
    case .ddpm: DDPMStep(place, hasLargeVariance: compatibility == .official).apply(image)
    case .dpmpp2M: DPMSolverStep(place).apply(image)
    case .flowEuler: FlowEulerStep(place, noiseTimestep: settings.noiseTimestep).apply(image)
    }
  }
}
