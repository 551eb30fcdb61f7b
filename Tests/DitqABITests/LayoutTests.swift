// The layout that the library states for bindings, against what the compiler made of the imported header.

import CDitq
import Foundation
import Testing

private struct Field {
  let name: String
  let offset: Int?
  let size: Int
}

private func field<Root, Value>(_ name: String, _ path: KeyPath<Root, Value>) -> Field {
  Field(name: name, offset: MemoryLayout<Root>.offset(of: path), size: MemoryLayout<Value>.size)
}

private let structs: [(name: String, size: Int, fields: [Field])] = [
  (
    "ditq_error", MemoryLayout<ditq_error>.size,
    [field("struct_size", \ditq_error.struct_size), field("status", \ditq_error.status), field("message", \ditq_error.message)]
  ),
  (
    "ditq_allocator", MemoryLayout<ditq_allocator>.size,
    [
      field("struct_size", \ditq_allocator.struct_size), field("reserved", \ditq_allocator.reserved),
      field("context", \ditq_allocator.context),
      field("allocate", \ditq_allocator.allocate), field("deallocate", \ditq_allocator.deallocate),
    ]
  ),
  (
    "ditq_reader", MemoryLayout<ditq_reader>.size,
    [
      field("struct_size", \ditq_reader.struct_size), field("reserved", \ditq_reader.reserved), field("context", \ditq_reader.context),
      field("size", \ditq_reader.size), field("read", \ditq_reader.read),
    ]
  ),
  (
    "ditq_progress", MemoryLayout<ditq_progress>.size,
    [
      field("struct_size", \ditq_progress.struct_size), field("phase", \ditq_progress.phase), field("done", \ditq_progress.done),
      field("total", \ditq_progress.total), field("elapsed_seconds", \ditq_progress.elapsed_seconds),
      field("latents", \ditq_progress.latents),
    ]
  ),
  (
    "ditq_model_options", MemoryLayout<ditq_model_options>.size,
    [
      field("struct_size", \ditq_model_options.struct_size), field("compatibility", \ditq_model_options.compatibility),
      field("allocator", \ditq_model_options.allocator), field("expected_sha256", \ditq_model_options.expected_sha256),
      field("progress", \ditq_model_options.progress), field("progress_context", \ditq_model_options.progress_context),
      field("head_count", \ditq_model_options.head_count), field("reserved", \ditq_model_options.reserved),
      field("config_json", \ditq_model_options.config_json), field("decoder", \ditq_model_options.decoder),
      field("variant", \ditq_model_options.variant),
    ]
  ),
  (
    "ditq_model_info", MemoryLayout<ditq_model_info>.size,
    [
      field("struct_size", \ditq_model_info.struct_size), field("image_height", \ditq_model_info.image_height),
      field("image_width", \ditq_model_info.image_width), field("image_channels", \ditq_model_info.image_channels),
      field("latent_height", \ditq_model_info.latent_height), field("latent_width", \ditq_model_info.latent_width),
      field("latent_channels", \ditq_model_info.latent_channels), field("patch_size", \ditq_model_info.patch_size),
      field("hidden_size", \ditq_model_info.hidden_size), field("depth", \ditq_model_info.depth),
      field("head_count", \ditq_model_info.head_count), field("class_count", \ditq_model_info.class_count),
      field("weight_bits", \ditq_model_info.weight_bits), field("weight_group", \ditq_model_info.weight_group),
      field("activation_bits", \ditq_model_info.activation_bits), field("has_decoder", \ditq_model_info.has_decoder),
      field("parameter_count", \ditq_model_info.parameter_count), field("weights_size", \ditq_model_info.weights_size),
      field("macs_per_forward", \ditq_model_info.macs_per_forward), field("output_channels", \ditq_model_info.output_channels),
      field("reserved", \ditq_model_info.reserved),
    ]
  ),
  (
    "ditq_session_info", MemoryLayout<ditq_session_info>.size,
    [
      field("struct_size", \ditq_session_info.struct_size), field("isa", \ditq_session_info.isa),
      field("threads", \ditq_session_info.threads), field("batch_limit", \ditq_session_info.batch_limit),
      field("memory_size", \ditq_session_info.memory_size),
    ]
  ),
  (
    "ditq_run_info", MemoryLayout<ditq_run_info>.size,
    [
      field("struct_size", \ditq_run_info.struct_size), field("sampler", \ditq_run_info.sampler),
      field("steps", \ditq_run_info.steps), field("steps_taken", \ditq_run_info.steps_taken), field("count", \ditq_run_info.count),
    ]
  ),
  (
    "ditq_session_options", MemoryLayout<ditq_session_options>.size,
    [
      field("struct_size", \ditq_session_options.struct_size), field("threads", \ditq_session_options.threads),
      field("batch_limit", \ditq_session_options.batch_limit), field("isa_limit", \ditq_session_options.isa_limit),
      field("allocator", \ditq_session_options.allocator), field("arena", \ditq_session_options.arena),
      field("arena_size", \ditq_session_options.arena_size),
    ]
  ),
  (
    "ditq_compare_options", MemoryLayout<ditq_compare_options>.size,
    [
      field("struct_size", \ditq_compare_options.struct_size), field("steps", \ditq_compare_options.steps),
      field("samples", \ditq_compare_options.samples), field("threads", \ditq_compare_options.threads),
      field("seed", \ditq_compare_options.seed), field("free_running", \ditq_compare_options.free_running),
      field("reserved", \ditq_compare_options.reserved), field("progress", \ditq_compare_options.progress),
      field("progress_context", \ditq_compare_options.progress_context),
    ]
  ),
  (
    "ditq_generate_options", MemoryLayout<ditq_generate_options>.size,
    [
      field("struct_size", \ditq_generate_options.struct_size), field("sampler", \ditq_generate_options.sampler),
      field("steps", \ditq_generate_options.steps), field("random", \ditq_generate_options.random),
      field("guidance_scale", \ditq_generate_options.guidance_scale), field("guidance_begin", \ditq_generate_options.guidance_begin),
      field("guidance_end", \ditq_generate_options.guidance_end), field("guidance_channels", \ditq_generate_options.guidance_channels),
      field("reserved", \ditq_generate_options.reserved), field("eta", \ditq_generate_options.eta),
      field("noise", \ditq_generate_options.noise),
      field("progress", \ditq_generate_options.progress), field("progress_context", \ditq_generate_options.progress_context),
    ]
  ),
  (
    "ditq_png_text", MemoryLayout<ditq_png_text>.size, [field("key", \ditq_png_text.key), field("text", \ditq_png_text.text)]
  ),
  (
    "ditq_layer_rule", MemoryLayout<ditq_layer_rule>.size,
    [
      field("struct_size", \ditq_layer_rule.struct_size), field("weight_bits", \ditq_layer_rule.weight_bits),
      field("weight_group", \ditq_layer_rule.weight_group), field("activation_bits", \ditq_layer_rule.activation_bits),
      field("pattern", \ditq_layer_rule.pattern),
    ]
  ),
  (
    "ditq_quantize_options", MemoryLayout<ditq_quantize_options>.size,
    [
      field("struct_size", \ditq_quantize_options.struct_size), field("weight_bits", \ditq_quantize_options.weight_bits),
      field("weight_group", \ditq_quantize_options.weight_group), field("weight_method", \ditq_quantize_options.weight_method),
      field("activation_bits", \ditq_quantize_options.activation_bits), field("activation_mode", \ditq_quantize_options.activation_mode),
      field("observer", \ditq_quantize_options.observer), field("calibration_steps", \ditq_quantize_options.calibration_steps),
      field("calibration_total_steps", \ditq_quantize_options.calibration_total_steps),
      field("calibration_samples", \ditq_quantize_options.calibration_samples),
      field("calibration_seed", \ditq_quantize_options.calibration_seed),
      field("balance_channels", \ditq_quantize_options.balance_channels), field("threads", \ditq_quantize_options.threads),
      field("error_budget_db", \ditq_quantize_options.error_budget_db), field("rules", \ditq_quantize_options.rules),
      field("rule_count", \ditq_quantize_options.rule_count), field("progress", \ditq_quantize_options.progress),
      field("progress_context", \ditq_quantize_options.progress_context),
    ]
  ),
  (
    "ditq_linear_options", MemoryLayout<ditq_linear_options>.size,
    [
      field("struct_size", \ditq_linear_options.struct_size), field("weight_bits", \ditq_linear_options.weight_bits),
      field("weight_group", \ditq_linear_options.weight_group), field("weight_method", \ditq_linear_options.weight_method),
      field("activation_mode", \ditq_linear_options.activation_mode), field("isa_limit", \ditq_linear_options.isa_limit),
      field("activation_min", \ditq_linear_options.activation_min), field("activation_max", \ditq_linear_options.activation_max),
      field("allocator", \ditq_linear_options.allocator),
    ]
  ),
]

