// ditq.h, "Sessions".

import CDitq
import DitqCore

@c @implementation
public func ditq_session_memory(
  _ model: OpaquePointer!, _ options: UnsafePointer<ditq_session_options>!, _ size: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), size = try required(size, "size")
    size.pointee = try Session.memory(model, try sessionOptions(options))
  }
}

@c @implementation
public func ditq_session_create(
  _ model: OpaquePointer!, _ options: UnsafePointer<ditq_session_options>!, _ session: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), session = try required(session, "session")
    session.pointee = handle(try Session(model, try sessionOptions(options)))
  }
}

private func sessionOptions(_ pointer: UnsafePointer<ditq_session_options>?) throws(DitqError) -> SessionOptions {
  var result = SessionOptions()
  guard let found = try options(pointer, "options") else { return result }
  result.threads = Int(found.threads)
  result.batchLimit = Int(found.batch_limit)
  result.isaLimit = found.isa_limit
  result.allocator = try allocator(found.allocator)
  result.arena = found.arena
  result.arenaSize = try count(found.arena_size, "arena_size")
  return result
}

@c @implementation
public func ditq_session_destroy(_ session: OpaquePointer!) { release(session, Session.self) }

@c @implementation
public func ditq_session_cancel(_ session: OpaquePointer!) {
  if let session = try? object(session, Session.self, "session") { session.cancel() }
}

@c @implementation
public func ditq_session_describe(
  _ session: OpaquePointer!, _ info: UnsafeMutablePointer<ditq_session_info>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .nothing) { () throws(DitqError) in
    let session = try object(session, Session.self, "session"), info = try required(info, "info")
    try fill(
      info,
      with: ditq_session_info(
        struct_size: 0, isa: session.isa, threads: Int32(session.threads), batch_limit: Int32(session.batchLimit),
        memory_size: UInt64(session.byteCount)), "info")
  }
}

@c @implementation
public func ditq_session_describe_json(
  _ session: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    try copy(try object(session, Session.self, "session").json(), buffer, try count(capacity, "capacity"), needed)
  }
}
