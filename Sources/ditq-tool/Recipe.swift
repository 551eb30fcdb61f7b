// Recipes of ditq quantize: options under one name. Relies on the options that they stand for; refuses others that contradict them.

import ArgumentParser
import CDitq

enum Recipe: String, ExpressibleByArgument, CaseIterable {
  /// arXiv 2406.11100 as this project reads it: static ranges of the first sampling step, 8-bit weights by row or 4-bit ones in groups of
  /// 128, rounded to the nearest.
  case paper

  func check(_ command: QuantizeCommand) throws {
    let group: Int32 = command.weights == .eight ? 0 : 128, calibration = command.calibration
    try expect("activations", ActivationBits.eight.rawValue, command.activations.rawValue)
    try expect("activation-mode", ActivationMode.fixed.rawValue, calibration.activationMode?.rawValue)
    try expect("observer", Observer.minmax.rawValue, calibration.observer?.rawValue)
    try expect("calibration-steps", "1", calibration.calibrationSteps.map(String.init))
    try expect("method", WeightMethod.round.rawValue, command.method?.rawValue)
    try expect(
      "group", group == 0 ? "row" : "128",
      command.group == WeightGroup.automatic || command.group == group ? nil : WeightGroup.text(command.group))
    if calibration.balance { throw ValidationError("--recipe paper: no --balance expected, --balance found.") }
    if calibration.errorBudget != nil { throw ValidationError("--recipe paper: no --error-budget expected, one found.") }
  }

  /// What the command line may also say, but nothing else.
  private func expect(_ option: String, _ expected: String, _ found: String?) throws {
    guard let found, found != expected else { return }
    throw ValidationError("--recipe \(rawValue): --\(option) \(expected) expected, \(found) found.")
  }

  func apply(to options: inout ditq_quantize_options) {
    options.activation_mode = Int32(DITQ_ACTIVATION_STATIC)
    options.calibration_steps = 1
    options.weight_method = Int32(DITQ_WEIGHT_ROUND)
  }
}
