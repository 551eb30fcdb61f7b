// The example at the top of ditq.h, as a host runs it, with two steps on the small model.

import CDitq
import Foundation
import Testing

@Suite("The header's example")
struct ExampleTests {
  @Test("open, create, generate, write: a picture comes out")
  func example() throws {
    var model: OpaquePointer?, session: OpaquePointer?
    var error = ditq_error()
    error.struct_size = UInt32(MemoryLayout<ditq_error>.size)
    #expect(ditq_abi_version() == UInt32(DITQ_ABI_VERSION))
    try #require(ditq_model_open(File.emoji, nil, &model, &error) == DITQ_OK)
    try #require(ditq_session_create(try #require(model), nil, &session, &error) == DITQ_OK)
    var options = generateOptions(steps: 2), label: Int32 = 0, seed: UInt64 = 7
    var pixels = [UInt8](repeating: 0, count: 32 * 32 * 3)
    try #require(ditq_generate(try #require(session), &label, &seed, 1, &options, &pixels, pixels.count, &error) == DITQ_OK)
    #expect(Set(pixels).count > 16, "a picture, not one colour")

    let path = FileManager.default.temporaryDirectory.appendingPathComponent("ditq-\(UUID().uuidString).png").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(ditq_png_write(path, pixels, 32, 32, 3, nil, 0, &error) == DITQ_OK)
    let file = try Data(contentsOf: URL(fileURLWithPath: path))
    #expect(file.starts(with: [0x89, 0x50, 0x4e, 0x47]))
    var needed = 0
    #expect(ditq_png_encode(pixels, 32, 32, 3, nil, 0, nil, 0, &needed, nil) == DITQ_OK && needed == file.count)
    #expect(error.status == 0, "no call that succeeds fills the error")
    ditq_session_destroy(session)
    ditq_model_close(model)
  }

  @Test("the model says what it is, by number and by name")
  func description() throws {
    let model = try OpenModel(), info = model.info
    #expect(info.struct_size == 96 && info.image_height == 32 && info.image_width == 32 && info.image_channels == 3)
    #expect(info.latent_channels == 3 && info.patch_size == 4 && info.hidden_size == 256 && info.depth == 6 && info.head_count == 4)
    #expect(info.class_count == 128 && info.weight_bits == 32 && info.has_decoder == 0 && info.macs_per_forward > 0)
    let name = try #require(ditq_model_class_name(model.handle, 0))
    var label: Int32 = -1
    #expect(ditq_model_find_class(model.handle, String(cString: name).uppercased(), &label, nil) == DITQ_OK && label == 0)
    #expect(ditq_model_class_name(model.handle, -1) == nil && ditq_model_class_name(model.handle, 128) == nil)
    withExtendedLifetime(model) {}
  }

  @Test("a description in JSON is measured, cut and always ended")
  func descriptionJSON() throws {
    let model = try OpenModel()
    var needed = 0
    #expect(ditq_model_describe_json(model.handle, nil, 0, &needed, nil) == DITQ_OK)
    for capacity in [1, 2, 100, needed - 1, needed, needed + 7] {
      var text = [CChar](repeating: 0x55, count: needed + 8), again = 0
      #expect(ditq_model_describe_json(model.handle, &text, capacity, &again, nil) == DITQ_OK && again == needed)
      let written = min(capacity, needed)
      #expect(text[written - 1] == 0 && !text[..<(written - 1)].contains(0) && text[written...].allSatisfy { $0 == 0x55 })
      guard capacity >= needed else { continue }
      let bytes = text[..<(needed - 1)].map { UInt8(bitPattern: $0) }
      let object = try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
      #expect((object["architecture"] as? [String: Any])?["hidden_size"] as? Int == 256)
      #expect((object["class_names"] as? [String])?.count == 128)
    }
    withExtendedLifetime(model) {}
  }

