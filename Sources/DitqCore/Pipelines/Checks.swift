// What a request may be: every number of the host's, with the range it must be in. Arrays stay in the host's memory, where its callback or another
// of its threads may write: what a call works with is a copy, and the copy is checked too. Here are also the words for numbers that are none.

extension Model {
  func check(_ request: Request, _ run: SamplingRun) throws(DitqError) {
    try check(labels: request.labels, count: request.count)
    guard request.seeds != nil || (request.noise != nil && !run.drawsNoise) else {
      throw DitqError(
        .invalidArgument,
        "seeds: \(request.count) seeds expected, none found; they may be NULL only with options->noise and a sampler without noise")
    }
    guard request.noise == nil || !request.count.multipliedReportingOverflow(by: config.latentCount).overflow else {
      throw DitqError(.invalidArgument, "count: \(request.count) images are too many")
    }
  }

  /// Labels from number `first` on of a request.
  func check(labels: UnsafePointer<Int32>, count: Int, from first: Int = 0) throws(DitqError) {
    try check(count: count)
    for index in 0..<count {
      let label = labels[index]
      guard (0..<config.labelCount).contains(Int(label)) else {
        let last = config.hasNullClass ? "\(config.classCount) (no class)" : "\(config.classCount - 1), as this model has no \"no class\","
        throw DitqError(.invalidArgument, "labels[\(first + index)]: 0 to \(last) expected, \(label) found")
      }
    }
  }

  /// Timesteps from number `first` on of a call.
  func check(timesteps: UnsafePointer<Float>, count: Int, from first: Int = 0) throws(DitqError) {
    for index in 0..<count {
      let timestep = timesteps[index]
      guard timestep.magnitude <= 1e6 else {
        throw DitqError(.invalidArgument, "timesteps[\(first + index)]: -1000000 to 1000000 expected, \(timestep) found")
      }
    }
  }

  func check(count: Int) throws(DitqError) {
    guard count > 0 else { throw DitqError(.invalidArgument, "count", expected: "at least 1 image", found: String(count)) }
  }

  /// Values of one image, or why there is none.
  func requireImages() throws(DitqError) -> Int {
    guard let count = imageCount else {
      throw DitqError(.unsupported, "this model makes latents of \(config.channels) channels and has no decoder: use ditq_denoise")
    }
    return count
  }
}

/// NaN and infinities of the host's would spread to every output without a word. `first`: the number of the first value.
func checkFinite(_ name: String, _ values: UnsafePointer<Float>, _ count: Int, from first: Int = 0) throws(DitqError) {
  guard let index = firstNonFinite(values, count) else { return }
  throw DitqError(.invalidArgument, "\(name)[\(first + index)]: a finite number expected, \(values[index]) found")
}

/// The same of many values, while which the call may be cancelled.
func checkFinite(_ name: String, _ values: UnsafePointer<Float>, _ count: Int, _ cancellation: Cancellation) throws(DitqError) {
  for start in stride(from: 0, to: count, by: Executor.mostUnseenValues) {
    try cancellation.check()
    try checkFinite(name, values + start, min(Executor.mostUnseenValues, count - start), from: start)
  }
}

/// What a model made of finite numbers: where it is none, the call ends with the sentence that says of what and why.
func checkMade(_ values: UnsafePointer<Float>, _ count: Int, _ name: () -> String, _ cause: () -> String) throws(DitqError) {
  guard let index = firstNonFinite(values, count) else { return }
  // The sign of a NaN is the CPU's own.
  let found = values[index].isNaN ? "nan" : "infinite"
  throw DitqError(.malformed, "\(name()) not finite, value \(index) is \(found): \(cause())")
}
