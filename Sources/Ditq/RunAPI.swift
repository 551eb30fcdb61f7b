// ditq.h, "One step at a time".

import CDitq
import DitqCore

/// A run as the host holds it: with the callback that it gave for the steps.
private final class HostRun {
  let run: Run
  let progress: HostProgress
  init(_ run: Run, _ progress: HostProgress) { (self.run, self.progress) = (run, progress) }
}

@c @implementation
public func ditq_run_create(
  _ model: OpaquePointer!, _ labels: UnsafePointer<Int32>!, _ seeds: UnsafePointer<UInt64>!, _ count: Int,
  _ options: UnsafePointer<ditq_generate_options>!, _ run: UnsafeMutablePointer<OpaquePointer?>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), request = try request(labels, seeds, options, count)
    let run = try required(run, "run")
    try checkRoom(.max, "count", count: request.count, each: model.config.latentCount, width: 4)
    let (values, progress) = try samplingOptions(options)
    run.pointee = handle(HostRun(try Run(model, request, values), progress))
  }
}

@c @implementation
public func ditq_run_step(
  _ run: OpaquePointer!, _ session: OpaquePointer!, _ remaining: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let host = try object(run, HostRun.self, "run"), session = try object(session, Session.self, "session")
    let remaining = try required(remaining, "remaining"), progress = host.progress
    remaining.pointee = Int32(try host.run.step(session) { progress.tell($0, $1, $2, $3, $4) })
  }
}

@c @implementation
public func ditq_run_describe(
  _ run: OpaquePointer!, _ info: UnsafeMutablePointer<ditq_run_info>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let state = try object(run, HostRun.self, "run").run.state(), info = try required(info, "info")
    try fill(
      info,
      with: ditq_run_info(
        struct_size: 0, sampler: state.sampler.rawValue, steps: Int32(state.steps), steps_taken: Int32(state.stepsTaken),
        count: UInt64(state.count)), "info")
  }
}

@c @implementation
public func ditq_run_latents(
  _ run: OpaquePointer!, _ latents: UnsafeMutablePointer<Float>!, _ guess: UnsafeMutablePointer<Float>!, _ latents_size: Int,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let run = try object(run, HostRun.self, "run").run
    try checkRoom(latents_size, "latents_size", count: run.count, each: run.model.config.latentCount, width: 4)
    try run.copy(latents: latents, guess: guess)
  }
}

@c @implementation
public func ditq_run_save(
  _ run: OpaquePointer!, _ buffer: UnsafeMutableRawPointer!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let run = try object(run, HostRun.self, "run").run, needed = try required(needed, "needed")
    let capacity = try count(capacity, "capacity")
    if capacity > 0 { _ = try required(buffer, "buffer") }
    needed.pointee = try run.save(into: UnsafeMutableRawBufferPointer(start: buffer, count: buffer == nil ? 0 : capacity))
  }
}

@c @implementation
public func ditq_run_restore(
  _ model: OpaquePointer!, _ bytes: UnsafeRawPointer!, _ size: Int, _ run: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), bytes = try required(bytes, "bytes"), run = try required(run, "run")
    let record = UnsafeRawBufferPointer(start: bytes, count: try count(size, "size"))
    run.pointee = handle(HostRun(try Run(restoring: record, model), HostProgress()))
  }
}

@c @implementation
public func ditq_run_destroy(_ run: OpaquePointer!) { release(run, HostRun.self) }
