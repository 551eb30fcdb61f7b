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
  let timestep: Int
  /// ᾱ of the timestep before, in the first step this one's; of this one; and of the next, or what it is after the last.
  let previousAlphaBar: Double
  let alphaBar: Double
  let nextAlphaBar: Double
  let precision: SchedulePrecision

  var isFirst: Bool { step == 0 }
  var isLast: Bool { step == steps - 1 }
  /// Of DDPM: the public code's last step adds no noise, diffusers' where its timestep is 0.
  var addsNoise: Bool { precision == .single ? timestep > 0 : !isLast }
  /// ᾱ of this timestep in proportion to the next one's, of which 1 − β̃ is made: rounded, it is most of what single precision changes.
  var ratio: Double { precision(alphaBar / nextAlphaBar) }
}

extension Sampler {
  /// Which timesteps a run of so many steps visits.
  func timesteps(steps: Int, _ settings: SamplingSettings, _ compatibility: Compatibility) -> Timesteps {
    let isRespaced = compatibility == .official && settings.spacing == nil
    let choice: Timesteps.Choice
    switch self {
    case .ddim: choice = isRespaced && settings.trainSteps % steps != 0 ? .respaced : .spaced(settings.spacing ?? .leading)
    case .ddpm: choice = isRespaced ? .respaced : .spaced(settings.spacing ?? .leading)
    case .dpmpp2M: choice = .spaced(settings.spacing ?? .linspace)
    case .flowEuler: choice = .spaced(.leading)
    }
    return Timesteps(choice: choice, offset: self == .flowEuler ? 0 : settings.stepsOffset, leavesLast: self == .dpmpp2M)
  }

  func place(_ step: Int, of steps: Int, _ timesteps: UnsafePointer<Int32>, _ rule: Timesteps, _ schedule: NoiseSchedule) -> StepPlace {
    func alphaBar(_ timestep: Int) -> Double {
      self == .dpmpp2M ? schedule.solverAlphaBar(timestep) : schedule.alphaBars[timestep]
    }
    let timestep = Int(timesteps[step])
    var next = step + 1 < steps ? Int(timesteps[step + 1]) : -1
    // diffusers' DDIM takes the one that leading spacing has next, however it spaces.
    if self == .ddim, case .spaced = rule.choice { next = timestep - schedule.alphaBars.count / steps }
    return StepPlace(
      step: step, steps: steps, timestep: timestep, previousAlphaBar: alphaBar(Int(timesteps[max(0, step - 1)])),
      alphaBar: alphaBar(timestep), nextAlphaBar: next >= 0 ? alphaBar(next) : self == .ddim ? schedule.lastAlphaBar : 1,
      precision: schedule.precision)
  }

  /// The most steps in which no timestep comes twice.
  func stepLimit(_ trainSteps: Int) -> Int { self == .dpmpp2M ? max(1, trainSteps - 1) : trainSteps }

  func drawsNoise(eta: Double) -> Bool { self == .ddpm || eta > 0 }

  func apply(_ image: SampledImage, at place: StepPlace, eta: Double, _ settings: SamplingSettings, _ compatibility: Compatibility) {
    let reading = PredictionReading(settings.prediction, at: place, clipRange: self == .dpmpp2M ? nil : settings.clipRange)
    switch self {
    case .ddim: DDIMStep(place, reading, eta: eta).apply(image)
    case .ddpm: DDPMStep(place, reading, DDPMVariance(settings, compatibility)).apply(image)
    case .dpmpp2M: DPMSolverStep(place, reading).apply(image)
    case .flowEuler: FlowEulerStep(place, noiseTimestep: settings.noiseTimestep).apply(image)
    }
  }
}
