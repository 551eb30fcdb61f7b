// The options of ditq quantize that say how activations become integers and what that is calibrated on. They are optional, so that what was
// asked for is known from what is only usual: where nothing is calibrated they are refused, instead of being ignored.

import ArgumentParser
import CDitq

/// Where an activation's range comes from.
enum ActivationMode: String, ExpressibleByArgument, CaseIterable {
  case dynamic
  case fixed = "static"
  case perStep = "per-step"

  /// DITQ_ACTIVATION_….
  var number: Int32 {
    switch self {
    case .dynamic: Int32(DITQ_ACTIVATION_DYNAMIC_PER_TOKEN)
    case .fixed: Int32(DITQ_ACTIVATION_STATIC)
    case .perStep: Int32(DITQ_ACTIVATION_STATIC_PER_STEP)
    }
  }
}

/// How a static range follows from the values seen.
enum Observer: String, ExpressibleByArgument, CaseIterable {
  case minmax, percentile, mse

  /// DITQ_OBSERVER_….
  var number: Int32 {
    switch self {
    case .minmax: Int32(DITQ_OBSERVER_MINMAX)
    case .percentile: Int32(DITQ_OBSERVER_PERCENTILE)
    case .mse: Int32(DITQ_OBSERVER_MSE)
    }
  }
}

struct CalibrationOptions: ParsableArguments {
  @Option(
    help: """
      Where ranges of 8-bit activations come from: each token's own, as it runs; static, one a layer; per-step, one a layer and calibrated \
      step. (default: dynamic)
      """) var activationMode: ActivationMode?
  @Option(help: "What a static range holds: all values, all but the outermost, or the share of least squared error. (default: minmax)")
  var observer: Observer?
  @Flag(help: "Move outlier channels from activations into weights.") var balance = false
  @Option(help: "Raise layers to 8 bits, then to float, until the output has so many dB of SQNR.") var errorBudget: Double?
  @Option(help: "Steps to calibrate on, spread over the run; 1 is its first. (default: 8)") var calibrationSteps: Int32?
  @Option(help: "Steps of that run. (default: 50)") var calibrationTotalSteps: Int32?
  @Option(help: "Images to calibrate on. (default: 16)") var calibrationSamples: Int32?
  @Option(help: "Seed of the first of them; the others take the next numbers. (default: 1000000)") var calibrationSeed: UInt64?

  /// Whether ranges are measured before running.
  var hasStaticRanges: Bool { activationMode == .fixed || activationMode == .perStep }

  /// Throws where an option would be ignored. `othersCalibrate`: something else is calibrated than what these options ask for.
  func check(activationsAreFloat: Bool, othersCalibrate: Bool) throws {
    if activationsAreFloat, let mode = activationMode {
      throw ValidationError(
        "--activation-mode: 8-bit activations expected, --activation-mode \(mode.rawValue) with --activations 32 found.")
    }
    if activationsAreFloat, balance { throw ValidationError("--balance: 8-bit activations expected, --activations 32 found.") }
    if observer != nil, !hasStaticRanges {
      throw ValidationError("--observer: --activation-mode static or per-step expected, \(activationMode?.rawValue ?? "dynamic") found.")
    }
    guard !(hasStaticRanges || balance || errorBudget != nil || othersCalibrate) else { return }
    for (name, isGiven) in [
      ("steps", calibrationSteps != nil), ("total-steps", calibrationTotalSteps != nil), ("samples", calibrationSamples != nil),
      ("seed", calibrationSeed != nil),
    ] where isGiven {
      throw ValidationError(
        "--calibration-\(name): nothing is calibrated; --activation-mode static or per-step, --balance, --method gptq or --error-budget expected."
      )
    }
  }

  func apply(to options: inout ditq_quantize_options) {
    if let mode = activationMode { options.activation_mode = mode.number }
    if let observer { options.observer = observer.number }
    if let steps = calibrationSteps { options.calibration_steps = steps }
    if let steps = calibrationTotalSteps {
      options.calibration_total_steps = steps
      if calibrationSteps == nil { options.calibration_steps = min(options.calibration_steps, max(1, steps)) }
    }
    if let samples = calibrationSamples { options.calibration_samples = samples }
    if let seed = calibrationSeed { options.calibration_seed = seed }
    if let budget = errorBudget { options.error_budget_db = budget }
    options.balance_channels = balance ? 1 : 0
  }
}
