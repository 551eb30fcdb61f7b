// Opening a diffusers pipeline directory: model_index.json, transformer/, vae/, scheduler/. Every field that changes the arithmetic is
// checked against the one value that is implemented; fields that do not change it are ignored.

import CKernels

func openDiffusersDirectory(_ path: String, _ options: OpenOptions) throws(DitqError) -> Model {
  guard kind(of: path + "/model_index.json") != .nothing else {
    throw DitqError(.notFound, "\(path): a diffusers pipeline expected, a directory without model_index.json found")
  }
  let index = try Settings(file: path + "/model_index.json", named: "model_index.json")
  try index.require("_class_name", "DiTPipeline")
  var config = try transformerConfig(Settings(file: path + "/transformer/config.json", named: "transformer/config.json"), options)
  let vae = try vaeConfig(Settings(file: path + "/vae/config.json", named: "vae/config.json"))
  var sampling = try schedulerSettings(
    Settings(file: path + "/scheduler/scheduler_config.json", named: "scheduler/scheduler_config.json"), index)
  var names = try labels(index, count: config.classCount)
  try ModelFacts(options).overrule(&config, &sampling, &names)
  let classNames = try ClassNames(names, classCount: config.classCount)

  let transformer = try said(of: "transformer") { () throws(DitqError) in
    let tensors = try openTensors(directory: path + "/transformer", stem: "diffusion_pytorch_model", options.allocator)
    return try LoadedTransformer(tensors, config, .diffusers, PackedLayers(), options.allocator)
  }
  let decoder = try said(of: "vae") { () throws(DitqError) in
    let tensors = try openTensors(directory: path + "/vae", stem: "diffusion_pytorch_model", options.allocator)
    return try LoadedDecoder(tensors, vae, PackedLayers(), options.allocator)
  }
  return try Model(
    config: config, sampling: sampling, classNames: classNames, transformer: transformer, decoder: decoder,
    source: "diffusers directory")
}

private func said<T>(of part: String, _ body: () throws(DitqError) -> T) throws(DitqError) -> T {
  do { return try body() } catch { throw error.said(of: part) }
}

private func transformerConfig(_ settings: Settings, _ options: OpenOptions) throws(DitqError) -> DiTConfig {
  try settings.require("_class_name", "DiTTransformer2DModel", "Transformer2DModel")
  try settings.require("activation_fn", "gelu-approximate")
  try settings.require("norm_type", "ada_norm_zero", default: "ada_norm_zero")
  try settings.require("norm_elementwise_affine", false, default: false)
  try settings.require("attention_bias", true, default: true)
  try settings.require("attention_type", "default", default: "default")
  for field in ["double_self_attention", "only_cross_attention", "use_linear_projection", "use_additional_conditions"] {
    try settings.require(field, false, default: false)
  }
  for field in ["cross_attention_dim", "caption_channels", "num_vector_embeds"] { try settings.requireNothing(field) }
  let headCount = try settings.integer("num_attention_heads", in: Limit.heads)
  let headSize = try settings.integer("attention_head_dim", in: Limit.headSize)
  let channels = try settings.integer("in_channels", in: Limit.channels)
  let epsilon = try settings.float("norm_eps", above: 0, below: 1, default: 1e-5)
  let compatibility = options.compatibility ?? .diffusers
  return DiTConfig(
    compatibility: compatibility, hiddenSize: headCount * headSize, depth: try settings.integer("num_layers", in: Limit.depth),
    headCount: headCount, patchSize: try settings.integer("patch_size", in: Limit.patchSize), channels: channels,
    outputChannels: try settings.integer("out_channels", in: 1...2048, default: channels),
    latentSize: try settings.integer("sample_size", in: Limit.latentSize), mlpSize: 4 * headCount * headSize,
    classCount: try settings.integer("num_embeds_ada_norm", in: Limit.classes),
    secondNormEpsilon: compatibility == .official ? DiTConfig.normEpsilon : epsilon, isPixelSpace: false)
}

func vaeConfig(_ settings: Settings) throws(DitqError) -> VAEConfig {
  guard ditqk_decodes() != 0 else {
    throw DitqError(.unsupported, settings.name + ": none expected in this build, which has no code for it, one found")
  }
  try settings.require("_class_name", "AutoencoderKL")
  try settings.require("act_fn", "silu", default: "silu")
  try settings.require("mid_block_add_attention", true, default: true)
  try settings.require("use_post_quant_conv", true, default: true)
  for field in ["latents_mean", "latents_std", "shift_factor"] { try settings.requireNothing(field) }
  guard let list = settings.value("block_out_channels")?.array, (1...8).contains(list.count) else {
    throw settings.wrong("block_out_channels", "an array of 1 to 8 numbers", settings.value("block_out_channels"), .malformed)
  }
  let groups = try settings.integer("norm_num_groups", in: 1...1024, default: 32)
  var channels: [Int] = []
  for item in list {
    guard let count = item.integer, (1...16384).contains(count), count % groups == 0 else {
      throw settings.wrong("block_out_channels", "multiples of norm_num_groups (\(groups)) up to 16384", item, .malformed)
    }
    channels.append(count)
  }
  let blocks = settings.value("up_block_types")?.array ?? []
  guard blocks.count == channels.count else {
    throw settings.wrong("up_block_types", "as many as block_out_channels, \(channels.count),", .number(Double(blocks.count)))
  }
  for block in blocks where !(block.string ?? "" == "UpDecoderBlock2D") {
    throw settings.wrong("up_block_types", "\"UpDecoderBlock2D\"", block)
  }
  let latents = try settings.integer("latent_channels", in: 1...1024, default: 4)
  let imageChannels = try settings.integer("out_channels", in: 1...4, default: 3)
  guard imageChannels == 1 || imageChannels == 3 else { throw settings.wrong("out_channels", "1 or 3", settings.value("out_channels")) }
  return VAEConfig(
    latentChannels: latents, imageChannels: imageChannels, blockChannels: channels,
    layersPerBlock: try settings.integer("layers_per_block", in: 1...16, default: 1), normGroups: groups,
    scalingFactor: try settings.number("scaling_factor", above: 1e-6, below: 1e6, default: 0.18215))
}

/// The names of "id2label": {"0": "tench, Tinca tinca", …}; empty where there are none.
private func labels(_ index: Settings, count: Int) throws(DitqError) -> [String] {
  guard let value = index.value("id2label") else { return [] }
  guard let members = value.members else { throw index.wrong("id2label", "an object", value, .malformed) }
  var names = [String](repeating: "", count: min(count, members.count))
  for member in members {
    guard let label = Int(member.name), names.indices.contains(label), let name = member.value.string else {
      throw index.wrong("id2label", "names of the labels 0 to \(names.count - 1)", .string(member.name), .malformed)
    }
    names[label] = name
  }
  return names
}
