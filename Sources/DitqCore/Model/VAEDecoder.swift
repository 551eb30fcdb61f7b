// The decoder of AutoencoderKL: latents to an image. Images are [height][width][channels]. Weights, as the file names them.

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

/// A convolution with its name in the file.
struct NamedConvolution {
  let name: String
  var convolution: Convolution
}

/// Convolutions by their number among the decoder's.
struct ResNetBlock {
  let norm1: GroupNorm
  let conv1: Int
  let norm2: GroupNorm
  let conv2: Int
  /// 1×1, where inputs and outputs differ.
  let shortcut: Int?
}

struct VAEAttention {
  let norm: GroupNorm
  let qkv: Linear
  let out: Linear
}

struct VAEUpBlock {
  let resnets: [ResNetBlock]
  /// After doubling height and width; nil in the last block.
  let upsampler: Int?
}

struct VAEDecoder {
  let config: VAEConfig
  /// In the order in which they run, but for shortcuts.
  var convolutions: [NamedConvolution]
  let postQuant: Int
  let convIn: Int
  let midFirst: ResNetBlock
  let midAttention: VAEAttention
  let midSecond: ResNetBlock
  let upBlocks: [VAEUpBlock]
  let normOut: GroupNorm
  let convOut: Int

  init(_ loader: inout ParameterLoader, _ config: VAEConfig) throws(DitqError) {
    self.config = config
    let channels = Array(config.blockChannels.reversed())
    var reader = Reader(config: config)
    postQuant = try reader.convolution(&loader, "post_quant_conv", outputs: config.latentChannels, inputs: config.latentChannels, size: 1)
    convIn = try reader.convolution(&loader, "decoder.conv_in", outputs: channels[0], inputs: config.latentChannels)
    midFirst = try reader.resnet(&loader, "decoder.mid_block.resnets.0.", channels[0], channels[0])
    midAttention = try VAEAttention(&loader, "decoder.mid_block.attentions.0.", channels[0], config)
    midSecond = try reader.resnet(&loader, "decoder.mid_block.resnets.1.", channels[0], channels[0])
    var blocks: [VAEUpBlock] = []
    var inputs = channels[0]
    for (index, outputs) in channels.enumerated() {
      let name = "decoder.up_blocks.\(index)."
      var resnets: [ResNetBlock] = []
      for layer in 0...config.layersPerBlock {
        try resnets.add(try reader.resnet(&loader, "\(name)resnets.\(layer).", layer == 0 ? inputs : outputs, outputs))
      }
      let isLast = index == channels.count - 1
      let upsampler = isLast ? nil : try reader.convolution(&loader, name + "upsamplers.0.conv", outputs: outputs, inputs: outputs)
      try blocks.add(VAEUpBlock(resnets: resnets, upsampler: upsampler))
      inputs = outputs
    }
    upBlocks = blocks
    normOut = try GroupNorm(&loader, "decoder.conv_norm_out", inputs, config)
    convOut = try reader.convolution(&loader, "decoder.conv_out", outputs: config.imageChannels, inputs: inputs)
    convolutions = reader.convolutions
    try loader.requireAllUsed(ignoring: VAEDecoder.encoderPrefixes)
  }

  /// Numbers of the convolutions that may run on integers: those of 3×3 whose channels come in fours, but for the one of latents.
  func quantizable() throws(DitqError) -> [Int] {
    var numbers: [Int] = []
    for (number, layer) in convolutions.enumerated()
    where number != convIn && layer.convolution.size == 3 && layer.convolution.inputs % 4 == 0 { try numbers.add(number) }
    return numbers
  }

  /// Multiply-accumulates of an image. A Double, because a file's sizes may come to more than 64 bits hold.
  func macs(latentSize: Int) -> Double {
    let tokens = Double(latentSize * latentSize), widest = Double(config.blockChannels.last!)
    func macs(_ number: Int?) -> Double {
      number.map { Double(convolutions[$0].convolution.outputs * convolutions[$0].convolution.depth) } ?? 0
    }
    func macs(_ block: ResNetBlock) -> Double { macs(block.conv1) + macs(block.conv2) + macs(block.shortcut) }
    var total = tokens * (macs(postQuant) + macs(convIn) + macs(midFirst) + macs(midSecond) + 4 * widest * widest + 2 * tokens * widest)
    var pixels = tokens
    for block in upBlocks {
      total += pixels * block.resnets.reduce(0) { $0 + macs($1) }
      if block.upsampler != nil { pixels *= 4 }
      total += pixels * macs(block.upsampler)
    }
    return total + pixels * macs(convOut)
  }

  /// Bytes of the convolutions' weights as they are kept.
  var convolutionByteCount: Int { convolutions.reduce(0) { $0 + $1.convolution.byteCount } }
  /// Whether any of them runs on integers.
  var isQuantized: Bool { convolutions.contains { $0.convolution.integers != nil } }

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

/// Reads convolutions, and numbers them.
private struct Reader {
  let config: VAEConfig
  var convolutions: [NamedConvolution] = []

  mutating func convolution(
    _ loader: inout ParameterLoader, _ name: String, outputs: Int, inputs: Int, size: Int = 3
  ) throws(DitqError) -> Int {
    let convolution = try loader.convolution(name, outputs: outputs, inputs: inputs, size: size)
    try convolutions.add(NamedConvolution(name: name, convolution: convolution))
    return convolutions.count - 1
  }

  mutating func resnet(_ loader: inout ParameterLoader, _ name: String, _ inputs: Int, _ outputs: Int) throws(DitqError) -> ResNetBlock {
    let norm1 = try GroupNorm(&loader, name + "norm1", inputs, config)
    let conv1 = try convolution(&loader, name + "conv1", outputs: outputs, inputs: inputs)
    let norm2 = try GroupNorm(&loader, name + "norm2", outputs, config)
    let conv2 = try convolution(&loader, name + "conv2", outputs: outputs, inputs: outputs)
    let shortcut = inputs == outputs ? nil : try convolution(&loader, name + "conv_shortcut", outputs: outputs, inputs: inputs, size: 1)
    return ResNetBlock(norm1: norm1, conv1: conv1, norm2: norm2, conv2: conv2, shortcut: shortcut)
  }
}

extension VAEAttention {
  /// New files name the parts to_q, to_k, to_v, to_out.0, old ones query, key, value, proj_attn.
  init(_ loader: inout ParameterLoader, _ name: String, _ channels: Int, _ config: VAEConfig) throws(DitqError) {
    norm = try GroupNorm(&loader, name + "group_norm", channels, config)
    let isOld = loader.contains(name + "query.weight")
    let parts = (isOld ? ["query", "key", "value"] : ["to_q", "to_k", "to_v"]).map { name + $0 }
    qkv = try loader.linear(parts, outputs: 3 * channels, inputs: channels, mayBePacked: false)
    out = try loader.linear([name + (isOld ? "proj_attn" : "to_out.0")], outputs: channels, inputs: channels, mayBePacked: false)
  }
}
