// ditq.h, "Models": opening one, from wherever its bytes are.

import CDitq
import DitqCore

@c @implementation
public func ditq_model_open(
  _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<ditq_model_options>!, _ model: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let path = try filePath(path), model = try required(model, "model")
    let opened = try opening(options) { asked, tell throws(DitqError) in
      try tell(0)
      return try Model.open(path: path, asked)
    }
    model.pointee = handle(opened)
  }
}

@c @implementation
public func ditq_model_open_memory(
  _ data: UnsafeRawPointer!, _ size: Int, _ options: UnsafePointer<ditq_model_options>!, _ model: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let bytes = Bytes(borrowing: try required(data, "data"), count: try count(size, "size")), model = try required(model, "model")
    let opened = try opening(options) { asked, tell throws(DitqError) in
      try tell(0)
      return try Model.open(bytes, named: "data", asked)
    }
    model.pointee = handle(opened)
  }
}

@c @implementation
public func ditq_model_open_reader(
  _ reader: UnsafePointer<ditq_reader>!, _ options: UnsafePointer<ditq_model_options>!, _ model: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let reader = try hostReader(reader), model = try required(model, "model")
    let opened = try opening(options, pieces: reader.pieceCount) { asked, tell throws(DitqError) in
      try Model.open(try reader.copy(to: asked.allocator, progress: tell), named: "reader", asked)
    }
    model.pointee = handle(opened)
  }
}

// MARK: - Translation

private func hostReader(_ pointer: UnsafePointer<ditq_reader>?) throws(DitqError) -> HostReader {
  let found = try checked(try required(pointer, "reader"), "reader")
  try requireUnset(found.reserved, "reader")
  return try HostReader(context: found.context, size: found.size, read: try required(found.read, "reader->read"))
}

/// Opens with the host's options. `open` tells how many of its pieces are done; that all are is told here, and between, as long as it takes, that the
/// call goes on.
private func opening(
  _ options: UnsafePointer<ditq_model_options>?, pieces: Int = 1,
  _ open: (OpenOptions, _ tell: (Int) throws(DitqError) -> Void) throws(DitqError) -> Model
) throws(DitqError) -> Model {
  let (asked, progress) = try openOptions(options)
  guard progress.callback != nil else { return try open(asked) { _ in } }
  var loading = Loading(progress: progress, pieces: pieces)
  return try withUnsafeMutablePointer(to: &loading) { loading throws(DitqError) in
    func tell(_ done: Int) throws(DitqError) {
      loading.pointee.done = done
      guard loading.pointee.goesOn() else { throw .endedByHost }
    }
    var model: Model?
    try whileAsking({ loading in loading!.assumingMemoryBound(to: Loading.self).pointee.goesOn() ? 0 : 1 }, loading) {
      () throws(DitqError) in
      model = try open(asked, tell)
    }
    try tell(pieces)
    return model!
  }
}

/// What the host was last told of an opening.
private struct Loading {
  let progress: HostProgress
  let pieces: Int
  let start = nanoseconds()
  var done = 0

  func goesOn() -> Bool { progress.tell(.load, done, pieces, seconds(since: start), nil) }
}

private func openOptions(_ pointer: UnsafePointer<ditq_model_options>?) throws(DitqError) -> (OpenOptions, HostProgress) {
  var result = OpenOptions()
  guard let found = try options(pointer, "options") else { return (result, HostProgress()) }
  try requireUnset(found.reserved, "options")
  if Int(found.compatibility) != DITQ_COMPATIBILITY_AUTO {
    result.compatibility = try enumerator(
      "compatibility", found.compatibility, Compatibility(rawValue: found.compatibility), "0 (auto), 1 (official) or 2 (diffusers)")
  }
  guard (0...1024).contains(found.head_count) else {
    throw DitqError(.invalidArgument, "head_count: 0 (not given) to 1024 expected, \(found.head_count) found")
  }
  result.headCount = found.head_count == 0 ? nil : Int(found.head_count)
  result.allocator = try allocator(found.allocator)
  result.expectedSHA256 = found.expected_sha256.map { String(bytes: $0) }
  result.configJSON = try optionalText(found.config_json, "config_json")
  result.decoder = try optionalText(found.decoder, "decoder")
  result.variant = try optionalText(found.variant, "variant")
  return (result, HostProgress(callback: found.progress, context: found.progress_context))
}
