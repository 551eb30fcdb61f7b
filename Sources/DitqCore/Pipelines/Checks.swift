// What a request may be: every number of the host's, with the range it must be in.

extension Model {
  func check(_ request: Request, _ options: GenerateOptions) throws(DitqError) {
    try check(labels: request.labels, count: request.count)
    try check(options)
    guard request.seeds != nil || (options.noise != nil && !sampler(options).drawsNoise(eta: options.eta)) else {
      throw DitqError(
        .invalidArgument,
        "seeds: \(request.count) seeds expected, none found; they may be NULL only with options->noise and a sampler without noise")
    }
    if let noise = options.noise {
      let count = request.count.multipliedReportingOverflow(by: config.latentCount)
      guard !count.overflow else { throw DitqError(.invalidArgument, "count: \(request.count) images are too many") }
      try checkFinite("noise", noise, count.partialValue)
    }
  }

  /// All options but the noise.
  func check(_ options: GenerateOptions) throws(DitqError) {
    let sampler = try fittingSampler(options)
    guard RandomNumbers(rawValue: options.random) != nil else {
      throw DitqError(.unsupported, "random", expected: "0 (torch) or 1 (philox)", found: String(options.random))
    }
    try check("steps", options.steps, 1...sampler.stepLimit(sampling.trainSteps))
    try check("guidance_scale", options.guidanceScale, 0...1000)
    try check("guidance_begin", options.guidanceBegin, 0...1)
    try check("guidance_end", options.guidanceEnd, 0...1)
    try check("guidance_channels", options.guidanceChannels, 0...config.channels)
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
      fitting += ", which go by " + sampling.prediction.name + " as this model predicts it,"
      throw DitqError(.unsupported, "sampler", expected: fitting, found: String(options.sampler))
    }
    return sampler
  }

  func check(labels: UnsafePointer<Int32>, count: Int) throws(DitqError) {
    try check(count: count)
    for index in 0..<count where !(0...config.classCount).contains(Int(labels[index])) {
      throw DitqError(.invalidArgument, "labels[\(index)]: 0 to \(config.classCount) (no class) expected, \(labels[index]) found")
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

/// NaN and infinities would spread to every output without a word.
func checkFinite(_ name: String, _ values: UnsafePointer<Float>, _ count: Int) throws(DitqError) {
  for index in 0..<count where !values[index].isFinite {
    throw DitqError(.invalidArgument, "\(name)[\(index)]: a finite number expected, \(values[index]) found")
  }
}
