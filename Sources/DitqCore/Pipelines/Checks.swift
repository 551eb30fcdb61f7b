// What a request may be: every number of the host's, with the range it must be in. Arrays stay in the host's memory, where its callback or another
// of its threads may write: what a call works with is a copy, and the copy is checked too. Here are also the words for numbers that are none.

extension Model {
  func check(_ request: Request, _ options: GenerateOptions) throws(DitqError) {
    try check(labels: request.labels, count: request.count)
    try check(options)
    guard request.seeds != nil || (options.noise != nil && !sampler(options).drawsNoise(eta: options.eta)) else {
      throw DitqError(
        .invalidArgument,
        "seeds: \(request.count) seeds expected, none found; they may be NULL only with options->noise and a sampler without noise")
    }
    guard options.noise == nil || !request.count.multipliedReportingOverflow(by: config.latentCount).overflow else {
      throw DitqError(.invalidArgument, "count: \(request.count) images are too many")
    }
  }

  /// All options but the numbers of the noise.
  func check(_ options: GenerateOptions) throws(DitqError) {
    let sampler = try fittingSampler(options)
    guard RandomNumbers(rawValue: options.random) != nil else {
      throw DitqError(.unsupported, "random", expected: "0 (torch) or 1 (philox)", found: String(options.random))
    }
    try check("steps", options.steps, 1...sampler.stepLimit(sampling.trainSteps))
    try check("guidance_scale", options.guidanceScale, 0...1000)
    guard config.hasNullClass || options.guidanceScale == 1 else {
      throw DitqError(
        .unsupported, "guidance_scale", expected: "1 (none), as this model has no \"no class\" to be guided away from,",
        found: String(options.guidanceScale))
    }
    try check("guidance_begin", options.guidanceBegin, 0...1)
    try check("guidance_end", options.guidanceEnd, 0...1)
    try check("guidance_channels", options.guidanceChannels, 0...max(config.channels, config.guidedChannels))
    try check("eta", options.eta, 0...1)
    guard options.eta == 0 || sampler == .ddim else {
      throw DitqError(.invalidArgument, "eta", expected: "0 with the sampler " + sampler.name, found: String(options.eta))
    }
  }

  /// The sampler that the options mean, one that goes by what this model predicts.
  private func fittingSampler(_ options: GenerateOptions) throws(DitqError) -> Sampler {
    let sampler = sampler(options)
    guard options.sampler == 0 || (sampler.rawValue == options.sampler && sampler.prediction == sampling.prediction) else {
      var fitting = "0 (what the model records)"
      for other in Sampler.allCases where other.prediction == sampling.prediction {
        fitting += ", " + String(other.rawValue) + " (" + other.name + ")"
      }
      let isAssumed = assumed.contains { $0 == "prediction" }
      fitting += ", which go by " + sampling.prediction.name
      fitting += isAssumed ? ", taken for what is predicted, as nobody said (give prediction)," : " as this model predicts it,"
      throw DitqError(.unsupported, "sampler", expected: fitting, found: String(options.sampler))
    }
    return sampler
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

  private func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(DitqError) {
    guard range.contains(value) else {
      throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
    }
  }

  private func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws(DitqError) {
    guard range.contains(value) else {
      throw DitqError(.invalidArgument, "\(name): \(range.lowerBound) to \(range.upperBound) expected, \(value) found")
    }
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
