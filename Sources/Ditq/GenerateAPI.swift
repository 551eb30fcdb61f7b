// ditq.h, "Generating".

import CDitq
import DitqCore

@c @implementation
public func ditq_generate_options_init(_ options: UnsafeMutablePointer<ditq_generate_options>!) {
  guard let options else { return }
  let defaults = GenerateOptions()
  var result = ditq_generate_options()
  result.struct_size = UInt32(MemoryLayout<ditq_generate_options>.size)
  result.steps = Int32(defaults.steps)
  result.guidance_scale = defaults.guidanceScale
  result.guidance_begin = defaults.guidanceBegin
  result.guidance_end = defaults.guidanceEnd
  options.pointee = result
}

@c @implementation
public func ditq_generate(
  _ session: OpaquePointer!, _ labels: UnsafePointer<Int32>!, _ seeds: UnsafePointer<UInt64>!, _ count: Int,
  _ options: UnsafePointer<ditq_generate_options>!, _ pixels: UnsafeMutablePointer<UInt8>!, _ pixels_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), request = try request(labels, seeds, count)
    let pixels = try required(pixels, "pixels")
    if let each = session.model.imageCount { try checkRoom(pixels_size, "pixels_size", count: request.count, each: each, width: 1) }
    let (values, progress) = try generateOptions(options)
    try session.generate(request, values, pixels: pixels) { progress.tell($0, $1, $2, $3, $4) }
  }
}

@c @implementation
public func ditq_denoise(
  _ session: OpaquePointer!, _ labels: UnsafePointer<Int32>!, _ seeds: UnsafePointer<UInt64>!, _ count: Int,
  _ options: UnsafePointer<ditq_generate_options>!, _ latents: UnsafeMutablePointer<Float>!, _ latents_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), request = try request(labels, seeds, count)
    let latents = try required(latents, "latents")
    try checkRoom(latents_size, "latents_size", count: request.count, each: session.model.config.latentCount, width: 4)
    let (values, progress) = try generateOptions(options)
    try session.denoise(request, values, latents: latents) { progress.tell($0, $1, $2, $3, $4) }
  }
}

@c @implementation
public func ditq_decode(
  _ session: OpaquePointer!, _ latents: UnsafePointer<Float>!, _ count: Int, _ pixels: UnsafeMutablePointer<UInt8>!, _ pixels_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), latents = try required(latents, "latents")
    let pixels = try required(pixels, "pixels"), count = try latentCount(count, session)
    if let each = session.model.imageCount { try checkRoom(pixels_size, "pixels_size", count: count, each: each, width: 1) }
    try session.decode(latents, count: count, pixels: pixels)
  }
}

@c @implementation
public func ditq_decode_float(
  _ session: OpaquePointer!, _ latents: UnsafePointer<Float>!, _ count: Int, _ values: UnsafeMutablePointer<Float>!, _ values_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), latents = try required(latents, "latents")
    let values = try required(values, "values"), count = try latentCount(count, session)
    if let each = session.model.imageCount { try checkRoom(values_size, "values_size", count: count, each: each, width: 4) }
    try session.decode(latents, count: count, values: values)
  }
}

@c @implementation
public func ditq_predict(
  _ session: OpaquePointer!, _ x: UnsafePointer<Float>!, _ timesteps: UnsafePointer<Float>!, _ labels: UnsafePointer<Int32>!, _ count: Int,
  _ output: UnsafeMutablePointer<Float>!, _ output_size: Int, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), x = try required(x, "x")
    let timesteps = try required(timesteps, "timesteps"), labels = try required(labels, "labels")
    let output = try required(output, "output"), count = try latentCount(count, session)
    try checkRoom(output_size, "output_size", count: count, each: session.model.config.outputCount, width: 4)
    try session.predict(x: x, timesteps: timesteps, labels: labels, count: count, output: output)
  }
}

// MARK: - Translation

func request(_ labels: UnsafePointer<Int32>?, _ seeds: UnsafePointer<UInt64>?, _ images: Int) throws(DitqError) -> Request {
  Request(labels: try required(labels, "labels"), seeds: seeds, count: try count(images, "count"))
}

/// A count of latents whose bytes can be addressed.
private func latentCount(_ images: Int, _ session: Session) throws(DitqError) -> Int {
  let images = try count(images, "count")
  try checkRoom(.max, "count", count: images, each: session.model.config.latentCount, width: 4)
  return images
}

func generateOptions(_ pointer: UnsafePointer<ditq_generate_options>?) throws(DitqError) -> (GenerateOptions, HostProgress) {
  var result = GenerateOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress()) }
  try requireUnset(found.reserved, "options")
  result.sampler = found.sampler
  result.steps = Int(found.steps)
  result.random = found.random
  result.guidanceScale = found.guidance_scale
  result.guidanceBegin = found.guidance_begin
  result.guidanceEnd = found.guidance_end
  result.guidanceChannels = Int(found.guidance_channels)
  result.eta = found.eta
  result.noise = found.noise
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}
