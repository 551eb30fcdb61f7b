// Latents to pixels, and a single call of the transformer for hosts with a sampler of their own.

extension Session {
  /// values [count, height, width, channels], 0 … 1 nominally, not clamped.
  @export(interface)
  package func decode(
    _ latents: UnsafeBufferPointer<Float>, count: Int, values: UnsafeMutableBufferPointer<Float>
  ) throws(DitqError) {
    try decodeEach(latents, count) { image, imageCount throws(DitqError) in
      let target = values.part(image * imageCount, imageCount)
      try forEachPiece(of: imageCount) { piece in for i in piece { target[i] = workspace.image[i] / 2 + 0.5 } }
    }
  }

  /// pixels [count, height, width, channels].
  @export(interface)
  package func decode(
    _ latents: UnsafeBufferPointer<Float>, count: Int, pixels: UnsafeMutableBufferPointer<UInt8>
  ) throws(DitqError) {
    try decodeEach(latents, count) { image, imageCount throws(DitqError) in
      try round(workspace.image, into: pixels.part(image * imageCount, imageCount))
    }
  }

  /// Calls `store` when an image is in the workspace.
  private func decodeEach(
    _ latents: UnsafeBufferPointer<Float>, _ count: Int, _ store: (_ image: Int, _ imageCount: Int) throws(DitqError) -> Void
  ) throws(DitqError) {
    try model.check(count: count)
    let imageCount = try model.requireImages(), latentCount = model.config.latentCount
    try exclusively { () throws(DitqError) in
      timings = Timings()
      try checkFinite("latents", latents.part(0, count * latentCount).baseAddress!, count * latentCount, cancellation)
      for image in 0..<count {
        // Careful: the host's memory may have changed since it was checked.
        workspace.latents.update(from: latents.part(image * latentCount, latentCount).baseAddress!, count: latentCount)
        try checkFinite("latents", workspace.latents, latentCount, from: image * latentCount)
        try decode(workspace.images.latents(of: 0..<1), of: image)
        try store(image, imageCount)
      }
    }
  }

  /// Into the workspace's image: [height, width, channels], −1 … 1 nominally. Numbers all of them, or the call ends.
  func decode(_ latents: UnsafeBufferPointer<Float>, of image: Int) throws(DitqError) {
    let start = nanoseconds()
    defer { timings.decoding += seconds(since: start) }
    try cancellation.check()
    if let decoder = model.decoder, let decoderWorkspace = workspace.decoder {
      let forward = VAEForward(decoder: decoder, workspace: decoderWorkspace, executor: executor, latentSize: model.config.latentSize)
      try forward(latents: latents, image: workspace.image)
    } else {
      let channels = model.config.channels, area = model.config.latentSize * model.config.latentSize
      precondition(latents.count == channels * area && workspace.image.count == channels * area)
      try forEachPiece(of: area) { pixels in
        for pixel in pixels {
          for channel in 0..<channels { workspace.image[pixel * channels + channel] = latents[channel * area + pixel] }
        }
      }
    }
    try checkMade(
      workspace.image.baseAddress!, workspace.image.count, { "the pixels of image \(image) are" },
      { "the decoder's weights lead beyond what a float holds" })
  }

  /// official: clamp(127.5 · x + 128) truncated; diffusers: round half to even of 255 · clamp(x / 2 + ½).
  func round(_ values: UnsafeMutableBufferPointer<Float>, into pixels: UnsafeMutableBufferPointer<UInt8>) throws(DitqError) {
    let isOfficial = model.config.compatibility == .official
    precondition(values.count == pixels.count)
    try forEachPiece(of: pixels.count) { piece in
      for i in piece {
        let value = isOfficial ? 127.5 * values[i] + 128 : 255 * clamp(values[i] / 2 + 0.5, to: 1)
        pixels[i] = UInt8(isOfficial ? clamp(value, to: 255) : value.rounded(.toNearestOrEven))
      }
    }
  }

  private func clamp(_ value: Float, to top: Float) -> Float { value > 0 ? (value < top ? value : top) : 0 }

  /// Pieces of so much work, between which the call may end.
  private func forEachPiece(of count: Int, _ body: (Range<Int>) -> Void) throws(DitqError) {
    for start in stride(from: 0, to: count, by: Executor.mostUnseenValues) {
      try cancellation.check()
      body(start..<min(start + Executor.mostUnseenValues, count))
    }
  }

  /// output [count, outputChannels, S, S] of one call each.
  @export(interface)
  package func predict(
    x: UnsafeBufferPointer<Float>, timesteps: UnsafePointer<Float>, labels: UnsafePointer<Int32>, count: Int,
    output: UnsafeMutableBufferPointer<Float>
  ) throws(DitqError) {
    let config = model.config, w = workspace
    try model.check(labels: labels, count: count)
    try model.check(timesteps: timesteps, count: count)
    try exclusively { () throws(DitqError) in
      timings = Timings()
      try checkFinite("x", x.part(0, count * config.latentCount).baseAddress!, count * config.latentCount, cancellation)
      for start in stride(from: 0, to: count, by: 2 * batchLimit) {
        let images = min(2 * batchLimit, count - start), before = nanoseconds()
        // Copies, checked again, as the host's memory may have changed. Careful: x stands where the output will, which is written last.
        w.timesteps.update(from: timesteps + start, count: images)
        w.labels.update(from: labels + start, count: images)
        let given = x.part(start * config.latentCount, images * config.latentCount)
        w.prediction.update(from: given.baseAddress!, count: given.count)
        try model.check(labels: w.labels, count: images, from: start)
        try model.check(timesteps: w.timesteps, count: images, from: start)
        try checkFinite("x", w.prediction, images * config.latentCount, from: start * config.latentCount)
        try forward(x: w.prediction, inputs: images, images: images, output: w.prediction)
        for image in 0..<images {
          try checkMade(
            w.prediction + image * config.outputCount, config.outputCount, { "the predicted values of image \(start + image) are" },
            { "the model's weights, or x, lead beyond what a float holds" })
        }
        let made = output.part(start * config.outputCount, images * config.outputCount)
        made.baseAddress!.update(from: w.prediction, count: made.count)
        timings.addStep(seconds(since: before))
      }
    }
  }
}
