// NoiseSchedule: ᾱ of every training timestep, and which timesteps a run of n steps visits.

/// How n timesteps of a run are chosen among the T of the training.
enum TimestepSpacing {
  /// i · ⌊T / n⌋: diffusers' "leading", and the official "ddimN" where n divides T.
  case leading
  /// The official code's respacing: the fractional stride (T − 1) / (n − 1), added up and rounded half to even, which includes both ends.
  case respaced
  /// n + 1 timesteps evenly from 0 to T − 1, rounded half to even, without the 0: diffusers' "linspace".
  case bothEnds
}

struct NoiseSchedule {
  /// ᾱ_t = Π (1 − β), t from 0.
  let alphaBars: [Double]

  init(_ settings: SamplingSettings) {
    var alphaBars: [Double] = []
    var product = 1.0
    let last = Double(max(1, settings.trainSteps - 1))
    for t in 0..<settings.trainSteps {
      product *= 1 - (settings.betaStart + (settings.betaEnd - settings.betaStart) * Double(t) / last)
      alphaBars.append(product)
    }
    self.alphaBars = alphaBars
  }

  /// The timesteps of a run, the noisiest first, into `timesteps` [count]; 1 ≤ count ≤ the training steps.
  func fillTimesteps(_ timesteps: UnsafeMutablePointer<Int32>, count: Int, _ spacing: TimestepSpacing) {
    let total = alphaBars.count
    var sum = 0.0
    for i in 0..<count {
      let timestep: Double
      switch spacing {
      case .leading: timestep = Double(i * (total / count))
      case .respaced:
        timestep = sum
        sum += Double(total - 1) / Double(max(1, count - 1))
      case .bothEnds: timestep = Double(i + 1) * (Double(total - 1) / Double(count))
      }
      timesteps[count - 1 - i] = Int32(timestep.rounded(.toNearestOrEven))
    }
  }
}
