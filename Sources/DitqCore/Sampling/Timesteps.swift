// Timesteps: which of the training's timesteps a run of n steps visits, by the arithmetic of the code that lists them, to the last rounding.

struct Timesteps {
  enum Choice {
    /// The official code's respacing: the fractional stride (T − 1) / (n − 1), added up and rounded half to even, which includes both ends.
    case respaced
    /// diffusers' three, of which "leading" is the official "ddimN" too, where n divides T.
    case spaced(TimestepSpacing)
    /// From noise to image, in equal steps of t between 0 and 1.
    case flow
  }

  let choice: Choice
  private let count: Int
  /// Of the training.
  private let total: Int
  /// Added to leading timesteps.
  private let offset: Int
  private let noiseTimestep: Double
  /// One more timestep is spaced, and the last left out.
  private let leavesLast: Bool
  /// Whether those between are rounded.
  private let isWhole: Bool

  /// Of so many steps; 1 ≤ count ≤ total, and less where the last is left out.
  init(_ choice: Choice, _ count: Int, _ settings: SamplingSettings, leavesLast: Bool = false, isWhole: Bool = true) {
    (self.choice, self.count, self.leavesLast, self.isWhole) = (choice, count, leavesLast, isWhole)
    (total, offset, noiseTimestep) = (settings.trainSteps, settings.stepsOffset, settings.noiseTimestep)
  }

  var isFlow: Bool { if case .flow = choice { true } else { false } }
  var isSpaced: Bool { if case .spaced = choice { true } else { false } }
  /// The most steps in which no timestep comes twice.
  var largestCount: Int { leavesLast ? max(1, total - 1) : total }

  private var points: Int { leavesLast ? count + 1 : count }

  /// That of a step, the noisiest first. Of a flow also where the last step leads.
  subscript(step: Int) -> Double {
    let place = count - 1 - step
    switch choice {
    case .flow: return Timesteps.flow(step, of: count, noiseTimestep: noiseTimestep)
    case .respaced:
      var sum = 0.0
      for _ in 0..<place { sum += Double(total - 1) / Double(max(1, count - 1)) }
      return sum.rounded(.toNearestOrEven)
    case .spaced(.leading): return Double((place + points - count) * (total / points) + offset)
    case .spaced(.linspace):
      let value = Double(place + points - count) * (Double(total - 1) / Double(max(1, points - 1)))
      return isWhole ? value.rounded(.toNearestOrEven) : value
    case .spaced(.trailing):
      // From T down, by a stride that numpy.arange takes from the difference of its first two values.
      let start = Double(total), second = start - start / Double(count)
      let value = step == 0 ? start : step == 1 ? second : start + Double(step) * (second - start)
      return value.rounded(.toNearestOrEven) - 1
    }
  }

  /// t at the beginning of a step of a flow.
  static func flow(_ step: Int, of steps: Int, noiseTimestep: Double) -> Double {
    let progress = Double(step) / Double(steps)
    return noiseTimestep == 0 ? progress : 1 - progress
  }

  /// Why there is no such run; nil where there is one.
  var problem: String? {
    switch choice {
    case .spaced(.leading):
      let largest = (points - 1) * (total / points) + offset
      return largest < total ? nil : "steps_offset \(offset) leads \(count) steps to timestep \(largest) of \(total)"
    case .spaced(.trailing):
      // Where the stride is rounded down, arange lists one more, −1, on which diffusers fails.
      return Double(total) / (Double(total) / Double(count)) <= Double(count)
        ? nil : "timestep_spacing trailing gives \(count + 1) timesteps of \(total) for \(count) steps, by its rounding"
    default: return nil
    }
  }
}
