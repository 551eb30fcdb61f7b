// Models and sessions of the library, owned: each handle is closed when its last user goes. Relies on ditq.h alone; refuses nothing itself,
// but throws what the library says.

import CDitq
import Glibc

/// ditq_model, owned.
final class Model {
  let handle: OpaquePointer
  let info: ditq_model_info

  /// `heads`: attention heads, 0 = what the file says. `config`: other facts that it may not say, a JSON object. `decoder`: the directory of
  /// one in place of the model's own. `variant`: of the weights in directories.
  init(path: String, heads: Int32 = 0, config: String? = nil, decoder: String? = nil, variant: String? = nil) throws {
    var options = ditq_model_options()
    (options.struct_size, options.head_count) = (UInt32(MemoryLayout<ditq_model_options>.size), heads)
    (handle, info) = try withCStrings([config, decoder, variant]) { texts in
      (options.config_json, options.decoder, options.variant) = (texts[0], texts[1], texts[2])
      return try Model.described { ditq_model_open(path, &options, $0, $1) }
    }
  }

  /// A quantized copy of `source`.
  init(quantizing source: Model, _ options: ditq_quantize_options, rules: [LayerRule]) throws {
    (handle, info) = try withCStrings(rules.map(\.pattern)) { patterns in
      let rules = zip(rules, patterns).map { $0.forLibrary(pattern: $1) }
      return try rules.withUnsafeBufferPointer { rules in
        var options = options
        (options.rules, options.rule_count) = (rules.baseAddress, rules.count)
        return try Model.described { ditq_quantize(source.handle, &options, $0, $1) }
      }
    }
  }

  deinit { ditq_model_close(handle) }

  /// What `make` makes, and the library's summary of it.
  private static func described(
    _ make: (UnsafeMutablePointer<OpaquePointer?>, UnsafeMutablePointer<ditq_error>) -> ditq_status
  ) throws -> (OpaquePointer, ditq_model_info) {
    let handle = try made(make)
    var info = ditq_model_info()
    info.struct_size = UInt32(MemoryLayout<ditq_model_info>.size)
    do {
      try checked { ditq_model_describe(handle, &info, $0) }
    } catch {
      ditq_model_close(handle)
      throw error
    }
    return (handle, info)
  }

  /// Everything about it, as the library words it.
  func json() throws -> String { try text { ditq_model_describe_json(handle, $0, $1, $2, $3) } }

  /// What nobody said of it, and what was taken: "head_count 6, prediction epsilon"; nil where everything was said.
  func assumptions() throws -> String? {
    let json = try JSON(reading: try json())
    let fields = json["assumed"]?.elements.compactMap(\.string) ?? []
    let taken = fields.map { field in
      field + ((json["architecture"]?[field] ?? json["sampling"]?[field]).map { " " + ($0.string ?? $0.line) } ?? "")
    }
    return taken.isEmpty ? nil : taken.joined(separator: ", ")
  }

  /// Whether there is a row of "no class" in its label table.
  func hasNullClass() throws -> Bool { try JSON(reading: try json())["architecture"]?["null_class"]?.line != "false" }

  func verify() throws { try checked { ditq_model_verify(handle, $0) } }

  func save(to path: String) throws { try checked { ditq_model_save(handle, path, $0) } }

  /// The label of a class by its number or name.
  func label(of text: String) throws -> Int32 {
    if let number = Int32(text), number >= 0 { return number }
    var label: Int32 = 0
    try checked { ditq_model_find_class(handle, text, &label, $0) }
    return label
  }

  /// As the file has it: it is escaped where it is shown.
  func className(_ label: Int32) -> String {
    if let name = ditq_model_class_name(handle, label) { return String(cString: name) }
    return label == info.class_count ? "no class" : "class \(label)"
  }
}

/// ditq_session, owned.
final class Session {
  private let handle: OpaquePointer

  init(_ model: Model, threads: Int32, batchLimit: Int) throws {
    var options = ditq_session_options()
    options.struct_size = UInt32(MemoryLayout<ditq_session_options>.size)
    (options.threads, options.batch_limit) = (threads, Int32(batchLimit))
    handle = try made { ditq_session_create(model.handle, &options, $0, $1) }
  }

