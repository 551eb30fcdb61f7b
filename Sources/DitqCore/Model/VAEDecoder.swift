// The decoder of AutoencoderKL, in float: latents to an image. Images are [height][width][channels]. Weights, as the file names them.

struct VAEConfig {
  var latentChannels: Int
  var imageChannels: Int
  /// From the image inwards, as the file has them: [128, 256, 512, 512].
  var blockChannels: [Int]
  var layersPerBlock: Int
  var normGroups: Int
  var scalingFactor: Double

  static let normEpsilon: Float = 1e-6
  /// As vae/config.json has it.
  var json: String {
    let channels = text(ofShape: blockChannels)
    var json = "{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": \(latentChannels), \"out_channels\": \(imageChannels)"
    json += ", \"layers_per_block\": \(layersPerBlock), \"norm_num_groups\": \(normGroups), \"scaling_factor\": \(scalingFactor)"
    json += ", \"block_out_channels\": \(channels), \"up_block_types\": ["
    for index in blockChannels.indices { json += (index == 0 ? "" : ", ") + "\"UpDecoderBlock2D\"" }
    return json + "]}"
  }

  /// The image is so many times larger than the latents.
  var upscaling: Int { 1 << (blockChannels.count - 1) }
}

struct ResNetBlock {
  let norm1: GroupNorm
  let conv1: Convolution
  let norm2: GroupNorm
  let conv2: Convolution
  /// 1×1, where inputs and outputs differ.
  let shortcut: Convolution?
}

struct VAEAttention {
  let norm: GroupNorm
  let qkv: Linear
  let out: Linear
}

struct VAEUpBlock {
  let resnets: [ResNetBlock]
  /// After doubling height and width; nil in the last block.
  let upsampler: Convolution?
}

struct VAEDecoder {
  let config: VAEConfig
  let postQuant: Convolution
  let convIn: Convolution
  let midFirst: ResNetBlock
  let midAttention: VAEAttention
  let midSecond: ResNetBlock
  let upBlocks: [VAEUpBlock]
  let normOut: GroupNorm
  let convOut: Convolution

  init(_ loader: inout ParameterLoader, _ config: VAEConfig) throws(DitqError) {
    self.config = config
    let channels = Array(config.blockChannels.reversed())
    postQuant = try loader.convolution("post_quant_conv", outputs: config.latentChannels, inputs: config.latentChannels, size: 1)
    convIn = try loader.convolution("decoder.conv_in", outputs: channels[0], inputs: config.latentChannels, size: 3)
    midFirst = try ResNetBlock(&loader, "decoder.mid_block.resnets.0.", channels[0], channels[0], config)
    midAttention = try VAEAttention(&loader, "decoder.mid_block.attentions.0.", channels[0], config)
    midSecond = try ResNetBlock(&loader, "decoder.mid_block.resnets.1.", channels[0], channels[0], config)
    var blocks: [VAEUpBlock] = []
    var inputs = channels[0]
    for (index, outputs) in channels.enumerated() {
      let name = "decoder.up_blocks.\(index)."
      var resnets: [ResNetBlock] = []
      for layer in 0...config.layersPerBlock {
        resnets.append(try ResNetBlock(&loader, "\(name)resnets.\(layer).", layer == 0 ? inputs : outputs, outputs, config))
      }
      let isLast = index == channels.count - 1
      let upsampler = isLast ? nil : try loader.convolution(name + "upsamplers.0.conv", outputs: outputs, inputs: outputs, size: 3)
      blocks.append(VAEUpBlock(resnets: resnets, upsampler: upsampler))
      inputs = outputs
    }
    upBlocks = blocks
    normOut = try GroupNorm(&loader, "decoder.conv_norm_out", inputs, config)
    convOut = try loader.convolution("decoder.conv_out", outputs: config.imageChannels, inputs: inputs, size: 3)
    try loader.requireAllUsed(ignoring: VAEDecoder.encoderPrefixes)
  }

  private static let encoderPrefixes = ["encoder.", "quant_conv."]

  /// Whether a tensor of a VAE is one of the decoder's.
  static func uses(_ name: String) -> Bool { !encoderPrefixes.contains { name.starts(withBytesOf: $0) } }
}

extension GroupNorm {
  init(_ loader: inout ParameterLoader, _ name: String, _ channels: Int, _ config: VAEConfig) throws(DitqError) {
    self.init(
      channels: channels, groups: config.normGroups, epsilon: VAEConfig.normEpsilon,
      weight: try loader.floats(name + ".weight", shape: [channels]), bias: try loader.floats(name + ".bias", shape: [channels]))
  }
}

extension ResNetBlock {
  init(_ loader: inout ParameterLoader, _ name: String, _ inputs: Int, _ outputs: Int, _ config: VAEConfig) throws(DitqError) {
    norm1 = try GroupNorm(&loader, name + "norm1", inputs, config)
    conv1 = try loader.convolution(name + "conv1", outputs: outputs, inputs: inputs, size: 3)
    norm2 = try GroupNorm(&loader, name + "norm2", outputs, config)
    conv2 = try loader.convolution(name + "conv2", outputs: outputs, inputs: outputs, size: 3)
    shortcut = inputs == outputs ? nil : try loader.convolution(name + "conv_shortcut", outputs: outputs, inputs: inputs, size: 1)
  }
}

extension VAEAttention {
  /// New files name the parts to_q, to_k, to_v, to_out.0, old ones query, key, value, proj_attn.
  init(_ loader: inout ParameterLoader, _ name: String, _ channels: Int, _ config: VAEConfig) throws(DitqError) {
    norm = try GroupNorm(&loader, name + "group_norm", channels, config)
    let isOld = loader.contains(name + "query.weight")
    let parts = (isOld ? ["query", "key", "value"] : ["to_q", "to_k", "to_v"]).map { name + $0 }
    qkv = try loader.linear(parts, outputs: 3 * channels, inputs: channels)
    out = try loader.linear([name + (isOld ? "proj_attn" : "to_out.0")], outputs: channels, inputs: channels)
  }
}
