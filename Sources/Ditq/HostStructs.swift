// The structs that a host passes, each as long as the header it was compiled with had it: those of an older program are shorter, those of a
// newer one longer. Structs only grow at the end, and struct_size says how long one is. Refuses one that is shorter than it ever was, and one
// that says what this version cannot know.

import CDitq
import DitqCore

/// A struct of ditq.h that begins with struct_size. Careful: an _init function does not know how much room there is, so that of a grown struct
/// goes on to set the fields of the first size alone, and what is new in a struct has to mean its default by 0.
protocol HostStruct {
  init()
  /// Bytes by which it has grown since it was first released.
  static var growth: Int { get }
}

extension HostStruct {
  static var growth: Int { 0 }
  /// What it measured at first: no program has a shorter one.
  static var firstSize: Int { MemoryLayout<Self>.size - growth }
}

extension ditq_allocator: HostStruct {}
extension ditq_reader: HostStruct {}
extension ditq_session_info: HostStruct {}
extension ditq_run_info: HostStruct {}
extension ditq_model_info: HostStruct {
  /// output_channels and what is reserved behind it.
  static var growth: Int { 2 * MemoryLayout<Int32>.size }
}
extension ditq_layer_rule: HostStruct {}
extension ditq_quantize_options: HostStruct {}
extension ditq_compare_options: HostStruct {}
extension ditq_session_options: HostStruct {}
extension ditq_generate_options: HostStruct {}
extension ditq_linear_options: HostStruct {}
extension ditq_model_options: HostStruct {
  /// config_json, decoder, variant.
  static var growth: Int { 3 * MemoryLayout<UnsafePointer<CChar>?>.size }
}

/// A struct of options; nil for NULL.
func options<T: HostStruct>(_ pointer: UnsafePointer<T>?, _ name: String) throws(DitqError) -> T? {
  guard let pointer else { return nil }
  return try checked(pointer, name)
}

/// The same of a struct that has to be there.
func checked<T: HostStruct>(_ pointer: UnsafePointer<T>, _ name: String) throws(DitqError) -> T {
  var value = T()
  try withUnsafeMutableBytes(of: &value) { room throws(DitqError) in
    try copy(UnsafeRawPointer(pointer), into: room, alignment: MemoryLayout<T>.alignment, firstSize: T.firstSize, name)
  }
  return value
}

/// Copies what both have. What is left, and what is no whole field, has to be 0.
@inline(never)
private func copy(
  _ host: UnsafeRawPointer, into room: UnsafeMutableRawBufferPointer, alignment: Int, firstSize: Int, _ name: String
) throws(DitqError) {
  let found = try checkedSize(host, firstSize: firstSize, name)
  let known = min(found, room.count) / alignment * alignment
  for offset in known..<found where host.load(fromByteOffset: offset, as: UInt8.self) != 0 {
    throw DitqError(
      .unsupported,
      "\(name)->struct_size: \(room.count) expected; of the \(found) found, byte \(offset) is set and unknown to this version")
  }
  room.copyMemory(from: UnsafeRawBufferPointer(start: host, count: known))
}

/// Writes as much of a struct that the library fills as the host's has; its struct_size stays.
func fill<T: HostStruct>(_ pointer: UnsafeMutablePointer<T>, with value: T, _ name: String) throws(DitqError) {
  let host = UnsafeMutableRawPointer(pointer), start = MemoryLayout<UInt32>.size
  let size = min(try checkedSize(host, firstSize: T.firstSize, name), MemoryLayout<T>.size)
  withUnsafeBytes(of: value) { host.advanced(by: start).copyMemory(from: $0.baseAddress! + start, byteCount: size - start) }
}

private func checkedSize(_ host: UnsafeRawPointer, firstSize: Int, _ name: String) throws(DitqError) -> Int {
  let found = Int(host.load(as: UInt32.self))
  guard (firstSize...65536).contains(found) else {
    throw DitqError(.invalidArgument, "\(name)->struct_size: \(firstSize) expected, \(found) found")
  }
  return found
}

/// A field that has no meaning yet.
func requireUnset(_ reserved: some FixedWidthInteger, _ name: String) throws(DitqError) {
  guard reserved == 0 else { throw DitqError(.unsupported, "\(name)->reserved: 0 expected; what is found is unknown to this version") }
}
