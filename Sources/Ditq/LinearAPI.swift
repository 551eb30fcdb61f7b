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
    let found = try linearOptions(options)
    linear.pointee = handle(
      try PackedLinear(
        weights: weights, bias: bias, outputs: Int(outputs), inputs: Int(inputs), isaLimit: found.isa_limit, try allocator(found.allocator))
    )
  }
}

private func linearOptions(_ pointer: UnsafePointer<ditq_linear_options>?) throws(DitqError) -> ditq_linear_options {
  let found = try options(pointer, "options") ?? ditq_linear_options()
  guard found.weight_bits == 0 || Int(found.weight_bits) == DITQ_KEEP_FLOAT else {
    throw DitqError(.unsupported, "weight_bits: 32 (float) expected, \(found.weight_bits) found")
  }
  guard found.weight_group == 0 && found.weight_method == 0 && found.activation_mode == 0 else {
    throw DitqError(.unsupported, "weight_group, weight_method, activation_mode: 0 expected with float weights")
  }
  return found
}

@c @implementation
public func ditq_linear_apply(
  _ linear: OpaquePointer!, _ x: UnsafePointer<Float>!, _ rows: Int, _ y: UnsafeMutablePointer<Float>!, _ threads: Int32,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let linear = try object(linear, PackedLinear.self, "linear"), x = try required(x, "x"), y = try required(y, "y")
    try linear.apply(x, rows: try count(rows, "rows"), into: y, threads: Int(threads))
  }
}

@c @implementation
public func ditq_linear_destroy(_ linear: OpaquePointer!) { release(linear, PackedLinear.self) }