  @Test("sessions of any instruction set and number of threads make the same bytes, after the model was closed too")
  func sameBytes() throws {
    var model: OpenModel? = try OpenModel()
    let sessions = try [(1, 0), (1, 1), (2, 2), (3, 3)].map { try OpenSession(model!, threads: $0, isaLimit: $1) }
    model = nil
    var first: [UInt8]?
    for session in sessions {
      var options = generateOptions(steps: 2), labels: [Int32] = [3, 128], seeds: [UInt64] = [1, 2]
      var pixels = [UInt8](repeating: 0, count: 2 * 3072)
      #expect(ditq_generate(session.handle, &labels, &seeds, 2, &options, &pixels, pixels.count, nil) == DITQ_OK)
      if let first { #expect(pixels == first) } else { first = pixels }
    }
    withExtendedLifetime(sessions) {}
  }

  @Test("a session works in exactly the memory that was announced")
  func arena() throws {
    let model = try OpenModel()
    var options = ditq_session_options(), size = 0
    options.struct_size = UInt32(MemoryLayout<ditq_session_options>.size)
    options.threads = 2
    #expect(ditq_session_memory(model.handle, &options, &size, nil) == DITQ_OK && size > 0)
    let guarded = 4096, memory = UnsafeMutableRawPointer.allocate(byteCount: size + guarded, alignment: 64)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0xa5, count: size + guarded)
    (options.arena, options.arena_size) = (memory, size)
    var session: OpaquePointer?
    try #require(ditq_session_create(model.handle, &options, &session, nil) == DITQ_OK)
    var generate = generateOptions(steps: 1), label: Int32 = 1, seed: UInt64 = 1
    var pixels = [UInt8](repeating: 0, count: 3072)
    #expect(ditq_generate(try #require(session), &label, &seed, 1, &generate, &pixels, pixels.count, nil) == DITQ_OK)
    ditq_session_destroy(session)
    #expect((0..<guarded).allSatisfy { memory.load(fromByteOffset: size + $0, as: UInt8.self) == 0xa5 })
    options.arena_size = size - 1
    session = nil
    #expect(ditq_session_create(model.handle, &options, &session, nil) == DITQ_INVALID_ARGUMENT && session == nil)
    withExtendedLifetime(model) {}
  }

  @Test("the progress callback is told of every step, and may end the call")
  func progress() throws {
    final class Listener { var done: [Int64] = [], last: Int64 = .max }
    let session = try OpenSession(OpenModel()), listener = Listener()
    var options = generateOptions(steps: 3), label: Int32 = 0, seed: UInt64 = 1
    var latents = [Float](repeating: 0, count: 3072)
    options.progress_context = Unmanaged.passUnretained(listener).toOpaque()
    options.progress = { context, progress in
      let listener = Unmanaged<Listener>.fromOpaque(context!).takeUnretainedValue()
      guard progress.pointee.phase == Int32(DITQ_PHASE_DENOISE), progress.pointee.total == 3, progress.pointee.latents != nil else {
        return 7
      }
      listener.done.append(progress.pointee.done)
      return progress.pointee.done < listener.last ? 0 : 1
    }
    #expect(ditq_denoise(session.handle, &label, &seed, 1, &options, &latents, 4 * latents.count, nil) == DITQ_OK)
    #expect(listener.done == [1, 2, 3])
    (listener.done, listener.last) = ([], 2)
    #expect(ditq_denoise(session.handle, &label, &seed, 1, &options, &latents, 4 * latents.count, nil) == DITQ_CANCELLED)
    #expect(listener.done == [1, 2])
    options.progress = nil
    #expect(ditq_denoise(session.handle, &label, &seed, 1, &options, &latents, 4 * latents.count, nil) == DITQ_OK, "the session goes on")
    withExtendedLifetime(session) {}
  }

  @Test("the GEMM by itself is the product")
  func linear() throws {
    let weights: [Float] = [1, 2, 3, 4, 5, 6], bias: [Float] = [10, 20], x: [Float] = [1, 0, 1, 0.5, 0.5, 0.5]
    var linear: OpaquePointer?, options = ditq_linear_options(), y = [Float](repeating: 0, count: 4)
    options.struct_size = UInt32(MemoryLayout<ditq_linear_options>.size)
    options.weight_bits = Int32(DITQ_KEEP_FLOAT)
    try #require(ditq_linear_create(weights, bias, 2, 3, &options, &linear, nil) == DITQ_OK)
    for threads in Int32(1)...5 {
      #expect(ditq_linear_apply(try #require(linear), x, 2, &y, threads, nil) == DITQ_OK && y == [14, 30, 13, 27.5])
    }
    ditq_linear_destroy(linear)
  }
}
