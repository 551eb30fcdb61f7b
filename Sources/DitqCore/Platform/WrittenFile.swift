// Writing files: whole or not at all, under a temporary name beside the final one, synced, then renamed. What was there keeps its permissions,
// owner and group, and the symbolic links that lead to it. Relies on CPlatform, for writing without signals too.
// Refuses folders and what is protected from writing. A pipe or a device is written to as it is.

import CPlatform

func writeFile(_ path: String, _ pieces: [UnsafeRawBufferPointer]) throws(DitqError) {
  let found = ditqp_look(path)
  switch found.kind {
  case CInt(DITQP_DIRECTORY): throw DitqError(.ioFailed, "\(path): cannot write: it is a directory")
  case CInt(DITQP_OTHER):
    let descriptor = ditqp_open_device(path)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    guard pieces.allSatisfy({ writeAll(descriptor, $0) }) else { throw failure("write", path) }
  case CInt(DITQP_REGULAR):
    let place = try destination(of: path)
    guard FileIdentity(of: place) == FileIdentity(found) else {
      throw DitqError(.ioFailed, "\(path): cannot write: it is a link to a file that has no name")
    }
    guard ditqp_check_writable(place, found.permissions) == 0 else { throw failure("write", path) }
    try replace(place, calledBy: path, as: found, with: pieces)
  default: try replace(try destination(of: path), calledBy: path, as: nil, with: pieces)
  }
}

/// Where writing to a path leads: through symbolic links, to what may not be there yet.
private func destination(of path: String) throws(DitqError) -> String {
  let mostLinks = 40  // as the system follows
  var place = path
  for _ in 0...mostLinks {
    guard let target = try linkTarget(place) else { return place }
    place = target.starts(withBytesOf: "/") ? target : folder(of: place) + target
  }
  throw DitqError(.ioFailed, "\(path): cannot write: \(systemReason(ELOOP))")
}

/// nil for a path that is no link.
private func linkTarget(_ path: String) throws(DitqError) -> String? {
  let room = 4096  // PATH_MAX
  let read: (isLink: Bool, target: String?) = withUnsafeTemporaryAllocation(of: CChar.self, capacity: room) { buffer in
    guard ditqp_read_link(path, buffer.baseAddress!, room) >= 0 else { return (false, nil) }
    return (true, String(validatingCString: buffer.baseAddress!))
  }
  guard read.isLink else { return nil }
  guard let target = read.target else { throw DitqError(.ioFailed, "\(path): cannot write: it is a link to a name that is not UTF-8") }
  return target
}

/// With its slash; "" for the present one.
private func folder(of path: String) -> String {
  path.last("/").map { path.bytes(0..<$0 + 1) } ?? ""
}

/// `old`: what is there, nil for nothing. The temporary file never grants more than the final one will.
private func replace(
  _ place: String, calledBy path: String, as old: ditqp_file?, with pieces: [UnsafeRawBufferPointer]
) throws(DitqError) {
  let (descriptor, temporary) = try createTemporary(
    in: folder(of: place), calledBy: path, permissions: old.map { $0.permissions & 0o700 } ?? 0o666)
  var error: DitqError?
  if var old, ditqp_dress(descriptor, &old) != 0 { error = failure("keep the permissions of", path) }
  if error == nil && !(pieces.allSatisfy { writeAll(descriptor, $0) } && fsync(descriptor) == 0) { error = failure("write", path) }
  if close(descriptor) != 0 && error == nil { error = failure("write", path) }
  if error == nil && rename(temporary, place) != 0 { error = failure("rename to", path) }
  if let error {
    unlink(temporary)
    throw error
  }
}

/// A new file in a folder, under a short name of its own, because the final one may be as long as names can be.
private func createTemporary(
  in folder: String, calledBy path: String, permissions: UInt32
) throws(DitqError) -> (descriptor: CInt, path: String) {
  for attempt in 0..<100 {
    let temporary = "\(folder).ditq-\(getpid())-\(nanoseconds() % 1_000_000_007)-\(attempt).tmp"
    let descriptor = ditqp_open_new(temporary, permissions)
    if descriptor >= 0 { return (descriptor, temporary) }
    guard ditqp_errno() == EEXIST else { break }
  }
  throw failure("create", path)
}

private func writeAll(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = ditqp_write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress!, rest.count)
    if count < 0 && ditqp_errno() == EINTR { continue }
    guard count > 0 else { return false }
    rest = rest.dropFirst(count)
  }
  return true
}
