// Denoising: labels and seeds to latents, in batches, a step at a time. Relies on the model for predictions and on Sampling for the rest.
// Whatever the host passes is checked here before anything is touched.

package struct GenerateOptions {
  package var sampler: Int32 = 0
  package var steps = 50
  package var random: Int32 = 0
  package var guidanceScale = 4.0
  package var guidanceBegin = 0.0
  package var guidanceEnd = 1.0
  /// 0 = what the model's compatibility says.
  package var guidanceChannels = 0
  package var eta = 0.0
  package var noise: UnsafePointer<Float>?
  package init() {}
}

/// Told after each step and each decoded image; answers false to cancel. Passed as an argument, never stored: a stored closure is memory.
package typealias Progress = (_ phase: Phase, _ done: Int, _ total: Int, _ seconds: Double, _ latents: UnsafePointer<Float>?) -> Bool

package enum Phase: Int32 { case load = 0, calibrate, quantize, denoise, decode }

/// The images a call asks for.
package struct Request {
  let labels: UnsafePointer<Int32>
  let seeds: UnsafePointer<UInt64>?
  package let count: Int

  package init(labels: UnsafePointer<Int32>, seeds: UnsafePointer<UInt64>?, count: Int) {
    (self.labels, self.seeds, self.count) = (labels, seeds, count)
  }
}

extension Session {
  /// latents [count, C, S, S].
  @export(interface)
  package func denoise(
    _ request: Request, _ options: GenerateOptions, latents: UnsafeMutablePointer<Float>, progress: Progress
  ) throws(DitqError) {
    try check(request, options)
    try exclusively { () throws(DitqError) in
      try forEachBatch(request, options, progress) { batch, range in
        (latents + range.lowerBound * model.config.latentCount).update(from: batch, count: range.count * model.config.latentCount)
      }
    }
  }

  /// pixels [count, height, width, channels].
  @export(interface)
  package func generate(
    _ request: Request, _ options: GenerateOptions, pixels: UnsafeMutablePointer<UInt8>, progress: Progress
  ) throws(DitqError) {
    try check(request, options)
    let imageCount = try requireImages()
    try exclusively { () throws(DitqError) in
      let start = nanoseconds()
      try forEachBatch(request, options, progress) { batch, range throws(DitqError) in
        for (index, image) in range.enumerated() {
          try decodePixels(batch + index * model.config.latentCount, into: pixels + image * imageCount)
          try report(progress, .decode, image + 1, request.count, start, nil)
        }
      }
    }
  }

  /// Denoises batch after batch; `finish` is given the latents of each and which images they are.
  private func forEachBatch(
    _ request: Request, _ options: GenerateOptions, _ progress: Progress,
    _ finish: (UnsafePointer<Float>, Range<Int>) throws(DitqError) -> Void
  ) throws(DitqError) {
    timings = Timings()
    let start = nanoseconds()
    schedule.fillTimesteps(workspace.schedule, count: options.steps, model.config.compatibility)
    let guidance = self.guidance(options)
    let batches = (request.count + batchLimit - 1) / batchLimit
    for batch in 0..<batches {
      let range = batch * batchLimit..<min(request.count, (batch + 1) * batchLimit)
      begin(request, options, range)
      for step in 0..<options.steps {
        let before = nanoseconds()
        try take(step: step, options, guidance, images: range.count)
        timings.addStep(seconds(since: before))
        try report(progress, .denoise, batch * options.steps + step + 1, batches * options.steps, start, workspace.latents)
      }
      try finish(workspace.latents, range)
    }
  }

  /// Initial latents and labels of a batch.
  func begin(_ request: Request, _ options: GenerateOptions, _ range: Range<Int>) {
    let count = model.config.latentCount
    for (index, image) in range.enumerated() {
      let latents = workspace.latents + index * count
      if let seeds = request.seeds {
        TorchGenerator(seed: seeds[image], in: workspace.generators + index).fillNormal(latents, count: count)
      }
      if let noise = options.noise { latents.update(from: noise + image * count, count: count) }
      workspace.labels[index] = request.labels[image]
      workspace.labels[range.count + index] = Int32(model.config.classCount)
    }
  }

  private func take(step: Int, _ options: GenerateOptions, _ guidance: Guidance, images: Int) throws(DitqError) {
    let branches = prepare(step: step, options, guidance, images: images)
    try forward(x: workspace.latents, inputs: images, images: branches * images, output: workspace.prediction)
    advance(step: step, options, guidance, images: images)
  }

  /// Fills in the timesteps of a step; answers with its branches, 2 where it is guided.
  func prepare(step: Int, _ options: GenerateOptions, _ guidance: Guidance, images: Int) -> Int {
    let branches = guidance.isActive(step: step, of: options.steps) ? 2 : 1
    for image in 0..<branches * images { workspace.timesteps[image] = Float(workspace.schedule[step]) }
    return branches
  }

  /// Takes the latents a step on, by what the network predicted for them.
  func advance(step: Int, _ options: GenerateOptions, _ guidance: Guidance, images: Int) {
    let config = model.config, w = workspace, area = config.latentSize * config.latentSize
    let isGuided = guidance.isActive(step: step, of: options.steps), timestep = Int(w.schedule[step])
    let ddim = DDIMStep(
      alphaBar: schedule.alphaBars[timestep],
      nextAlphaBar: step + 1 < options.steps ? schedule.alphaBars[Int(w.schedule[step + 1])] : 1, eta: options.eta)
    for image in 0..<images {
      let prediction = w.prediction + image * config.outputCount
      if isGuided { guidance.mix(prediction, none: w.prediction + (images + image) * config.outputCount, area: area) }
      if options.eta > 0 { TorchGenerator(resuming: w.generators + image).fillNormal(w.noise, count: config.latentCount) }
      ddim.apply(
        w.latents + image * config.latentCount, prediction: prediction, noise: options.eta > 0 ? UnsafePointer(w.noise) : nil,
        count: config.latentCount)
    }
  }

  /// The network and what it works in.
  var network: DiTForward { DiTForward(config: model.config, weights: model.dit, workspace: workspace.transformer, executor: executor) }

  /// The network on the workspace's timesteps and labels.
  func forward(
    x: UnsafePointer<Float>, inputs: Int, images: Int, output: UnsafeMutablePointer<Float>
  ) throws(DitqError) {
    try network(
      x: x, inputs: inputs, timesteps: workspace.timesteps, labels: workspace.labels, images: images, output: output,
      checkpoint: { () throws(DitqError) in try checkpoint() })
  }

  private func report(
    _ progress: Progress, _ phase: Phase, _ done: Int, _ total: Int, _ start: UInt64, _ latents: UnsafePointer<Float>?
  ) throws(DitqError) {
    try checkpoint()
    guard progress(phase, done, total, seconds(since: start), latents) else {
      throw DitqError(.cancelled, "the progress callback ended the call")
    }
  }

  func guidance(_ options: GenerateOptions) -> Guidance {
    let config = model.config
    return Guidance(
      scale: options.guidanceScale, begin: options.guidanceBegin, end: options.guidanceEnd,
      channels: options.guidanceChannels == 0 ? config.guidedChannels : options.guidanceChannels,
      isOff: config.compatibility == .official ? options.guidanceScale == 1 : options.guidanceScale <= 1)
  }
}
