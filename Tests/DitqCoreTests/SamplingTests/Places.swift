// Steps between two noise levels, for tests that know these alone: in double precision, of a network that predicts noise.

@testable import DitqCore

extension SampledModel {
  /// Of four channels of 8 × 8 values, with "no class".
  init(
    _ settings: SamplingSettings = SamplingSettings(), _ compatibility: Compatibility = .official, channels: Int = 4,
    outputChannels: Int? = nil
  ) {
    self.init(
      settings: settings, compatibility: compatibility, schedule: NoiseSchedule(settings, SchedulePrecision(compatibility)),
      channels: channels, outputChannels: outputChannels ?? channels, area: 64, hasNullClass: true, assumesPrediction: false)
  }
}

extension StepPlace {
  init(
    _ step: Int = 0, of steps: Int = 2, timestep: Int = 1, earlier: Double? = nil, previous: Double? = nil, from alphaBar: Double,
    to next: Double
  ) {
    self.init(
      step: step, steps: steps, timestep: Double(timestep), earlierAlphaBar: earlier ?? alphaBar, previousAlphaBar: previous ?? alphaBar,
      alphaBar: alphaBar, nextAlphaBar: next, precision: .double)
  }

  /// One of a run over listed timesteps, which ends in the image.
  init(_ step: Int, of steps: Int, _ timesteps: [Int32], _ alphaBars: [Double]) {
    func alphaBar(_ step: Int) -> Double { alphaBars[Int(timesteps[max(0, step)])] }
    self.init(
      step, of: steps, timestep: Int(timesteps[step]), earlier: alphaBar(step - 2), previous: alphaBar(step - 1), from: alphaBar(step),
      to: step + 1 < steps ? alphaBar(step + 1) : 1)
  }
}

extension PredictionReading {
  init(at place: StepPlace) { self.init(.epsilon, alphaBar: place.alphaBar, clipRange: nil) }
}

extension DDIMStep {
  init(alphaBar: Double, nextAlphaBar: Double, eta: Double) {
    let place = StepPlace(from: alphaBar, to: nextAlphaBar)
    self.init(place, PredictionReading(at: place), eta: eta)
  }
}

extension DDPMStep {
  init(_ place: StepPlace, hasLargeVariance: Bool) {
    self.init(place, PredictionReading(at: place), .learned(elseLarge: hasLargeVariance))
  }
}

extension DPMSolverStep {
  init(_ place: StepPlace) { self.init(place, PredictionReading(at: place)) }
}

extension DPMSolverThirdStep {
  init(_ place: StepPlace) { self.init(place, PredictionReading(at: place)) }
}
