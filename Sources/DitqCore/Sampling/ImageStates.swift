// ImageStates: what is known of images between two steps, in memory of an arena. Their noise comes from each image's own seed, so that an image
// is the same alone or in a batch. Relies on the two kinds of random numbers; refuses nothing.

/// With the numbers of ditq.h.
package enum RandomNumbers: Int32 {
  case torch = 0
  case philox = 1
}

struct ImageStates {
  private let count: Int
  let latentCount: Int
  /// [images, C, S, S]: the latents, and what the network last took the finished ones for, 0 before the first step.
  let latents: UnsafeMutablePointer<Float>
  let origins: UnsafeMutablePointer<Float>
  /// [images, C, S, S]: what some samplers keep beside.
  let histories: UnsafeMutablePointer<Float>
  let seeds: UnsafeMutablePointer<UInt64>
  let generators: UnsafeMutablePointer<TorchGenerator.State>

  init(_ arena: inout Arena, images: Int, latentCount: Int) {
    (count, self.latentCount) = (images, latentCount)
    latents = arena.floats(images, latentCount)
    origins = arena.floats(images, latentCount)
    histories = arena.floats(images, latentCount)
    seeds = arena.reserve(UInt64.self, images)
    generators = arena.reserve(TorchGenerator.State.self, images)
  }

  /// The latents of some images.
  func latents(of places: Range<Int>) -> UnsafeBufferPointer<Float> {
    UnsafeBufferPointer(start: latents, count: count * latentCount).part(places.lowerBound * latentCount, places.count * latentCount)
  }

  /// Before the first step: the latents that are given, else those of the seed, as large as the run has them.
  func begin(_ image: Int, seed: UInt64, noise: UnsafePointer<Float>?, _ run: SamplingRun, _ cancellation: Cancellation?) {
    let target = latents + image * latentCount
    seeds[image] = seed
    _ = TorchGenerator(seed: seed, in: generators + image)
    fillNoise(target, image, draw: 0, run.random, cancellation)
    if cancellation?.isAsked == true { return }
    if let noise { target.update(from: noise, count: latentCount) }
    let scale = run.firstScale
    if scale != 1 { for i in 0..<latentCount { target[i] = Float(Double(target[i]) * scale) } }
    (origins + image * latentCount).update(repeating: 0, count: latentCount)
    (histories + image * latentCount).update(repeating: 0, count: latentCount)
  }

  /// The noise of a draw: 0 for the first latents, 1 + s for step s. Draws of torch follow each other.
  func fillNoise(
    _ values: UnsafeMutablePointer<Float>, _ image: Int, draw: Int, _ random: RandomNumbers, _ cancellation: Cancellation?
  ) {
    switch random {
    case .torch: TorchGenerator(resuming: generators + image).fillNormal(values, count: latentCount, cancellation)
    case .philox: Philox.fillNormal(values, count: latentCount, seed: seeds[image], draw: draw, cancellation)
    }
  }

  /// Takes over `count` images of `other` from its place `start` on, into the places from `target` on.
  func copy(_ count: Int, of other: ImageStates, from start: Int, to target: Int) {
    (latents + target * latentCount).update(from: other.latents + start * latentCount, count: count * latentCount)
    (origins + target * latentCount).update(from: other.origins + start * latentCount, count: count * latentCount)
    (histories + target * latentCount).update(from: other.histories + start * latentCount, count: count * latentCount)
    (seeds + target).update(from: other.seeds + start, count: count)
    (generators + target).update(from: other.generators + start, count: count)
  }
}

extension SamplingRun {
  /// Takes some images on by the `prediction` number of a step, with room for the noise of one: image i has the network's output for it in
  /// `output`, and where the step is guided that for "no class" behind those of all. `isMixed`: what is there is that of a step before,
  /// guided already.
  func advance(
    _ images: ImageStates, count: Int, step: Int, prediction: Int, output: UnsafeMutablePointer<Float>, isMixed: Bool,
    noise: UnsafeMutablePointer<Float>, _ cancellation: Cancellation
  ) throws(DitqError) {
    let place = place(step, prediction: prediction), latentCount = images.latentCount, outputCount = model.outputChannels * model.area
    let hasVariance = model.outputChannels > model.channels, isGuided = !isMixed && branches(of: step) == 2
    for image in 0..<count {
      let own = output + image * outputCount, first = image * latentCount
      if isGuided { guidance.mix(own, none: output + (count + image) * outputCount, area: model.area) }
      if drawsNoise { images.fillNoise(noise, image, draw: 1 + step, random, cancellation) }
      let sampled = SampledImage(
        x: images.latents + first, origin: images.origins + first, history: images.histories + first, prediction: UnsafePointer(own),
        variance: hasVariance ? UnsafePointer(own + latentCount) : nil, noise: drawsNoise ? UnsafePointer(noise) : nil, count: latentCount)
      for some in stride(from: 0, to: latentCount, by: Executor.mostUnseenValues) {
        try cancellation.check()
        apply(sampled[some..<min(some + Executor.mostUnseenValues, latentCount)], at: place)
      }
    }
  }
}
