// What the command line calls the options that the library's sentences name. Relies on these naming an option first: "steps: 1 to 1000 expected, …".

enum OptionNames {
  /// Fields of the library's options, each with its flag.
  private static let flags = [
    ("activation_bits", "--activations"), ("activation_mode", "--activation-mode"), ("balance_channels", "--balance"),
    ("calibration_samples", "--calibration-samples"), ("calibration_seed", "--calibration-seed"),
    ("calibration_steps", "--calibration-steps"),
    ("calibration_total_steps", "--calibration-total-steps"), ("error_budget_db", "--error-budget"), ("eta", "--eta"),
    ("guidance_scale", "--guidance"), ("head_count", "--heads"), ("observer", "--observer"), ("sampler", "--sampler"),
    ("samples", "--samples"), ("steps", "--steps"), ("threads", "--threads"), ("weight_bits", "--weights"), ("weight_group", "--group"),
    ("weight_method", "--method"),
  ]

  static func translated(_ sentence: String) -> String {
    guard let colon = sentence.firstIndex(of: ":") else { return sentence }
    let subject = sentence[..<colon], rest = sentence[colon...]
    if subject.hasPrefix("rules[") { return "--rule" + rest }
    return flags.first { $0.0 == subject }.map { $0.1 + rest } ?? sentence
  }
}
