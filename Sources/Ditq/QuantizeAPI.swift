// ditq.h, "Quantization".

import CDitq
import DitqCore

@c @implementation
public func ditq_quantize_options_init(_ options: UnsafeMutablePointer<ditq_quantize_options>!) {
  guard let options else { return }
  var result = ditq_quantize_options()
  let standard = QuantizeOptions()
  result.struct_size = UInt32(MemoryLayout<ditq_quantize_options>.size)
  result.weight_bits = Int32(standard.weightBits)
  result.weight_group = -1
  result.activation_bits = 8
  result.calibration_steps = Int32(standard.calibrationSteps)
  result.calibration_total_steps = Int32(standard.calibrationTotalSteps)
  result.calibration_samples = Int32(standard.calibrationSamples)
  result.calibration_seed = standard.calibrationSeed
  options.pointee = result
}

@c @implementation
public func ditq_quantize(
  _ source: OpaquePointer!, _ options: UnsafePointer<ditq_quantize_options>!, _ quantized: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let source = try object(source, Model.self, "source"), quantized = try required(quantized, "quantized")
    let (values, progress) = try quantizeOptions(options)
    quantized.pointee = handle(try quantize(source, values) { progress.tell($0, $1, $2, $3, $4) })
  }
}

private func quantizeOptions(_ pointer: UnsafePointer<ditq_quantize_options>?) throws(DitqError) -> (QuantizeOptions, HostProgress) {
  var result = QuantizeOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress()) }
  result.weightBits = Int(found.weight_bits)
  result.weightGroup = found.weight_group == -1 ? nil : Int(found.weight_group)
  result.method = try enumerator(
    "weight_method", found.weight_method, WeightMethod(rawValue: found.weight_method), "0 (auto), 1 (round), 2 (MSE) or 3 (GPTQ)")
  guard found.activation_bits == 8 else {
    throw DitqError(.unsupported, "activation_bits: 8 expected, \(found.activation_bits) found")
  }
  if Int(found.activation_mode) != DITQ_ACTIVATION_AUTO {
    result.activations = try enumerator(
      "activation_mode", found.activation_mode, ActivationMode(rawValue: found.activation_mode),
      "0 (auto), 1 (static), 2 (static per step), 3 (dynamic per token) or 4 (none)")
  }
  result.observer = try enumerator(
    "observer", found.observer, Observer(rawValue: found.observer), "0 (min-max), 1 (percentile) or 2 (MSE)")
  (result.calibrationSteps, result.calibrationTotalSteps) = (Int(found.calibration_steps), Int(found.calibration_total_steps))
  (result.calibrationSamples, result.calibrationSeed) = (Int(found.calibration_samples), found.calibration_seed)
  guard found.balance_channels == 0 || found.balance_channels == 1 else {
    throw DitqError(.invalidArgument, "balance_channels: 0 or 1 expected, \(found.balance_channels) found")
  }
  (result.balancesChannels, result.errorBudget) = (found.balance_channels == 1, found.error_budget_db)
  result.threads = Int(found.threads)
  if found.rule_count != 0 {
    guard (0...10000).contains(found.rule_count) else {
      throw DitqError(.invalidArgument, "rule_count: 0 to 10000 expected, \(UInt(bitPattern: found.rule_count)) found")
    }
    // A newer header's rules are longer: each says how far it is to the next.
    var next = UnsafeRawPointer(try required(found.rules, "rules"))
    for index in 0..<found.rule_count {
      let rule = try checked(next.assumingMemoryBound(to: ditq_layer_rule.self), "rules[\(index)]")
      guard Int(rule.struct_size) % MemoryLayout<ditq_layer_rule>.alignment == 0 else {
        throw DitqError(.invalidArgument, "rules[\(index)]->struct_size: a multiple of 8 expected, \(rule.struct_size) found")
      }
      result.rules.append(try layerRule(rule, "rules[\(index)]"))
      next += Int(rule.struct_size)
    }
  }
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}

private func layerRule(_ found: ditq_layer_rule, _ name: String) throws(DitqError) -> LayerRule {
  try LayerRule(
    pattern: String(bytes: try required(found.pattern, "\(name).pattern")),
    weightBits: found.weight_bits == 0 ? nil : Int(found.weight_bits),
    weightGroup: found.weight_group == -1 ? nil : Int(found.weight_group),
    activationBits: found.activation_bits == 0 ? nil : Int(found.activation_bits))
}
