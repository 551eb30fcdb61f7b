// What a model's JSON says of how it was calibrated, for people: "calibration" of ditq_model_describe_json. The figures are the library's.

struct Calibration {
  let json: JSON

  /// Share of the activations of a step above which static ranges are worth a warning.
  private static let worthWarning = 0.001
  private static let layersShown = 5

  /// nil for a model that was not quantized.
  init?(of model: JSON) {
    guard let json = model["calibration"], case .object = json else { return nil }
    self.json = json
  }

  /// Which activations and weights, and from what.
  var provenance: String? {
    guard let activations = json["activations"]?.string, let weights = json["weights"]?.string else { return nil }
    var text = "activations \(activations)"
    if let observer = json["observer"]?.string { text += " (\(observer))" }
    text += ", weights \(weights)"
    if case .boolean(true) = json["balanced"] { text += ", channels balanced" }
    let steps = json["timesteps"]?.elements ?? []
    guard !steps.isEmpty, let total = json["total_steps"]?.literal, let samples = json["samples"]?.literal, let seed = json["seed"]?.literal
    else { return text }
    return text + "; from \(steps.count) of \(total) steps of \(samples) images, seed \(seed)"
  }

  /// The checked step at which most is clipped.
  private var worstStep: (timestep: String, share: Double)? {
    let timesteps = (json["checked_timesteps"]?.elements ?? []).compactMap(\.literal)
    let shares = (json["clipped"]?.elements ?? []).compactMap(\.double)
    return zip(timesteps, shares).map { (timestep: $0, share: $1) }.max { $0.share < $1.share }
  }

  var clipped: String? { worstStep.map { "\(percent($0.share)) at the worst checked step, t = \($0.timestep)" } }

  /// "blocks.0.mlp.fc2 to 8 bits, …": layers that an error budget raised.
  var raised: String? {
    let layers = (json["raised"]?.members ?? []).map { "\($0.name) to \($0.value.literal == "32" ? "float" : "8 bits")" }
    return layers.isEmpty ? nil : layers.joined(separator: ", ")
  }

  /// In dB, as it was measured against an error budget.
  var outputSQNR: Double? { json["output_sqnr_db"]?.double }

  /// What would clip less than the model's own way.
  private var remedy: String {
    if let observer = json["observer"]?.string, observer != "minmax" { return ", as the observer \(observer) means to; minmax clips less" }
    return json["activations"]?.string == "static per step"
      ? "; more calibration steps, or dynamic ranges, help" : "; more calibration steps, or per-step or dynamic ranges, help"
  }

  /// What a person should know before using the model.
  func warnings(errorBudget: Double?) -> [String] {
    var warnings: [String] = []
    if let worst = worstStep, worst.share > Calibration.worthWarning {
      let layers = mostClipped((json["clipped_by_layer"]?.members ?? []).compactMap { name, share in share.double.map { (name, $0) } })
        .prefix(Calibration.layersShown).map { "\($0.name) \(percent($0.share))" }.joined(separator: ", ")
      warnings.append(
        "static ranges clip \(percent(worst.share)) of the activations at t = \(worst.timestep), most in \(layers)"
          + remedy)
    }
    if let budget = errorBudget, let reached = outputSQNR, reached < budget {
      warnings.append("the error budget of \(general(budget)) dB is not met: \(decibels(reached)), with every layer raised that can be")
    }
    return warnings
  }
}

/// Those of which something is clipped, most first.
func mostClipped(_ layers: [(name: String, share: Double)]) -> [(name: String, share: Double)] {
  layers.filter { $0.share > 0 }.sorted { $0.share > $1.share }
}