@Suite("ABI layout")
struct LayoutTests {
  private func layout() throws -> [String: [String: Any]] {
    let text = String(cString: ditq_abi_layout())
    return try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: [String: Any]])
  }

  @Test("the library states the size of every struct, and offset and size of every field, as the compiler has them")
  func agreement() throws {
    let layout = try layout()
    #expect(layout.count == structs.count, "a struct of the header is not listed above")
    for (name, size, fields) in structs {
      let stated = try #require(layout[name], "\(name) is missing")
      #expect(stated["size"] as? Int == size, "\(name)")
      let statedFields = try #require(stated["fields"] as? [String: [Int]])
      #expect(statedFields.count == fields.count, "\(name)")
      for field in fields {
        let offset = try #require(field.offset)
        #expect(statedFields[field.name] == [offset, field.size], "\(name).\(field.name)")
      }
    }
  }

  @Test("fields cover their struct without a hole: what is between two of them has a name")
  func coverage() throws {
    for (name, stated) in try layout() {
      let fields = try #require(stated["fields"] as? [String: [Int]]).values.sorted { $0[0] < $1[0] }
      var end = 0
      for field in fields {
        #expect(field[0] == end, "\(name)")
        end = field[0] + field[1]
      }
      #expect(end == stated["size"] as? Int, "\(name)")
    }
  }

  @Test("every struct of options and answers begins with its size")
  func structSizes() throws {
    for (name, stated) in try layout() where name != "ditq_png_text" {
      #expect((stated["fields"] as? [String: [Int]])?["struct_size"] == [0, 4], "\(name)")
    }
    var options = ditq_generate_options()
    ditq_generate_options_init(&options)
    #expect(Int(options.struct_size) == MemoryLayout<ditq_generate_options>.size)
    #expect(options.steps == 50 && options.guidance_scale == 4 && options.guidance_begin == 0 && options.guidance_end == 1)
    #expect(options.eta == 0 && options.noise == nil && options.progress == nil && options.sampler == 0)
  }

  @Test("every status has its name, and other numbers have one too")
  func statusNames() {
    let names = [
      "OK", "INVALID_ARGUMENT", "NOT_FOUND", "IO_FAILED", "MALFORMED", "UNSUPPORTED", "OUT_OF_MEMORY", "CANCELLED", "CHECKSUM_MISMATCH",
      "INTERNAL",
    ]
    for (status, name) in names.enumerated() { #expect(String(cString: ditq_status_name(Int32(status))) == "DITQ_" + name) }
    for status in [-1, 10, Int32.max, Int32.min] { #expect(String(cString: ditq_status_name(status)) == "DITQ_UNKNOWN") }
    #expect(String(cString: ditq_version()).split(separator: ".").count == 3)
  }
}
