// A decoder in a directory of its own: vae/ of a diffusers pipeline, or what AutoencoderKL saved anywhere, which joins any model of its latents.
// Relies on Settings and TensorDirectory. Refuses every setting that changes the arithmetic from what is implemented.

import CKernels

/// A decoder, and where it was found.
struct DirectoryDecoder {
  let decoder: LoadedDecoder
  let file: String
  let isVariant: Bool

  /// `name` stands for the directory in errors and in the file's name.
  init(directory: String, named name: String, _ options: OpenOptions) throws(DitqError) {
    let config = try vaeConfig(Settings(diffusersConfig: directory + "/config.json", named: name + "/config.json"))
    (decoder, file, isVariant) = try said(of: name) { () throws(DitqError) in
      let found = try openTensors(directory: directory, stem: diffusersStem, variant: options.variant, options.allocator)
      return (try LoadedDecoder(found.tensors, config, PackedLayers(), options.allocator), name + "/" + found.file, found.isVariant)
    }
  }

  /// The one that the host chose, `path`: a directory that AutoencoderKL saved, or a pipeline that has one in vae/.
  init(chosen path: String, _ options: OpenOptions) throws(DitqError) {
    for place in [path, path + "/vae"] where kind(of: place + "/config.json") != .nothing {
      self = try DirectoryDecoder(directory: place, named: place, options)
      return
    }
    throw DitqError(
      .notFound, "decoder: a directory with the config.json and the weights of an AutoencoderKL expected, none found in " + path)
  }
}

/// Names a part of a model in the errors of what is done with it.
func said<T>(of part: String, _ body: () throws(DitqError) -> T) throws(DitqError) -> T {
  do { return try body() } catch { throw error.said(of: part) }
}

let autoencoderClass = "AutoencoderKL"

func vaeConfig(_ settings: Settings) throws(DitqError) -> VAEConfig {
  guard ditqk_decodes() != 0 else {
    throw DitqError(.unsupported, settings.name + ": none expected in this build, which has no code for it, one found")
  }
  try settings.require("_class_name", autoencoderClass, default: autoencoderClass)
  try settings.require("act_fn", "silu", default: "silu")
  try settings.require("mid_block_add_attention", true, default: true)
  try settings.require("use_post_quant_conv", true, default: true)
  for field in ["latents_mean", "latents_std", "shift_factor"] { try settings.requireNothing(field) }
  let list = try settings.array("block_out_channels", in: 1...8) ?? [.number(64)]
  let groups = try settings.integer("norm_num_groups", in: 1...1024, default: 32)
  var channels: [Int] = []
  for item in list {
    guard let count = item.integer, (1...16384).contains(count), count % groups == 0 else {
      throw settings.wrong("block_out_channels", "multiples of norm_num_groups (\(groups)) up to 16384", item, .malformed)
    }
    channels.append(count)
  }
  let blocks = try settings.array("up_block_types", in: 0...8) ?? [.string("UpDecoderBlock2D")]
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
