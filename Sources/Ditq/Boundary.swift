// The boundary: how a C call becomes a Swift one and its outcome a status. Every function of ditq.h is `@c @implementation`, so that the
// compiler checks it against the header's declaration, and does three things: check arguments, call the core, answer. The module sees the
// header without its nullability, so every pointer is an optional here and NULL is a sentence, not a crash.

import CDitq
import DitqCore

/// What a call allocates beside weights and sessions: how large a reserve it needs, see Reserve.
enum Need { case nothing, little, much }

/// Runs a call's body; its error becomes a status and, where the host gave room, a sentence.
func answer(
  _ error: UnsafeMutablePointer<ditq_error>?, allocating need: Need = .little, _ body: () throws(DitqError) -> Void
) -> ditq_status {
  do {
    if need == .nothing { try body() } else { try withReserve(isLarge: need == .much, body) }
    return ditq_status(DITQ_OK)
  } catch let failure {
    if let error { fill(error, failure) }
    return failure.status.rawValue
  }
}

/// Writes as much of the sentence as fits, in one line, cut between characters, with its NUL.
private func fill(_ error: UnsafeMutablePointer<ditq_error>, _ failure: DitqError) {
  let header = 8, room = min(Int(error.pointee.struct_size), MemoryLayout<ditq_error>.size) - header
  guard room > 0 else { return }
  error.pointee.status = failure.status.rawValue
  let message = UnsafeMutableRawPointer(error) + header
  var count = 0
  for scalar in failure.message.unicodeScalars {
    let fits = scalar.show(room: room - 1 - count) { byte in
      message.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
      count += 1
    }
    guard fits else { break }
  }
  message.storeBytes(of: 0, toByteOffset: count, as: UInt8.self)
}

// MARK: - Arguments

func required<T>(_ pointer: T?, _ name: String) throws(DitqError) -> T {
  guard let pointer else { throw DitqError(.invalidArgument, "\(name): NULL found where a pointer is expected") }
  return pointer
}

/// The path of a file. One that is not UTF-8 would name another file once it is a String.
func filePath(_ pointer: UnsafePointer<CChar>?) throws(DitqError) -> String {
  try text(try required(pointer, "path"), "path")
}

/// A text of the host's that is to be what it wrote, byte for byte.
func text(_ pointer: UnsafePointer<CChar>, _ name: String) throws(DitqError) -> String {
  guard let text = String(validatingCString: pointer), !text.isEmpty else {
    throw DitqError(.invalidArgument, "\(name): one or more characters in UTF-8 expected, other bytes or none found")
  }
  return text
}

/// The same of an optional field; nil for NULL.
func optionalText(_ pointer: UnsafePointer<CChar>?, _ name: String) throws(DitqError) -> String? {
  guard let pointer else { return nil }
  return try text(pointer, name)
}

/// A non-negative count of the host that fits an Int.
func count(_ value: Int, _ name: String) throws(DitqError) -> Int {
  guard value >= 0 else { throw DitqError(.invalidArgument, "\(name): \(UInt(bitPattern: value)) is more than an address space holds") }
  return value
}

/// The value of an enumerator, nil where this version has none of its number; `known` says which there are.
func enumerator<E>(_ name: String, _ found: Int32, _ value: E?, _ known: @autoclosure () -> String) throws(DitqError) -> E {
  guard let value else { throw DitqError(.unsupported, "\(name): \(known()) expected, \(found) found") }
  return value
}

/// Checks that a buffer has room for `count` × `each` elements of `width` bytes.
func checkRoom(_ size: Int, _ name: String, count: Int, each: Int, width: Int) throws(DitqError) {
  let elements = count.multipliedReportingOverflow(by: each)
  let needed = elements.partialValue.multipliedReportingOverflow(by: width)
  guard !elements.overflow && !needed.overflow && needed.partialValue >= 0 else {
    throw DitqError(.invalidArgument, "count: \(count) images are more than an address space holds")
  }
  guard size < 0 || size >= needed.partialValue else {
    throw DitqError(.invalidArgument, "\(name): at least \(needed.partialValue) bytes expected, \(size) found")
  }
}

func allocator(_ pointer: UnsafePointer<ditq_allocator>?) throws(DitqError) -> Allocator {
  guard let hooks = try options(pointer, "allocator") else { return .system }
  try requireUnset(hooks.reserved, "allocator")
  return Allocator(
    context: hooks.context, allocate: try required(hooks.allocate, "allocator->allocate"),
    deallocate: try required(hooks.deallocate, "allocator->deallocate"))
}

/// The host's progress callback, if it gave one.
struct HostProgress {
  var callback: ditq_progress_callback?
  var context: UnsafeMutableRawPointer?

  /// False when the host asks to stop.
  func tell(_ phase: Phase, _ done: Int, _ total: Int, _ seconds: Double, _ latents: UnsafePointer<Float>?) -> Bool {
    guard let callback else { return true }
    var progress = ditq_progress(
      struct_size: UInt32(MemoryLayout<ditq_progress>.size), phase: phase.rawValue, done: Int64(done), total: Int64(total),
      elapsed_seconds: seconds, latents: latents)
    return callback(context, &progress) == 0
  }
}

// MARK: - Handles

/// An object as the host holds it: one reference, taken back by `release`.
func handle<T: AnyObject>(_ object: T) -> OpaquePointer { OpaquePointer(Unmanaged.passRetained(object).toOpaque()) }

func object<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type, _ name: String) throws(DitqError) -> T {
  Unmanaged<T>.fromOpaque(UnsafeRawPointer(try required(handle, name))).takeUnretainedValue()
}

func release<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) {
  if let handle { Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).release() }
}

// MARK: - Text

/// Copies a text into the host's buffer, cut to its capacity, NUL included.
func copy(_ text: String, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?) throws(DitqError) {
  let needed = try required(needed, "needed")
  if capacity > 0 { _ = try required(buffer, "buffer") }
  needed.pointee = text.utf8.count + 1
  guard let buffer, capacity > 0 else { return }
  let copied = min(capacity - 1, text.utf8.count)
  for (index, byte) in text.utf8.prefix(copied).enumerated() { buffer[index] = CChar(bitPattern: byte) }
  buffer[copied] = 0
}

/// A literal as a C string, which lives for ever.
func cString(_ literal: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(literal.utf8Start).assumingMemoryBound(to: CChar.self)
}
