// Denoising: labels and seeds to latents, in batches, a step at a time. Relies on the model for predictions and on Sampling for the rest.
// Whatever the host passes is checked before anything is touched, what is copied of it once more, and latents after each step.

/// Told after each step and each decoded image; answers false to cancel. Passed as an argument, never stored: a stored closure is memory.
package typealias Progress = (_ phase: Phase, _ done: Int, _ total: Int, _ seconds: Double, _ latents: UnsafePointer<Float>?) -> Bool

package enum Phase: Int32 { case load = 0, calibrate, quantize, denoise, decode }

extension Model {
  func run(_ options: SamplingOptions) throws(DitqError) -> SamplingRun { try SamplingRun(options, sampled) }
}

/// The images a call asks for.
package struct Request {
  let labels: UnsafePointer<Int32>
  let seeds: UnsafePointer<UInt64>?
  /// Latents to begin with, in place of the seeds'.
  let noise: UnsafePointer<Float>?
  package let count: Int

  package init(labels: UnsafePointer<Int32>, seeds: UnsafePointer<UInt64>?, noise: UnsafePointer<Float>? = nil, count: Int) {
    (self.labels, self.seeds, self.noise, self.count) = (labels, seeds, noise, count)
  }
}

extension ImageStates {
  /// The images of a range of the request, into the first places.
  func begin(_ request: Request, _ run: SamplingRun, _ range: Range<Int>, _ cancellation: Cancellation?) {
    for (index, image) in range.enumerated() {
      begin(index, seed: request.seeds?[image] ?? 0, noise: request.noise.map { $0 + image * latentCount }, run, cancellation)
    }
  }
}

extension Session {
  /// latents [count, C, S, S].
  @export(interface)
  package func denoise(
    _ request: Request, _ options: SamplingOptions, latents: UnsafeMutableBufferPointer<Float>, progress: Progress
  ) throws(DitqError) {
    let run = try model.run(options)
    try model.check(request, run)
    try exclusively { () throws(DitqError) in
      try forEachBatch(request, run, progress) { range throws(DitqError) in
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
    _ request: Request, _ options: SamplingOptions, pixels: UnsafeMutableBufferPointer<UInt8>, progress: Progress
  ) throws(DitqError) {
    // First, because the facade holds `count` against the room for pixels, where a model makes any, before labels are read.
    let imageCount = try model.requireImages()
    let run = try model.run(options)
    try model.check(request, run)
    try exclusively { () throws(DitqError) in
      let start = nanoseconds()
      try forEachBatch(request, run, progress) { range throws(DitqError) in
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
    _ request: Request, _ run: SamplingRun, _ progress: Progress, _ finish: (Range<Int>) throws(DitqError) -> Void
  ) throws(DitqError) {
    timings = Timings()
    let start = nanoseconds()
    if let noise = request.noise { try checkFinite("noise", noise, request.count * model.config.latentCount, cancellation) }
    let batches = (request.count + batchLimit - 1) / batchLimit
    for batch in 0..<batches {
      let range = batch * batchLimit..<min(request.count, (batch + 1) * batchLimit)
      begin(request, run, range)
      try checkCopies(of: request, range)
      for step in 0..<run.steps {
        try take(step, of: run, range)
        try report(progress, .denoise, batch * run.steps + step + 1, batches * run.steps, start, workspace.latents)
      }
      try finish(range)
    }
  }

  /// One step of images that are kept outside, batch after batch: from `images` into `next`, which is whole when this returns.
  func take(
    _ step: Int, of run: SamplingRun, labels: UnsafePointer<Int32>, count: Int, of images: ImageStates, into next: ImageStates,
    _ progress: Progress
  ) throws(DitqError) {
    try exclusively { () throws(DitqError) in
      timings = Timings()
      let start = nanoseconds()
      for first in stride(from: 0, to: count, by: batchLimit) {
        let some = first..<min(first + batchLimit, count)
        for image in some {
          try cancellation.check()
          workspace.images.copy(1, of: images, from: image, to: image - first)
        }
        setLabels(labels + first, some.count)
        try take(step, of: run, some)
        for image in some {
          try cancellation.check()
          next.copy(1, of: workspace.images, from: image - first, to: image)
        }
      }
      try report(progress, .denoise, step + 1, run.steps, start, next.latents)
    }
  }

  /// Initial latents and labels of a batch.
  func begin(_ request: Request, _ run: SamplingRun, _ range: Range<Int>) {
    workspace.images.begin(request, run, range, cancellation)
    setLabels(request.labels + range.lowerBound, range.count)
  }

  /// What `begin` copied of the host's memory, which may have changed since it was checked there.
  private func checkCopies(of request: Request, _ range: Range<Int>) throws(DitqError) {
    try cancellation.check()
    try model.check(labels: workspace.labels, count: range.count, from: range.lowerBound)
    guard request.noise != nil else { return }
    let count = model.config.latentCount
    try checkFinite("noise", workspace.latents, range.count * count, from: range.lowerBound * count)
  }

  /// The labels of a batch, and of its other half "no class".
  private func setLabels(_ labels: UnsafePointer<Int32>, _ images: Int) {
    workspace.labels.update(from: labels, count: images)
    (workspace.labels + images).update(repeating: Int32(model.config.classCount), count: images)
  }

  /// `images`: which of all they are.
  private func take(_ step: Int, of run: SamplingRun, _ images: Range<Int>) throws(DitqError) {
    let before = nanoseconds()
    try take(step, of: run, images: images.count) { rows throws(DitqError) in
      try forward(x: workspace.latents, inputs: images.count, images: rows, output: workspace.prediction)
      return .new
    }
    try checkLatents(step, of: run, images.count) { "image " + String(images.lowerBound + $0) }
    timings.addStep(seconds(since: before))
  }

  /// What stands in the workspace as the network's prediction: one for the latents as they are, or that of a step before, guided already.
  enum PredictionAge { case new, earlier }

  /// Takes the images of the workspace a step on. For each prediction of the step `predict` is asked for the network's output, for so many
  /// rows of the workspace's timesteps and labels.
  func take(
    _ step: Int, of run: SamplingRun, images: Int, predict: (_ rows: Int) throws(DitqError) -> PredictionAge
  ) throws(DitqError) {
    for prediction in 0..<run.predictions(of: step) {
      tell(step, of: run, prediction: prediction, images: images)
      let age = try predict(run.branches(of: step) * images)
      try run.advance(
        workspace.images, count: images, step: step, prediction: prediction, output: workspace.prediction, isMixed: age == .earlier,
        noise: workspace.noise, cancellation)
    }
  }

  /// Fills in what the network is told of a step's time.
  func tell(_ step: Int, of run: SamplingRun, prediction: Int = 0, images: Int) {
    workspace.timesteps.update(repeating: run.timestep(step, prediction: prediction), count: run.branches(of: step) * images)
  }

  /// Ends the call where a step left latents, or a guess of the finished ones, that are no numbers.
  func checkLatents(_ step: Int, of run: SamplingRun, _ images: Int, _ name: (_ place: Int) -> String) throws(DitqError) {
    let count = model.config.latentCount
    func check(_ values: UnsafePointer<Float>, _ place: Int) throws(DitqError) {
      try checkMade(
        values + place * count, count, { "step \(step + 1) of \(run.steps): the latents of \(name(place)) are" },
        { "the model's weights, or a guidance_scale of \(run.guidance.scale), lead beyond what a float holds" })
    }
    for place in 0..<images {
      try check(workspace.latents, place)
      try check(workspace.images.origins, place)
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
      throw .endedByHost
    }
  }
}
