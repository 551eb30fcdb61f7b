// NoiseSchedule: ᾱ of every training timestep. diffusers computes it in torch's single precision, which at small noise is a thousandth and
// more away from the formula: its models were tuned and its pictures made with these numbers, so that they are followed to the bit, but
// for square roots, whose last bit torch leaves to the CPU.
// Refuses nothing: the settings were checked when they were read.

struct NoiseSchedule {
  /// ᾱ_t = Π (1 − β), t from 0.
  private(set) var alphaBars: [Double] = []
  /// ᾱ after DDIM's last step.
  let lastAlphaBar: Double
  let precision: SchedulePrecision
  private let isRescaled: Bool

  init(_ settings: SamplingSettings, _ precision: SchedulePrecision) {
    (self.precision, isRescaled) = (precision, settings.rescalesToZeroSNR)
    var product = 1.0
    for t in 0..<settings.trainSteps {
      product *= precision(1 - settings.beta(t, precision))
      alphaBars.append(precision(product))
    }
    if isRescaled { alphaBars = NoiseSchedule.rescaled(alphaBars, precision) }
    lastAlphaBar = settings.endsInImage ? 1 : alphaBars[0]
  }

  /// Shifts and scales √ᾱ so that it is 0 at the end and as before at the beginning (Lin et al. 2023, algorithm 1).
  private static func rescaled(_ alphaBars: [Double], _ precision: SchedulePrecision) -> [Double] {
    func root(_ alphaBar: Double) -> Double { precision(alphaBar.squareRoot()) }
    let first = root(alphaBars[0]), last = root(alphaBars[alphaBars.count - 1])
    let factor = precision(first / precision(first - last))
    var result: [Double] = []
    // Back to betas and from them to products again, as the code does it.
    var before = 1.0, product = 1.0
    for alphaBar in alphaBars {
      let shifted = precision(precision(root(alphaBar) - last) * factor), target = precision(shifted * shifted)
      let beta = precision(1 - precision(target / before))
      product *= precision(1 - beta)
      result.append(precision(product))
      before = target
    }
    return result
  }

  /// ᾱ of a timestep; between two, by their σ = √((1 − ᾱ) / ᾱ). For what divides by it, diffusers has 2⁻²⁴ instead of the 0 of a rescaled
  /// schedule.
  func alphaBar(_ timestep: Double, isDivisor: Bool) -> Double {
    func known(_ index: Int) -> Double { isDivisor && isRescaled && index == alphaBars.count - 1 ? 0x1p-24 : alphaBars[index] }
    let below = Int(timestep), share = timestep - Double(below)
    guard share != 0 else { return known(below) }
    func sigma(_ alphaBar: Double) -> Double { ((1 - alphaBar) / alphaBar).squareRoot() }
    let between = sigma(known(below)) + share * (sigma(known(below + 1)) - sigma(known(below)))
    return 1 / (1 + between * between)
  }
}

/// In what precision a schedule is kept.
enum SchedulePrecision {
  case double
  /// torch's float32 on a CPU; products are added up in double precision and rounded at each t.
  case single

  init(_ compatibility: Compatibility) { self = compatibility == .diffusers ? .single : .double }

  func callAsFunction(_ value: Double) -> Double { self == .single ? Double(Float(value)) : value }

  /// Value t of `count` evenly from `start` to `end`.
  func interpolated(_ start: Double, _ end: Double, _ t: Int, of count: Int) -> Double {
    guard self == .single else { return start + (end - start) * Double(t) / Double(max(1, count - 1)) }
    // torch.linspace: from the nearer end, the product and the sum rounded once.
    let first = Float(start), last = Float(end)
    guard count > 1 else { return Double(first) }
    let step = (last - first) / Float(count - 1)
    return Double(t < count / 2 ? first.addingProduct(step, Float(t)) : last.addingProduct(-step, Float(count - 1 - t)))
  }
}

extension SamplingSettings {
  fileprivate func beta(_ t: Int, _ precision: SchedulePrecision) -> Double {
    if let trainedBetas { return precision(trainedBetas[t]) }
    switch betaSchedule {
    case .linear: return precision.interpolated(betaStart, betaEnd, t, of: trainSteps)
    case .scaledLinear:
      let root = precision.interpolated(betaStart.squareRoot(), betaEnd.squareRoot(), t, of: trainSteps)
      return precision(root * root)
    case .squaredCosine:
      func alphaBar(_ t: Int) -> Double {
        let cosine = sineAndCosine((Double(t) / Double(trainSteps) + 0.008) / 1.008 * Double.pi / 2).cosine
        return cosine * cosine
      }
      return precision(min(1 - alphaBar(t + 1) / alphaBar(t), 0.999))
    }
  }
}