  deinit { ditq_session_destroy(handle) }

  /// What really runs, as the library words it.
  func json() throws -> String { try text { ditq_session_describe_json(handle, $0, $1, $2, $3) } }

  /// Fills pixels [count, height, width, channels] with an image for each label and seed.
  func generate(labels: [Int32], seeds: [UInt64], _ options: ditq_generate_options, into pixels: inout [UInt8]) throws {
    var options = options
    try checked { ditq_generate(handle, labels, seeds, labels.count, &options, &pixels, pixels.count, $0) }
  }

  /// values [count, height, width, channels] of the latents, as many as there is room for.
  func decode(_ latents: [Float], count: Int, into values: inout [Float]) throws {
    try checked { ditq_decode_float(handle, latents, count, &values, values.count * MemoryLayout<Float>.size, $0) }
  }

  /// One call of the transformer.
  func predict(_ call: inout PredictCall) throws {
    let size = call.output.count * MemoryLayout<Float>.size
    try checked { ditq_predict(handle, call.x, call.timesteps, call.labels, call.labels.count, &call.output, size, $0) }
  }
}

/// What ditq_predict is given and fills: random latents, at one timestep, images of a label and of no class in turn.
struct PredictCall {
  fileprivate let x: [Float], timesteps: [Float], labels: [Int32]
  fileprivate(set) var output: [Float]

  init(_ model: Model, batch: Int, timestep: Float, label: Int32) throws {
    let info = model.info, area = Int(info.latent_height) * Int(info.latent_width)
    let architecture = try JSON(reading: try model.json())["architecture"], hasNullClass = try model.hasNullClass()
    var random = FixedRandom(seed: 2)
    x = random.numbers(batch * Int(info.latent_channels) * area)
    timesteps = [Float](repeating: timestep, count: batch)
    labels = (0..<batch).map { $0 % 2 == 0 || !hasNullClass ? min(label, info.class_count - 1) : info.class_count }
    let channels = architecture?["output_channels"]?.whole() ?? Int(info.latent_channels)
    output = [Float](repeating: 0, count: batch * channels * area)
  }
}

// MARK: - Handles and texts

/// The handle that a call of the library puts out.
func made(_ make: (UnsafeMutablePointer<OpaquePointer?>, UnsafeMutablePointer<ditq_error>) -> ditq_status) throws -> OpaquePointer {
  var handle: OpaquePointer?
  try checked { make(&handle, $0) }
  guard let handle else { throw LibraryError(status: ditq_status(DITQ_INTERNAL), message: "a handle expected, NULL found") }
  return handle
}

/// The text that a describe_json call puts out: called once for its size, once for its bytes.
private func text(
  _ describe: (UnsafeMutablePointer<CChar>?, Int, UnsafeMutablePointer<Int>, UnsafeMutablePointer<ditq_error>) -> ditq_status
) throws -> String {
  var needed = 0
  try checked { describe(nil, 0, &needed, $0) }
  var bytes = [CChar](repeating: 0, count: needed)
  try checked { describe(&bytes, needed, &needed, $0) }
  return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Calls `body` with each text as a C string that lives as long as the call.
func withCStrings<R>(_ texts: [String], _ body: ([UnsafePointer<CChar>]) throws -> R) throws -> R {
  try withCStrings(texts.map(Optional.some)) { try body($0.compactMap(\.self)) }
}

/// NULL for a text that is not there.
func withCStrings<R>(_ texts: [String?], _ body: ([UnsafePointer<CChar>?]) throws -> R) throws -> R {
  var copies: [UnsafePointer<CChar>?] = []
  defer { for copy in copies { free(copy.map(UnsafeMutablePointer.init(mutating:))) } }
  for text in texts {
    guard let text else {
      copies.append(nil)
      continue
    }
    guard let copy = strdup(text) else { throw LibraryError(status: ditq_status(DITQ_OUT_OF_MEMORY), message: "not enough memory") }
    copies.append(UnsafePointer(copy))
  }
  return try body(copies)
}
