// ditq.h, "Generating".

import CDitq
import DitqCore

@c @implementation
public func ditq_generate_options_init(_ options: UnsafeMutablePointer<ditq_generate_options>!) {
  guard let options else { return }
  let defaults = SamplingOptions()
  var result = ditq_generate_options()
  result.struct_size = UInt32(MemoryLayout<ditq_generate_options>.size)
  result.steps = Int32(defaults.steps)
  result.guidance_scale = defaults.guidanceScale
  result.guidance_begin = defaults.guidanceBegin
  result.guidance_end = defaults.guidanceEnd
  options.pointee = result
}

@c @implementation
public func ditq_sampler_name(_ sampler: Int32) -> UnsafePointer<CChar>! {
  Int(sampler) == DITQ_SAMPLER_AUTO ? cString("auto") : Sampler(rawValue: sampler).map { cString($0.staticName) }
}

@c @implementation
public func ditq_generate(
  _ session: OpaquePointer!, _ labels: UnsafePointer<Int32>!, _ seeds: UnsafePointer<UInt64>!, _ count: Int,
  _ options: UnsafePointer<ditq_generate_options>!, _ pixels: UnsafeMutablePointer<UInt8>!, _ pixels_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), request = try request(labels, seeds, options, count)
    let pixels = try required(pixels, "pixels")
    let room = try room(pixels, pixels_size, "pixels_size", count: request.count, each: session.model.imageCount)
    let (values, progress) = try samplingOptions(options)
    try session.generate(request, values, pixels: room) { progress.tell($0, $1, $2, $3, $4) }
  }
}

@c @implementation
public func ditq_denoise(
  _ session: OpaquePointer!, _ labels: UnsafePointer<Int32>!, _ seeds: UnsafePointer<UInt64>!, _ count: Int,
  _ options: UnsafePointer<ditq_generate_options>!, _ latents: UnsafeMutablePointer<Float>!, _ latents_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), request = try request(labels, seeds, options, count)
    let latents = try required(latents, "latents")
    let room = try room(latents, latents_size, "latents_size", count: request.count, each: session.model.config.latentCount)
    let (values, progress) = try samplingOptions(options)
    try session.denoise(request, values, latents: room) { progress.tell($0, $1, $2, $3, $4) }
  }
}

@c @implementation
public func ditq_decode(
  _ session: OpaquePointer!, _ latents: UnsafePointer<Float>!, _ count: Int, _ pixels: UnsafeMutablePointer<UInt8>!, _ pixels_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), latents = try required(latents, "latents")
    let pixels = try required(pixels, "pixels"), images = try hostLatents(latents, count, session)
    let room = try room(pixels, pixels_size, "pixels_size", count: count, each: session.model.imageCount)
    try session.decode(images, count: count, pixels: room)
  }
}

@c @implementation
public func ditq_decode_float(
  _ session: OpaquePointer!, _ latents: UnsafePointer<Float>!, _ count: Int, _ values: UnsafeMutablePointer<Float>!, _ values_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), latents = try required(latents, "latents")
    let values = try required(values, "values"), images = try hostLatents(latents, count, session)
    let room = try room(values, values_size, "values_size", count: count, each: session.model.imageCount)
    try session.decode(images, count: count, values: room)
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
    let output = try required(output, "output"), images = try hostLatents(x, count, session)
    let room = try room(output, output_size, "output_size", count: count, each: session.model.config.outputCount)
    try session.predict(x: images, timesteps: timesteps, labels: labels, count: count, output: room)
  }
}

// MARK: - Translation

func request(
  _ labels: UnsafePointer<Int32>?, _ seeds: UnsafePointer<UInt64>?, _ pointer: UnsafePointer<ditq_generate_options>?, _ images: Int
) throws(DitqError) -> Request {
  Request(
    labels: try required(labels, "labels"), seeds: seeds, noise: try options(pointer, "options")?.noise, count: try count(images, "count"))
}

/// The host's latents of so many images, whose bytes can be addressed.
private func hostLatents(_ start: UnsafePointer<Float>, _ images: Int, _ session: Session) throws(DitqError) -> UnsafeBufferPointer<Float> {
  let images = try count(images, "count"), each = session.model.config.latentCount
  try checkRoom(.max, "count", count: images, each: each, width: 4)
  return UnsafeBufferPointer(start: start, count: images * each)
}

/// The host's room for what is made, with as many elements as that takes; none where a model makes no pictures, which the core says.
private func room<T>(
  _ start: UnsafeMutablePointer<T>, _ size: Int, _ name: String, count: Int, each: Int?
) throws(DitqError) -> UnsafeMutableBufferPointer<T> {
  guard let each else { return UnsafeMutableBufferPointer(start: start, count: 0) }
  try checkRoom(size, name, count: count, each: each, width: MemoryLayout<T>.size)
  return UnsafeMutableBufferPointer(start: start, count: count * each)
}

func samplingOptions(_ pointer: UnsafePointer<ditq_generate_options>?) throws(DitqError) -> (SamplingOptions, HostProgress) {
  var result = SamplingOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress()) }
  try requireUnset(found.reserved, "options")
  if Int(found.sampler) != DITQ_SAMPLER_AUTO {
    result.sampler = try enumerator("sampler", found.sampler, Sampler(rawValue: found.sampler), "0 (auto) to \(Sampler.allCases.count)")
  }
  result.random = try enumerator("random", found.random, RandomNumbers(rawValue: found.random), "0 (torch) or 1 (philox)")
  result.steps = Int(found.steps)
  result.guidanceScale = found.guidance_scale
  result.guidanceBegin = found.guidance_begin
  result.guidanceEnd = found.guidance_end
  result.guidanceChannels = found.guidance_channels == 0 ? nil : Int(found.guidance_channels)
  result.eta = found.eta
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}
