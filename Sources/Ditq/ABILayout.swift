// The layout of every public struct, for bindings to check themselves against: [offset, size] of each field on 64-bit systems.
// Written by Tests/tools/abi_layout.py, which asks a C compiler; a test sees that it still agrees.

let abiLayout: StaticString = """
  {\
  "ditq_error": {"size": 512, "fields": {"struct_size": [0, 4], "status": [4, 4], "message": [8, 504]}}, \
  "ditq_allocator": {"size": 32, "fields": {"struct_size": [0, 4], "reserved": [4, 4], "context": [8, 8], "allocate": [16, 8], \
  "deallocate": [24, 8]}}, \
  "ditq_reader": {"size": 32, "fields": {"struct_size": [0, 4], "reserved": [4, 4], "context": [8, 8], "size": [16, 8], \
  "read": [24, 8]}}, \
  "ditq_progress": {"size": 40, "fields": {"struct_size": [0, 4], "phase": [4, 4], "done": [8, 8], "total": [16, 8], \
  "elapsed_seconds": [24, 8], "latents": [32, 8]}}, \
  "ditq_model_options": {"size": 72, "fields": {"struct_size": [0, 4], "compatibility": [4, 4], "allocator": [8, 8], \
  "expected_sha256": [16, 8], "progress": [24, 8], "progress_context": [32, 8], "head_count": [40, 4], "reserved": [44, 4], \
  "config_json": [48, 8], "decoder": [56, 8], "variant": [64, 8]}}, \
  "ditq_model_info": {"size": 96, "fields": {"struct_size": [0, 4], "image_height": [4, 4], "image_width": [8, 4], \
  "image_channels": [12, 4], "latent_height": [16, 4], "latent_width": [20, 4], "latent_channels": [24, 4], \
  "patch_size": [28, 4], "hidden_size": [32, 4], "depth": [36, 4], "head_count": [40, 4], "class_count": [44, 4], \
  "weight_bits": [48, 4], "weight_group": [52, 4], "activation_bits": [56, 4], "has_decoder": [60, 4], \
  "parameter_count": [64, 8], "weights_size": [72, 8], "macs_per_forward": [80, 8], "output_channels": [88, 4], \
  "reserved": [92, 4]}}, \
  "ditq_layer_rule": {"size": 24, "fields": {"struct_size": [0, 4], "weight_bits": [4, 4], "weight_group": [8, 4], \
  "activation_bits": [12, 4], "pattern": [16, 8]}}, \
  "ditq_quantize_options": {"size": 96, "fields": {"struct_size": [0, 4], "weight_bits": [4, 4], "weight_group": [8, 4], \
  "weight_method": [12, 4], "activation_bits": [16, 4], "activation_mode": [20, 4], "observer": [24, 4], \
  "calibration_steps": [28, 4], "calibration_total_steps": [32, 4], "calibration_samples": [36, 4], "calibration_seed": [40, 8], \
  "balance_channels": [48, 4], "threads": [52, 4], "error_budget_db": [56, 8], "rules": [64, 8], "rule_count": [72, 8], \
  "progress": [80, 8], "progress_context": [88, 8]}}, \
  "ditq_compare_options": {"size": 48, "fields": {"struct_size": [0, 4], "steps": [4, 4], "samples": [8, 4], "threads": [12, 4], \
  "seed": [16, 8], "free_running": [24, 4], "reserved": [28, 4], "progress": [32, 8], "progress_context": [40, 8]}}, \
  "ditq_session_options": {"size": 40, "fields": {"struct_size": [0, 4], "threads": [4, 4], "batch_limit": [8, 4], \
  "isa_limit": [12, 4], "allocator": [16, 8], "arena": [24, 8], "arena_size": [32, 8]}}, \
  "ditq_session_info": {"size": 24, "fields": {"struct_size": [0, 4], "isa": [4, 4], "threads": [8, 4], "batch_limit": [12, 4], \
  "memory_size": [16, 8]}}, \
  "ditq_generate_options": {"size": 80, "fields": {"struct_size": [0, 4], "sampler": [4, 4], "steps": [8, 4], "random": [12, 4], \
  "guidance_scale": [16, 8], "guidance_begin": [24, 8], "guidance_end": [32, 8], "guidance_channels": [40, 4], \
  "reserved": [44, 4], "eta": [48, 8], "noise": [56, 8], "progress": [64, 8], "progress_context": [72, 8]}}, \
  "ditq_run_info": {"size": 24, "fields": {"struct_size": [0, 4], "sampler": [4, 4], "steps": [8, 4], "steps_taken": [12, 4], \
  "count": [16, 8]}}, \
  "ditq_png_text": {"size": 16, "fields": {"key": [0, 8], "text": [8, 8]}}, \
  "ditq_linear_options": {"size": 40, "fields": {"struct_size": [0, 4], "weight_bits": [4, 4], "weight_group": [8, 4], \
  "weight_method": [12, 4], "activation_mode": [16, 4], "isa_limit": [20, 4], "activation_min": [24, 4], \
  "activation_max": [28, 4], "allocator": [32, 8]}}\
  }
  """
