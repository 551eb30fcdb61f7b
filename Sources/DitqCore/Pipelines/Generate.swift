// Denoising: labels and seeds to latents, in batches, a step at a time. Relies on the model for predictions and on Sampling for the rest.
// Whatever the host passes is checked before anything is touched, what is copied of it once more, and latents after each step.

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

  var randomNumbers: RandomNumbers { RandomNumbers(rawValue: random) ?? .torch }
}

/// Told after each step and each decoded image; answers false to cancel. Passed as an argument, never stored: a stored closure is memory.
package typealias Progress = (_ phase: Phase, _ done: Int, _ total: Int, _ seconds: Double, _ latents: UnsafePointer<Float>?) -> Bool

package enum Phase: Int32 { case load = 0, calibrate, quantize, denoise, decode }

extension Model {
  func sampler(_ options: GenerateOptions) -> Sampler { Sampler(rawValue: options.sampler) ?? sampling.sampler }
  func timesteps(_ options: GenerateOptions) -> Timesteps {
    sampler(options).timesteps(steps: options.steps, sampling, config.compatibility)
  }

  func guidedChannels(_ options: GenerateOptions) -> Int {
    options.guidanceChannels == 0 ? config.guidedChannels : options.guidanceChannels
  }
}

/// The images a call asks for.
package struct Request {
  let labels: UnsafePointer<Int32>
  let seeds: UnsafePointer<UInt64>?
  package let count: Int

  package init(labels: UnsafePointer<Int32>, seeds: UnsafePointer<UInt64>?, count: Int) {
    (self.labels, self.seeds, self.count) = (labels, seeds, count)
  }
}

extension ImageStates {
  /// The images of a range of the request, into the first places.
  func begin(_ request: Request, _ options: GenerateOptions, _ range: Range<Int>, _ cancellation: Cancellation?) {
    for (index, image) in range.enumerated() {
      begin(
        index, seed: request.seeds?[image] ?? 0, noise: options.noise.map { $0 + image * latentCount }, options.randomNumbers, cancellation)
    }
  }
}

extension Session {
  /// latents [count, C, S, S].
  @export(interface)
  package func denoise(
    _ request: Request, _ options: GenerateOptions, latents: UnsafeMutableBufferPointer<Float>, progress: Progress
  ) throws(DitqError) {
    try model.check(request, options)
    try exclusively { () throws(DitqError) in
      try forEachBatch(request, options, progress) { range throws(DitqError) in
        let count = model.config.latentCount
        for (place, image) in range.enumerated() {
          try cancellation.check()
          _ = latents.part(image * count, count).update(fromContentsOf: workspace.images.latents(of: place..<place + 1))
        }
      }
    }
  }

  /// pixels [count, height, width, channels].
  @export(interface)
  package func generate(
    _ request: Request, _ options: GenerateOptions, pixels: UnsafeMutableBufferPointer<UInt8>, progress: Progress
  ) throws(DitqError) {
    // First, because the facade holds `count` against the room for pixels, where a model makes any, before labels are read.
    let imageCount = try model.requireImages()
    try model.check(request, options)
    try exclusively { () throws(DitqError) in
      let start = nanoseconds()
      try forEachBatch(request, options, progress) { range throws(DitqError) in
        for (place, image) in range.enumerated() {
          try decode(workspace.images.latents(of: place..<place + 1), of: image)
          try round(workspace.image, into: pixels.part(image * imageCount, imageCount))
          try report(progress, .decode, image + 1, request.count, start, nil)
        }
      }
    }
  }

  /// Denoises batch after batch; `finish` is told which images have their latents in the workspace.
  private func forEachBatch(
    _ request: Request, _ options: GenerateOptions, _ progress: Progress,
    _ finish: (Range<Int>) throws(DitqError) -> Void
  ) throws(DitqError) {
    timings = Timings()
    let start = nanoseconds()
    if let noise = options.noise { try checkFinite("noise", noise, request.count * model.config.latentCount, cancellation) }
    arrange(options)
    let guidance = self.guidance(options)
    let batches = (request.count + batchLimit - 1) / batchLimit
    for batch in 0..<batches {
      let range = batch * batchLimit..<min(request.count, (batch + 1) * batchLimit)
      begin(request, options, range)
      try checkCopies(of: options, range)
      for step in 0..<options.steps {
        try take(step: step, options, guidance, range)
        try report(progress, .denoise, batch * options.steps + step + 1, batches * options.steps, start, workspace.latents)
      }
      try finish(range)
    }
  }

  /// One step of images that are kept outside, batch after batch: from `images` into `next`, which is whole when this returns.
  func take(
    step: Int, _ options: GenerateOptions, labels: UnsafePointer<Int32>, count: Int, of images: ImageStates, into next: ImageStates,
    _ progress: Progress
  ) throws(DitqError) {
    try exclusively { () throws(DitqError) in
      timings = Timings()
      let start = nanoseconds()
      arrange(options)
      let guidance = self.guidance(options)
      for first in stride(from: 0, to: count, by: batchLimit) {
        let some = first..<min(first + batchLimit, count)
        for image in some {
          try cancellation.check()
          workspace.images.copy(1, of: images, from: image, to: image - first)
        }
        setLabels(labels + first, some.count)
        try take(step: step, options, guidance, some)
        for image in some {
          try cancellation.check()
          next.copy(1, of: workspace.images, from: image - first, to: image)
        }
      }
      try report(progress, .denoise, step + 1, options.steps, start, next.latents)
    }
  }

  /// The timesteps of a run.
  func arrange(_ options: GenerateOptions) {
    model.timesteps(options).fill(workspace.schedule, count: options.steps, of: schedule.alphaBars.count)
  }

