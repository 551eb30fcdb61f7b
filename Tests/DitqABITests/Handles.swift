// What the tests of the interface share: the error struct with room to see what is written beyond it, and models and sessions that are
// closed with their objects. Nothing here knows the library but by ditq.h.

import CDitq
import Foundation
import Testing

enum File {
  private static var repository: URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  }
  static var emoji: String { repository.appendingPathComponent("examples/models/emoji/emoji.safetensors").path }
  static var officialA: String { repository.appendingPathComponent("Tests/Fixtures/official-a/model.safetensors").path }
}

/// A ditq_error of a chosen struct_size, in more memory than it has.
final class Failure {
  let memory: UnsafeMutableRawPointer
  static let room = 2048
  static let mark: UInt8 = 0xa5

  init(structSize: Int = MemoryLayout<ditq_error>.size) {
    memory = .allocate(byteCount: Failure.room, alignment: 16)
    memory.initializeMemory(as: UInt8.self, repeating: Failure.mark, count: Failure.room)
    memory.storeBytes(of: UInt32(structSize), as: UInt32.self)
  }
  deinit { memory.deallocate() }

  var pointer: UnsafeMutablePointer<ditq_error> { memory.assumingMemoryBound(to: ditq_error.self) }
  var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: memory, count: Failure.room)) }
  var status: ditq_status { memory.load(fromByteOffset: 4, as: Int32.self) }
  /// The text up to its NUL; nil when there is none within the struct.
  var message: String? {
    let text = bytes[8..<MemoryLayout<ditq_error>.size]
    return text.firstIndex(of: 0).map { String(decoding: text[..<$0], as: UTF8.self) }
  }
  var isUntouched: Bool { bytes[4...].allSatisfy { $0 == Failure.mark } }
}

final class OpenModel {
  let handle: OpaquePointer

  init(_ path: String = File.emoji, headCount: Int32 = 0) throws {
    let failure = Failure()
    var options = ditq_model_options()
    options.struct_size = UInt32(MemoryLayout<ditq_model_options>.size)
    options.head_count = headCount
    var handle: OpaquePointer?
    let status = ditq_model_open(path, &options, &handle, failure.pointer)
    try #require(status == DITQ_OK, "\(failure.message ?? "no message")")
    self.handle = try #require(handle)
  }
  deinit { ditq_model_close(handle) }

  var info: ditq_model_info {
    var info = ditq_model_info()
    info.struct_size = UInt32(MemoryLayout<ditq_model_info>.size)
    #expect(ditq_model_describe(handle, &info, nil) == DITQ_OK)
    return info
  }
}

final class OpenSession {
  let handle: OpaquePointer

  init(_ model: OpenModel, threads: Int32 = 1, isaLimit: Int32 = 0) throws {
    var options = ditq_session_options()
    options.struct_size = UInt32(MemoryLayout<ditq_session_options>.size)
    (options.threads, options.isa_limit) = (threads, isaLimit)
    var handle: OpaquePointer?
    let failure = Failure()
    try #require(ditq_session_create(model.handle, &options, &handle, failure.pointer) == DITQ_OK, "\(failure.message ?? "no message")")
    self.handle = try #require(handle)
  }
  deinit { ditq_session_destroy(handle) }
}

func generateOptions(steps: Int32) -> ditq_generate_options {
  var options = ditq_generate_options()
  ditq_generate_options_init(&options)
  options.steps = steps
  return options
}

extension ditq_status {
  static func == (status: ditq_status, value: Int) -> Bool { Int(status) == value }
}
