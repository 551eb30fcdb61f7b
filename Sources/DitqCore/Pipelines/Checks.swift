// What a request may be: every number of the host's, with the range it must be in.

extension Session {
  func check(_ request: Request, _ options: GenerateOptions) throws(DitqError) {
    try check(labels: request.labels, count: request.count)
    guard options.sampler == 0 || options.sampler == 1 else {
      throw DitqError(.unsupported, "sampler: 0 (what the model records) or 1 (DDIM) expected, \(options.sampler) found")
    }
    guard options.random == 0 else { throw DitqError(.unsupported, "random: 0 (torch) expected, \(options.random) found") }
    try check("steps", options.steps, 1...schedule.alphaBars.count)
    try check("guidance_scale", options.guidanceScale, 0...1000)
    try check("guidance_begin", options.guidanceBegin, 0...1)
    try check("guidance_end", options.guidanceEnd, 0...1)
    try check("guidance_channels", options.guidanceChannels, 0...model.config.channels)
    try check("eta", options.eta, 0...1)
    guard request.seeds != nil || (options.noise != nil && options.eta == 0) else {
      throw DitqError(
        .invalidArgument, "seeds: \(request.count) seeds expected, none found; they may be NULL only with options->noise and eta 0")
    }
    if let noise = options.noise {
      let count = request.count.multipliedReportingOverflow(by: model.config.latentCount)
      guard !count.overflow else { throw DitqError(.invalidArgument, "count: \(request.count) images are too many") }
      try checkFinite("noise", noise, count.partialValue)
    }
  }

  func check(labels: UnsafePointer<Int32>, count: Int) throws(DitqError) {
    guard count > 0 else { throw DitqError(.invalidArgument, "count: at least 1 image expected, \(count) found") }
    for index in 0..<count where !(0...model.config.classCount).contains(Int(labels[index])) {
      throw DitqError(
        .invalidArgument, "labels[\(index)]: 0 to \(model.config.classCount) (no class) expected, \(labels[index]) found")
    }
  }

  /// NaN and infinities would spread to every output without a word.
  func checkFinite(_ name: String, _ values: UnsafePointer<Float>, _ count: Int) throws(DitqError) {
    for index in 0..<count where !values[index].isFinite {
      throw DitqError(.invalidArgument, "\(name)[\(index)]: a finite number expected, \(values[index]) found")
    }
  }

  /// Values of one image, or why there is none.
  func requireImages() throws(DitqError) -> Int {
    guard let count = model.imageCount else {
      throw DitqError(.unsupported, "this model makes latents of \(model.config.channels) channels and has no decoder: use ditq_denoise")
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