  /// Initial latents and labels of a batch.
  func begin(_ request: Request, _ options: GenerateOptions, _ range: Range<Int>) {
    workspace.images.begin(request, options, range, cancellation)
    setLabels(request.labels + range.lowerBound, range.count)
  }

  /// What `begin` copied of the host's memory, which may have changed since it was checked there.
  private func checkCopies(of options: GenerateOptions, _ range: Range<Int>) throws(DitqError) {
    try cancellation.check()
    try model.check(labels: workspace.labels, count: range.count, from: range.lowerBound)
    guard options.noise != nil else { return }
    let count = model.config.latentCount
    try checkFinite("noise", workspace.latents, range.count * count, from: range.lowerBound * count)
  }

  /// The labels of a batch, and of its other half "no class".
  private func setLabels(_ labels: UnsafePointer<Int32>, _ images: Int) {
    workspace.labels.update(from: labels, count: images)
    (workspace.labels + images).update(repeating: Int32(model.config.classCount), count: images)
  }

  /// `images`: which of all they are.
  private func take(step: Int, _ options: GenerateOptions, _ guidance: Guidance, _ images: Range<Int>) throws(DitqError) {
    let before = nanoseconds()
    let branches = prepare(step: step, options, guidance, images: images.count)
    try forward(x: workspace.latents, inputs: images.count, images: branches * images.count, output: workspace.prediction)
    try advance(step: step, options, guidance, images: images.count)
    try checkLatents(step: step, options, images.count) { "image " + String(images.lowerBound + $0) }
    timings.addStep(seconds(since: before))
  }

  /// Ends the call where a step left latents, or a guess of the finished ones, that are no numbers.
  func checkLatents(step: Int, _ options: GenerateOptions, _ images: Int, _ name: (_ place: Int) -> String) throws(DitqError) {
    let count = model.config.latentCount
    func check(_ values: UnsafePointer<Float>, _ place: Int) throws(DitqError) {
      try checkMade(
        values + place * count, count, { "step \(step + 1) of \(options.steps): the latents of \(name(place)) are" },
        { "the model's weights, or a guidance_scale of \(options.guidanceScale), lead beyond what a float holds" })
    }
    for place in 0..<images {
      try check(workspace.latents, place)
      try check(workspace.images.origins, place)
    }
  }

  /// Fills in the timesteps of a step; answers with its branches, 2 where it is guided.
  func prepare(step: Int, _ options: GenerateOptions, _ guidance: Guidance, images: Int) -> Int {
    let branches = guidance.isActive(step: step, of: options.steps) ? 2 : 1, settings = model.sampling
    let timestep =
      settings.prediction != .velocity
      ? Double(workspace.schedule[step]) : FlowEulerStep.timestep(step, of: options.steps, noiseTimestep: settings.noiseTimestep)
    workspace.timesteps.update(repeating: Float(timestep * settings.timestepScale), count: branches * images)
    return branches
  }

  /// Takes the latents a step on, by what the network predicted for them. `isMixed`: the prediction is that of a step before, guided
  /// already.
  func advance(
    step: Int, _ options: GenerateOptions, _ guidance: Guidance, images: Int, isMixed: Bool = false
  ) throws(DitqError) {
    let config = model.config, w = workspace, area = config.latentSize * config.latentSize, count = config.latentCount
    let sampler = model.sampler(options)
    let place = sampler.place(step, of: options.steps, w.schedule, model.timesteps(options), schedule)
    let drawsNoise = sampler.drawsNoise(eta: options.eta), hasVariance = config.outputChannels > config.channels
    for image in 0..<images {
      let prediction = w.prediction + image * config.outputCount
      if !isMixed && guidance.isActive(step: step, of: options.steps) {
        guidance.mix(prediction, none: w.prediction + (images + image) * config.outputCount, area: area)
      }
      if drawsNoise { w.images.fillNoise(w.noise, image, draw: 1 + step, options.randomNumbers, cancellation) }
      let sampled = SampledImage(
        x: w.images.latents + image * count, origin: w.images.origins + image * count, prediction: UnsafePointer(prediction),
        variance: hasVariance ? UnsafePointer(prediction + count) : nil, noise: drawsNoise ? UnsafePointer(w.noise) : nil, count: count)
      for first in stride(from: 0, to: count, by: Executor.mostUnseenValues) {
        try cancellation.check()
        let values = sampled[first..<min(first + Executor.mostUnseenValues, count)]
        sampler.apply(values, at: place, eta: options.eta, model.sampling, config.compatibility)
      }
    }
  }

  /// The network and what it works in.
  var network: DiTForward { DiTForward(config: model.config, weights: model.dit, workspace: workspace.transformer, executor: executor) }

  /// The network on the workspace's timesteps and labels.
  func forward(
    x: UnsafePointer<Float>, inputs: Int, images: Int, output: UnsafeMutablePointer<Float>
  ) throws(DitqError) {
    try network(x: x, inputs: inputs, timesteps: workspace.timesteps, labels: workspace.labels, images: images, output: output)
  }

  private func report(
    _ progress: Progress, _ phase: Phase, _ done: Int, _ total: Int, _ start: UInt64, _ latents: UnsafePointer<Float>?
  ) throws(DitqError) {
    try cancellation.check()
    guard progress(phase, done, total, seconds(since: start), latents) else {
      throw DitqError(.cancelled, "the progress callback ended the call")
    }
  }

  func guidance(_ options: GenerateOptions) -> Guidance {
    let config = model.config
    return Guidance(
      scale: options.guidanceScale, begin: options.guidanceBegin, end: options.guidanceEnd,
      channels: model.guidedChannels(options),
      isOff: config.compatibility == .official ? options.guidanceScale == 1 : options.guidanceScale <= 1)
  }
}
