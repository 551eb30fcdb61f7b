// Latents to pixels, and a single call of the transformer for hosts with a sampler of their own.

extension Session {
  /// values [count, height, width, channels], 0 … 1 nominally, not clamped.
  @export(interface)
  package func decode(_ latents: UnsafePointer<Float>, count: Int, values: UnsafeMutablePointer<Float>) throws(DitqError) {
    try decodeEach(latents, count) { image, value, imageCount in
      let target = values + image * imageCount
      for i in 0..<imageCount { target[i] = value[i] / 2 + 0.5 }
    }
  }

  /// pixels [count, height, width, channels].
  @export(interface)
  package func decode(_ latents: UnsafePointer<Float>, count: Int, pixels: UnsafeMutablePointer<UInt8>) throws(DitqError) {
    try decodeEach(latents, count) { image, value, imageCount in round(value, imageCount, into: pixels + image * imageCount) }
  }

  private func decodeEach(
    _ latents: UnsafePointer<Float>, _ count: Int, _ store: (_ image: Int, _ value: UnsafePointer<Float>, _ imageCount: Int) -> Void
  ) throws(DitqError) {
    try model.check(count: count)
    let imageCount = try model.requireImages()
    try checkFinite("latents", latents, count * model.config.latentCount)
    try exclusively { () throws(DitqError) in
      timings = Timings()
      for image in 0..<count {
        try decode(latents + image * model.config.latentCount)
        store(image, workspace.image, imageCount)
      }
    }
  }

  /// One image within a call.
  func decodePixels(_ latents: UnsafePointer<Float>, into pixels: UnsafeMutablePointer<UInt8>) throws(DitqError) {
    try decode(latents)
    round(workspace.image, try model.requireImages(), into: pixels)
  }

  /// Into the workspace's image: [height, width, channels], −1 … 1 nominally.
  func decode(_ latents: UnsafePointer<Float>) throws(DitqError) {
    let start = nanoseconds()
    defer { timings.decoding += seconds(since: start) }
    try checkpoint()
    if let decoder = model.decoder, let decoderWorkspace = workspace.decoder {
      let forward = VAEForward(decoder: decoder, workspace: decoderWorkspace, executor: executor, latentSize: model.config.latentSize)
      try forward(latents: latents, image: workspace.image, checkpoint: { () throws(DitqError) in try checkpoint() })
    } else {
      let channels = model.config.channels, pixels = model.config.latentSize * model.config.latentSize
      for pixel in 0..<pixels {
        for channel in 0..<channels { workspace.image[pixel * channels + channel] = latents[channel * pixels + pixel] }
      }
    }
  }

  /// official: clamp(127.5 · x + 128) truncated; diffusers: round half to even of 255 · clamp(x / 2 + ½). NaN becomes 0.
  private func round(_ values: UnsafePointer<Float>, _ count: Int, into pixels: UnsafeMutablePointer<UInt8>) {
    let isOfficial = model.config.compatibility == .official
    for i in 0..<count {
      let value = isOfficial ? 127.5 * values[i] + 128 : 255 * clamp(values[i] / 2 + 0.5, to: 1)
      pixels[i] = UInt8(isOfficial ? clamp(value, to: 255) : value.rounded(.toNearestOrEven))
    }
  }

  private func clamp(_ value: Float, to top: Float) -> Float { value > 0 ? (value < top ? value : top) : 0 }

  /// output [count, outputChannels, S, S] of one call each.
  @export(interface)
  package func predict(
    x: UnsafePointer<Float>, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int, output: UnsafeMutablePointer<Float>
  ) throws(DitqError) {
    let config = model.config
    try model.check(labels: labels, count: count)
    for index in 0..<count where !(timesteps[index].magnitude <= 1e6) {
      throw DitqError(.invalidArgument, "timesteps[\(index)]: -1000000 to 1000000 expected, \(timesteps[index]) found")
    }
    try checkFinite("x", x, count * config.latentCount)
    try exclusively { () throws(DitqError) in
      timings = Timings()
      for start in stride(from: 0, to: count, by: 2 * batchLimit) {
        let images = min(2 * batchLimit, count - start), before = nanoseconds()
        workspace.timesteps.update(from: timesteps + start, count: images)
        workspace.labels.update(from: labels + start, count: images)
        try forward(x: x + start * config.latentCount, inputs: images, images: images, output: workspace.prediction)
        (output + start * config.outputCount).update(from: workspace.prediction, count: images * config.outputCount)
        timings.addStep(seconds(since: before))
      }
    }
  }
}
