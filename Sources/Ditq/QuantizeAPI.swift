// ditq.h, "Quantization".

import CDitq
import DitqCore

@c @implementation
public func ditq_quantize_options_init(_ options: UnsafeMutablePointer<ditq_quantize_options>!) {
  guard let options else { return }
  var result = ditq_quantize_options()
  result.struct_size = UInt32(MemoryLayout<ditq_quantize_options>.size)
  result.weight_bits = 8
  result.weight_group = -1
  result.activation_bits = 8
  result.calibration_steps = 8
  result.calibration_total_steps = 50
  result.calibration_samples = 16
  options.pointee = result
}

@c @implementation
public func ditq_quantize(
  _ source: OpaquePointer!, _ options: UnsafePointer<ditq_quantize_options>!, _ quantized: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let source = try object(source, Model.self, "source"), quantized = try required(quantized, "quantized")
    let (values, progress) = try quantizeOptions(options)
    quantized.pointee = handle(try quantize(source, values) { progress.tell($0, $1, $2, $3, $4) })
  }
}

private func quantizeOptions(_ pointer: UnsafePointer<ditq_quantize_options>?) throws(DitqError) -> (QuantizeOptions, HostProgress) {
  var result = QuantizeOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress(callback: nil, context: nil)) }
  result.weightBits = Int(found.weight_bits)
  result.weightGroup = found.weight_group == -1 ? nil : Int(found.weight_group)
  result.leastSquares = try isLeastSquares(found.weight_method)
  guard found.activation_bits == 8 else {
    throw DitqError(.unsupported, "activation_bits: 8 expected, \(found.activation_bits) found")
  }
  switch Int(found.activation_mode) {
  case DITQ_ACTIVATION_AUTO, DITQ_ACTIVATION_DYNAMIC_PER_TOKEN: break
  case DITQ_ACTIVATION_NONE: result.activationBits = 32
  default:
    throw DitqError(
      .unsupported, "activation_mode: 0 (auto), 3 (dynamic per token) or 4 (none) expected, \(found.activation_mode) found")
  }
  guard found.observer == 0, found.balance_channels == 0, found.error_budget_db == 0 else {
    throw DitqError(.unsupported, "observer, balance_channels, error_budget_db: 0 expected in this version")
  }
  result.threads = Int(found.threads)
  if found.rule_count != 0 {
    guard (0...10000).contains(found.rule_count) else {
      throw DitqError(.invalidArgument, "rule_count: 0 to 10000 expected, \(found.rule_count) found")
    }
    let rules = try required(found.rules, "rules")
    for index in 0..<found.rule_count { result.rules.append(try rule(rules + index, "rules[\(index)]")) }
  }
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}

private func rule(_ pointer: UnsafePointer<ditq_layer_rule>, _ name: String) throws(DitqError) -> LayerRule {
  guard let found = try options(pointer, name) else { throw DitqError(.invalidArgument, "\(name): NULL found") }
  return try LayerRule(
    pattern: String(bytes: try required(found.pattern, "\(name).pattern")),
    weightBits: found.weight_bits == 0 ? nil : Int(found.weight_bits),
    weightGroup: found.weight_group == -1 ? nil : Int(found.weight_group),
    activationBits: found.activation_bits == 0 ? nil : Int(found.activation_bits))
}

/// Which of the weight methods; the number comes from a host.
func isLeastSquares(_ method: Int32) throws(DitqError) -> Bool {
  switch Int(method) {
  case DITQ_WEIGHT_AUTO, DITQ_WEIGHT_ROUND: return false
  case DITQ_WEIGHT_MSE: return true
  default: throw DitqError(.unsupported, "weight_method: 0 (auto), 1 (round) or 2 (MSE) expected, \(method) found")
  }
}
