// Steps between two noise levels, for tests that know these alone: in double precision, of a network that predicts noise.

@testable import DitqCore

extension StepPlace {
  init(_ step: Int = 0, of steps: Int = 2, timestep: Int = 1, previous: Double? = nil, from alphaBar: Double, to next: Double) {
    self.init(
      step: step, steps: steps, timestep: timestep, previousAlphaBar: previous ?? alphaBar, alphaBar: alphaBar, nextAlphaBar: next,
      precision: .double)
  }

  /// One of a run over listed timesteps, which ends in the image.
  init(_ step: Int, of steps: Int, _ timesteps: [Int32], _ alphaBars: [Double]) {
    self.init(
      step, of: steps, timestep: Int(timesteps[step]), previous: alphaBars[Int(timesteps[max(0, step - 1)])],
      from: alphaBars[Int(timesteps[step])], to: step + 1 < steps ? alphaBars[Int(timesteps[step + 1])] : 1)
  }
}

extension PredictionReading {
  init(at place: StepPlace) { self.init(.epsilon, at: place, clipRange: nil) }
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
