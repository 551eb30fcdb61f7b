// What a host asks of quantization, checked, and what that comes to: a plan for each layer, and what has to be calibrated.

package enum ActivationMode: Int32 {
  /// One range a layer, measured while calibrating.
  case fixed = 1
  /// One range a layer and calibrated step.
  case fixedPerStep = 2
  /// Each token's own range, measured as it runs.
  case perToken = 3
  case none = 4

  var name: String {
    switch self {
    case .fixed: "static"
    case .fixedPerStep: "static per step"
    case .perToken: "dynamic per token"
    case .none: "float"
    }
  }
}

package enum WeightMethod: Int32 {
  /// GPTQ for 4 bits, rounding for 8.
  case automatic = 0
  case round = 1
  case leastSquares = 2
  case gptq = 3

  var name: String {
    switch self {
    case .automatic: "automatic"
    case .round: "round"
    case .leastSquares: "mse"
    case .gptq: "gptq"
    }
  }
}

package struct QuantizeOptions {
  package var weightBits = 8
  /// 0 = the whole row; nil = automatic: the row for 8 bits, 128 for 4.
  package var weightGroup: Int?
  package var method = WeightMethod.automatic
  package var activations = ActivationMode.perToken
  package var observer = Observer.extremes
  package var calibrationSteps = 8
  package var calibrationTotalSteps = 50
  package var calibrationSamples = 16
  package var calibrationSeed: UInt64 = QuantizeOptions.standardSeed
  package var balancesChannels = false
  /// 0 = every CPU this process may use.
  package var threads = 0
  /// Output SQNR in dB that the result has to have; 0 = whatever it has.
  package var errorBudget = 0.0
  package var rules: [LayerRule] = []
  package init() {}

  /// Far from the seeds that people generate and compare with.
  static let standardSeed: UInt64 = 1_000_000
}

extension QuantizeOptions {
  func check(_ source: Model) throws(DitqError) {
    guard !source.isQuantized else { throw DitqError(.unsupported, "source: a float model expected, a quantized one found") }
    let trainSteps = source.sampling.trainSteps
    for (name, value, range) in [
      ("calibration_total_steps", calibrationTotalSteps, 1...trainSteps),
      ("calibration_steps", calibrationSteps, 1...max(1, min(1000, calibrationTotalSteps))),
      ("calibration_samples", calibrationSamples, 1...4096),
    ] where !range.contains(value) {
      throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
    }
    guard errorBudget >= 0 && errorBudget <= 200 else {
      throw DitqError(.invalidArgument, "error_budget_db: 0 to 200 expected, \(errorBudget) found")
    }
  }

  /// A plan for each layer of a model, nil for float.
  func plans(_ layers: [NamedLinear]) throws(DitqError) -> [LayerPlan?] {
    let standard = LayerPlan(
      format: WeightFormat(bits: weightBits, group: weightGroup ?? 0, method: .round), activationBits: activations == .none ? 32 : 8)
    try standard.format.check()
    var plans: [LayerPlan?] = []
    var matched = try rules.mapped { $0.isOfDecoder }
    for layer in layers {
      try checkCall()
      let isOfEmbedder = ConditionEmbedder.isLinear(layer.name)
      var plan = LayerPlan(
        layer.name, standard: standard, groupIsAutomatic: weightGroup == nil, isOfEmbedder: isOfEmbedder, rules: rules)
      if let found = plan {
        do throws(DitqError) { try found.format.check() } catch { throw error.said(of: layer.name) }
        try IntegerWeights.check(inputs: layer.linear.inputs, of: layer.name)
        plan?.format.method = rounding(found)
      }
      for (index, rule) in rules.enumerated() where rule.matches(layer.name) { matched[index] = true }
      try plans.add(plan)
    }
    if let index = matched.firstIndex(of: false) {
      throw DitqError(.notFound, "rules[\(index)]: \"\(rules[index].pattern)\" matches no layer; the first is \"\(layers[0].name)\"")
    }
    return plans
  }

  private func rounding(_ plan: LayerPlan) -> WeightFormat.Method {
    switch method {
    case .automatic: plan.format.bits == 4 ? .spread : .round
    case .round: .round
    case .leastSquares: .leastSquares
    case .gptq: .spread
    }
  }

  /// What the weights' method came to.
  func methodName(_ plans: [LayerPlan?]) -> String {
    guard method == .automatic else { return method.name }
    return plans.contains { $0?.format.method == .spread } ? WeightMethod.gptq.name : WeightMethod.round.name
  }

  /// Whether ranges are measured before running.
  var hasStaticRanges: Bool { activations == .fixed || activations == .fixedPerStep }
  /// Whether the extremes of activations are looked for, for ranges or for balance.
  var looksForExtremes: Bool { hasStaticRanges || balancesChannels }

  /// How far the factors of balanced channels may be apart; nil where channels are not balanced.
  var balanceSpread: Float? {
    let spread = ChannelBalance.spread(steps: calibrationSteps, images: calibrationSteps * calibrationSamples)
    return balancesChannels && spread > 1 ? spread : nil
  }

  /// The first step alone, or steps spread evenly from the first to the last.
  var steps: [Int] {
    guard calibrationSteps > 1 else { return [0] }
    return (0..<calibrationSteps).map { index in
      Int((Double(index * (calibrationTotalSteps - 1)) / Double(calibrationSteps - 1)).rounded(.toNearestOrEven))
    }
  }

  /// Where static ranges are checked: up to four steps, evenly spread over those that are not calibrated on, or over all where all are.
  var checkedSteps: [Int] {
    let calibrated = steps, all = Array(1..<max(1, calibrationTotalSteps)), others = all.filter { !calibrated.contains($0) }
    let candidates = others.isEmpty ? all : others
    var result: [Int] = []
    for quarter in 1...4 {
      let place = quarter * candidates.count / 4 - 1
      if place >= 0, candidates[place] != result.last { result.append(candidates[place]) }
    }
    return result
  }
}
