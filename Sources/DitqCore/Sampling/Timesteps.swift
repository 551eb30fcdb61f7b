// Timesteps: which of the training's timesteps a run of n steps visits, by the arithmetic of the code that lists them, to the last rounding.

struct Timesteps {
  enum Choice {
    /// The official code's respacing: the fractional stride (T − 1) / (n − 1), added up and rounded half to even, which includes both ends.
    case respaced
    /// diffusers' three, of which "leading" is the official "ddimN" too, where n divides T.
    case spaced(TimestepSpacing)
  }

  let choice: Choice
  /// Added to leading timesteps.
  let offset: Int
  /// One more timestep is spaced, and the last left out: DPM-Solver++ goes from the one before it to the image.
  let leavesLast: Bool

  /// The timesteps, the noisiest first, into `timesteps` [count]; 1 ≤ count ≤ total, and less where the last is left out.
  func fill(_ timesteps: UnsafeMutablePointer<Int32>, count: Int, of total: Int) {
    let points = leavesLast ? count + 1 : count, first = points - count
    var sum = 0.0
    for i in 0..<count {
      let timestep: Double
      switch choice {
      case .respaced:
        timestep = sum.rounded(.toNearestOrEven)
        sum += Double(total - 1) / Double(max(1, count - 1))
      case .spaced(.leading): timestep = Double((i + first) * (total / points) + offset)
      case .spaced(.linspace):
        timestep = (Double(i + first) * (Double(total - 1) / Double(max(1, points - 1)))).rounded(.toNearestOrEven)
      case .spaced(.trailing):
        // From T down, by a stride that numpy.arange takes from the difference of its first two values.
        let start = Double(total), place = count - 1 - i, second = start - start / Double(count)
        let value = place == 0 ? start : place == 1 ? second : start + Double(place) * (second - start)
        timestep = value.rounded(.toNearestOrEven) - 1
      }
      timesteps[count - 1 - i] = Int32(timestep)
    }
  }

  /// Why there is no such run; nil where there is one.
  func problem(count: Int, of total: Int) -> String? {
    switch choice {
    case .spaced(.leading):
      let points = leavesLast ? count + 1 : count, largest = (points - 1) * (total / points) + offset
      return largest < total ? nil : "steps_offset \(offset) leads \(count) steps to timestep \(largest) of \(total)"
    case .spaced(.trailing):
      // Where the stride is rounded down, arange lists one more, −1, on which diffusers fails.
      return Double(total) / (Double(total) / Double(count)) <= Double(count)
        ? nil : "timestep_spacing trailing gives \(count + 1) timesteps of \(total) for \(count) steps, by its rounding"
    default: return nil
    }
  }
}
