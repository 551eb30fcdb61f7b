// ditq.h, "The GEMM by itself".

import CDitq
import DitqCore

@c @implementation
public func ditq_linear_create(
  _ weights: UnsafePointer<Float>!, _ bias: UnsafePointer<Float>!, _ outputs: Int32, _ inputs: Int32,
  _ options: UnsafePointer<ditq_linear_options>!, _ linear: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let weights = try required(weights, "weights"), linear = try required(linear, "linear")
    linear.pointee = handle(
      try PackedLinear(weights: weights, bias: bias, outputs: Int(outputs), inputs: Int(inputs), try linearOptions(options)))
  }
}

private func linearOptions(_ pointer: UnsafePointer<ditq_linear_options>?) throws(DitqError) -> LinearOptions {
  var result = LinearOptions()
  guard let found = try options(pointer, "options") else { return result }
  if found.weight_bits != 0 { result.weightBits = Int(found.weight_bits) }
  result.weightGroup = Int(found.weight_group)
  switch Int(found.weight_method) {
  case DITQ_WEIGHT_AUTO, DITQ_WEIGHT_ROUND: break
  case DITQ_WEIGHT_MSE: result.leastSquares = true
  default: throw DitqError(.unsupported, "weight_method: 0 (auto), 1 (round) or 2 (MSE) expected, \(found.weight_method) found")
  }
  switch Int(found.activation_mode) {
  case DITQ_ACTIVATION_AUTO, DITQ_ACTIVATION_DYNAMIC_PER_TOKEN: break
  case DITQ_ACTIVATION_STATIC: result.activationRange = try range(found.activation_min, found.activation_max)
  default:
    throw DitqError(.unsupported, "activation_mode: 0 (auto), 1 (static) or 3 (dynamic per token) expected, \(found.activation_mode) found")
  }
  if result.weightBits == DITQ_KEEP_FLOAT, result.weightGroup != 0 || found.weight_method != 0 || found.activation_mode != 0 {
    throw DitqError(.invalidArgument, "weight_group, weight_method, activation_mode: 0 expected with float weights")
  }
  result.isaLimit = found.isa_limit
  result.allocator = try allocator(found.allocator)
  return result
}

private func range(_ low: Float, _ high: Float) throws(DitqError) -> ClosedRange<Float> {
  guard low.magnitude <= 1e18 && high.magnitude <= 1e18 && low <= high else {
    throw DitqError(.invalidArgument, "activation_min, activation_max: numbers up to 1e18 in order expected, \(low) and \(high) found")
  }
  return low...high
}

@c @implementation
public func ditq_linear_apply(
  _ linear: OpaquePointer!, _ x: UnsafePointer<Float>!, _ rows: Int, _ y: UnsafeMutablePointer<Float>!, _ threads: Int32,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let linear = try object(linear, PackedLinear.self, "linear"), x = try required(x, "x"), y = try required(y, "y")
    try linear.apply(x, rows: try count(rows, "rows"), into: y, threads: Int(threads))
  }
}

@c @implementation
public func ditq_linear_destroy(_ linear: OpaquePointer!) { release(linear, PackedLinear.self) }
