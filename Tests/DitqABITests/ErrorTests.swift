// NULL wherever a pointer may be, and the error's text: always ended, never longer than the struct says.

import CDitq
import Foundation
import Testing

/// NULL where the header says it may not be: Swift would not let it pass, a C host would.
private func null<T>(_ type: T.Type = T.self) -> T { unsafeBitCast(0, to: type) }

@Suite("NULL")
struct NullTests {
  @Test("destroying and closing NULL does nothing")
  func destruction() {
    ditq_model_close(nil)
    ditq_session_destroy(nil)
    ditq_linear_destroy(nil)
    ditq_session_cancel(null())
    ditq_generate_options_init(null())
    ditq_quantize_options_init(null())
    #expect(ditq_model_class_name(null(), 0) == nil)
  }

  @Test("a call with NULL where a pointer is expected names the argument, and does nothing else")
  func arguments() throws {
    let model = try OpenModel(), session = try OpenSession(model)
    let m = model.handle, s = session.handle, error = Failure(), e = error.pointer
    var handle: OpaquePointer?, needed = 0, label: Int32 = 0, seed: UInt64 = 0, value: Float = 0
    var pixels = [UInt8](repeating: 0, count: 3072), floats = [Float](repeating: 0, count: 6144), info = ditq_model_info()
    let weights: [Float] = [1]
    func expect(_ name: String, _ status: ditq_status) {
      #expect(status == DITQ_INVALID_ARGUMENT && error.status == status, "\(name)")
      #expect(error.message == "\(name): NULL found where a pointer is expected")
    }
    expect("path", ditq_model_open(null(), nil, &handle, e))
    expect("model", ditq_model_open(File.emoji, nil, null(), e))
    expect("data", ditq_model_open_memory(null(), 8, nil, &handle, e))
    expect("model", ditq_model_open_memory(weights, 4, nil, null(), e))
    var reader = ditq_reader(struct_size: 32, reserved: 0, context: nil, size: 8, read: nil)
    expect("reader", ditq_model_open_reader(null(), nil, &handle, e))
    expect("reader->read", ditq_model_open_reader(&reader, nil, &handle, e))
    expect("model", ditq_model_describe(null(), &info, e))
    expect("info", ditq_model_describe(m, null(), e))
    expect("model", ditq_model_describe_json(null(), nil, 0, &needed, e))
    expect("needed", ditq_model_describe_json(m, nil, 0, null(), e))
    expect("buffer", ditq_model_describe_json(m, nil, 10, &needed, e))
    expect("model", ditq_model_find_class(null(), "a", &label, e))
    expect("name", ditq_model_find_class(m, null(), &label, e))
    expect("label", ditq_model_find_class(m, "red apple", null(), e))
    expect("model", ditq_session_memory(null(), nil, &needed, e))
    expect("size", ditq_session_memory(m, nil, null(), e))
    expect("model", ditq_session_create(null(), nil, &handle, e))
    expect("session", ditq_session_create(m, nil, null(), e))
    expect("session", ditq_session_describe_json(null(), nil, 0, &needed, e))
    expect("session", ditq_generate(null(), &label, &seed, 1, nil, &pixels, 3072, e))
    expect("labels", ditq_generate(s, null(), &seed, 1, nil, &pixels, 3072, e))
    expect("pixels", ditq_generate(s, &label, &seed, 1, nil, null(), 3072, e))
    expect("session", ditq_denoise(null(), &label, &seed, 1, nil, &floats, 12288, e))
    expect("latents", ditq_denoise(s, &label, &seed, 1, nil, null(), 12288, e))
    expect("session", ditq_decode(null(), floats, 1, &pixels, 3072, e))
    expect("latents", ditq_decode(s, null(), 1, &pixels, 3072, e))
    expect("pixels", ditq_decode(s, floats, 1, null(), 3072, e))
    expect("latents", ditq_decode_float(s, null(), 1, &floats, 12288, e))
    expect("values", ditq_decode_float(s, floats, 1, null(), 12288, e))
    expect("x", ditq_predict(s, null(), &value, &label, 1, &floats, 24576, e))
    expect("timesteps", ditq_predict(s, floats, null(), &label, 1, &floats, 24576, e))
    expect("labels", ditq_predict(s, floats, &value, null(), 1, &floats, 24576, e))
    expect("output", ditq_predict(s, floats, &value, &label, 1, null(), 24576, e))
    expect("source", ditq_quantize(null(), nil, &handle, e))
    expect("quantized", ditq_quantize(m, nil, null(), e))
    expect("weights", ditq_linear_create(null(), nil, 1, 1, nil, &handle, e))
    expect("linear", ditq_linear_create(weights, nil, 1, 1, nil, null(), e))
    expect("linear", ditq_linear_apply(null(), weights, 1, &floats, 1, e))
    #expect(handle == nil && needed == 0 && label == 0 && pixels.allSatisfy { $0 == 0 })
    withExtendedLifetime((model, session)) {}
  }

  @Test("NULL for the error is allowed: no text is wanted")
  func noError() {
    var handle: OpaquePointer?
    #expect(ditq_model_open("/nothing", nil, &handle, nil) == DITQ_NOT_FOUND && handle == nil)
  }
}

@Suite("Error text")
struct ErrorTextTests {
  private func fail(_ error: Failure, path: String = "/nothing") -> ditq_status {
    var handle: OpaquePointer?
    return ditq_model_open(path, nil, &handle, error.pointer)
  }

  @Test("a failed call fills status and text, and leaves struct_size")
  func filling() {
    let error = Failure()
    #expect(fail(error) == DITQ_NOT_FOUND && error.status == DITQ_NOT_FOUND && error.pointer.pointee.struct_size == 512)
    #expect(error.message == "/nothing: cannot open: No such file or directory")
  }

  @Test("a call that succeeds leaves the error alone")
  func success() throws {
    let model = try OpenModel(), error = Failure()
    var label: Int32 = 0, size = 0
    #expect(ditq_model_find_class(model.handle, "red apple", &label, error.pointer) == DITQ_OK)
    #expect(ditq_session_memory(model.handle, nil, &size, error.pointer) == DITQ_OK)
    #expect(error.isUntouched)
    withExtendedLifetime(model) {}
  }

  @Test("a long text is cut to the struct, with its NUL, and nothing is written beyond", arguments: [400, 500, 503, 504, 505, 1000, 5000])
  func long(length: Int) {
    let error = Failure(), path = "/" + String(repeating: "p", count: length)
    #expect(fail(error, path: path) != DITQ_OK)
    #expect(error.message?.isEmpty == false && error.message!.hasPrefix(path.prefix(400)))
    #expect(error.bytes[512...].allSatisfy { $0 == Failure.mark })
    if length > 503 { #expect(error.message?.utf8.count == 503) }
  }

  @Test("a text is cut between characters: what is left is well-formed UTF-8", arguments: 0...3)
  func characters(shift: Int) throws {
    let error = Failure()
    #expect(fail(error, path: "/" + String(repeating: "x", count: shift) + String(repeating: "🍎", count: 300)) != DITQ_OK)
    let text = try #require(error.bytes[8..<512].firstIndex(of: 0).map { Array(error.bytes[8..<$0]) })
    #expect(String(validating: text, as: UTF8.self) != nil && (500...503).contains(text.count))
  }

  @Test("a shorter struct, as an older host may have it, is filled as far as it goes", arguments: [9, 10, 16, 40, 511, 512])
  func shorter(size: Int) {
    let error = Failure(structSize: size)
    #expect(fail(error, path: "/" + String(repeating: "p", count: 600)) != DITQ_OK)
    #expect(error.bytes[size - 1] == 0 && !error.bytes[8..<size - 1].contains(0), "text to the last byte but one, then NUL")
    #expect(error.bytes[size...].allSatisfy { $0 == Failure.mark })
  }

  @Test("a struct without room for a text is left alone", arguments: [0, 1, 4, 7, 8])
  func tooShort(size: Int) {
    let error = Failure(structSize: size)
    #expect(fail(error) == DITQ_NOT_FOUND && error.isUntouched)
  }

  @Test("a struct that claims to be longer is filled no further than this library knows", arguments: [513, 1024, 1 << 31, Int(UInt32.max)])
  func longer(size: Int) {
    let error = Failure(structSize: size)
    #expect(fail(error, path: "/" + String(repeating: "p", count: 600)) != DITQ_OK)
    #expect(error.bytes[511] == 0 && error.bytes[512...].allSatisfy { $0 == Failure.mark })
  }

  @Test("every kind of failure has a status, a sentence and a NUL")
  func kinds() throws {
    let model = try OpenModel()
    var options = ditq_model_options(), handle: OpaquePointer?, label: Int32 = 0
    options.struct_size = UInt32(MemoryLayout<ditq_model_options>.size)
    let folder = FileManager.default.temporaryDirectory.path
    let calls: [(expected: Int, call: (Failure) -> ditq_status)] = [
      (DITQ_INVALID_ARGUMENT, { ditq_session_create(model.handle, nil, null(), $0.pointer) }),
      (DITQ_NOT_FOUND, { ditq_model_find_class(model.handle, "no such thing", &label, $0.pointer) }),
      (DITQ_IO_FAILED, { ditq_model_open("/dev/null", nil, &handle, $0.pointer) }),
      (DITQ_IO_FAILED, { ditq_png_write(folder, [1, 2, 3], 1, 1, 3, nil, 0, $0.pointer) }),
      (DITQ_MALFORMED, { ditq_model_open_memory([1, 2, 3] as [UInt8], 3, nil, &handle, $0.pointer) }),
      (
        DITQ_CHECKSUM_MISMATCH,
        { error in
          String(repeating: "0", count: 64).withCString { digits in
            options.expected_sha256 = digits
            defer { options.expected_sha256 = nil }
            return ditq_model_open(File.emoji, &options, &handle, error.pointer)
          }
        }
      ),
    ]
    for (expected, call) in calls {
      let error = Failure(), status = call(error)
      #expect(status == expected && error.status == expected)
      #expect(error.message?.contains(": ") == true && handle == nil, "\(error.message ?? "no NUL")")
    }
    withExtendedLifetime(model) {}
  }
}
