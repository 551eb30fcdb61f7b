// A DiT of random weights as a diffusers pipeline directory: which files it has, and which tensors by which names. The label and timestep
// embedders stand in every block, as diffusers writes them; the VAE is a decoder of few channels, so that readers that insist on one find one.

/// A tensor of a file. Tensors of the same origin hold the same numbers.
struct TensorPlan {
  let name: String
  let shape: [Int]
  let origin: String

  init(_ name: String, _ shape: [Int], origin: String? = nil) {
    (self.name, self.shape, self.origin) = (name, shape, origin ?? name)
  }

  var count: Int { shape.reduce(1, *) }
}

/// The decoder of an AutoencoderKL. As many doublings as of the public one make images of its size.
struct DecoderShape {
  /// From the image inwards.
  let channels: [Int]
  let layersPerBlock: Int
  let groups: Int

  static let smallest = DecoderShape(channels: [8, 8, 8, 8], layersPerBlock: 1, groups: 4)
  static let published = DecoderShape(channels: [128, 256, 512, 512], layersPerBlock: 2, groups: 32)
  static let upscaling = 8
}

struct DiffusersLayout {
  let shape: DiTShape
  var decoderShape = DecoderShape.smallest
  var latentSize = DiTShape.latentSize

  private static let weightsFile = "diffusion_pytorch_model.safetensors"

  /// The small files, by their paths in the directory.
  var texts: [(path: String, json: JSON)] {
    [
      ("model_index.json", index), ("transformer/config.json", transformer), ("vae/config.json", decoder),
      ("scheduler/scheduler_config.json", scheduler),
    ]
  }
  var weights: [(path: String, tensors: [TensorPlan])] {
    [("transformer/" + DiffusersLayout.weightsFile, transformerTensors), ("vae/" + DiffusersLayout.weightsFile, decoderTensors)]
  }
  static let folders = ["transformer", "vae", "scheduler"]

  // MARK: - Settings

  private var index: JSON {
    let parts = [("scheduler", "DDIMScheduler"), ("transformer", "DiTTransformer2DModel"), ("vae", "AutoencoderKL")]
    return .object(
      [("_class_name", .text("DiTPipeline"))] + parts.map { name, type in (name, .list([.text("diffusers"), .text(type)])) })
  }

  private var transformer: JSON {
    .object([
      ("_class_name", .text("DiTTransformer2DModel")), ("activation_fn", .text("gelu-approximate")), ("attention_bias", .boolean(true)),
      ("attention_head_dim", JSON(shape.hidden / shape.heads)), ("dropout", JSON(0)), ("in_channels", JSON(DiTShape.latentChannels)),
      ("norm_elementwise_affine", .boolean(false)), ("norm_eps", .number("1e-05")), ("norm_num_groups", JSON(32)),
      ("norm_type", .text("ada_norm_zero")), ("num_attention_heads", JSON(shape.heads)),
      ("num_embeds_ada_norm", JSON(DiTShape.classCount)), ("num_layers", JSON(shape.depth)),
      ("out_channels", JSON(2 * DiTShape.latentChannels)), ("patch_size", JSON(shape.patch)), ("sample_size", JSON(latentSize)),
      ("upcast_attention", .boolean(false)),
    ])
  }

  private var decoder: JSON {
    let channels = decoderShape.channels
    func blocks(_ type: String) -> JSON { .list(channels.map { _ in .text(type) }) }
    return .object([
      ("_class_name", .text("AutoencoderKL")), ("act_fn", .text("silu")), ("block_out_channels", .list(channels.map { JSON($0) })),
      ("down_block_types", blocks("DownEncoderBlock2D")), ("up_block_types", blocks("UpDecoderBlock2D")), ("in_channels", JSON(3)),
      ("out_channels", JSON(3)), ("latent_channels", JSON(DiTShape.latentChannels)),
      ("layers_per_block", JSON(decoderShape.layersPerBlock)),
      ("norm_num_groups", JSON(decoderShape.groups)), ("sample_size", JSON(DecoderShape.upscaling * latentSize)),
      ("scaling_factor", .number("0.18215")),
    ])
  }

  private var scheduler: JSON {
    .object([
      ("_class_name", .text("DDIMScheduler")), ("beta_start", .number("0.0001")), ("beta_end", .number("0.02")),
      ("beta_schedule", .text("linear")), ("clip_sample", .boolean(false)), ("num_train_timesteps", JSON(1000)),
      ("prediction_type", .text("epsilon")), ("set_alpha_to_one", .boolean(true)), ("steps_offset", JSON(0)),
      ("timestep_spacing", .text("leading")),
    ])
  }

  // MARK: - Tensors

  private static func affine(_ name: String, _ outputs: Int, _ inputs: Int..., origin: String? = nil) -> [TensorPlan] {
    [
      TensorPlan(name + ".weight", [outputs] + inputs, origin: origin.map { $0 + ".weight" }),
      TensorPlan(name + ".bias", [outputs], origin: origin.map { $0 + ".bias" }),
    ]
  }

  private var transformerTensors: [TensorPlan] {
    let hidden = shape.hidden, patch = shape.patch
    return Self.affine("pos_embed.proj", hidden, DiTShape.latentChannels, patch, patch)
      + (0..<shape.depth).flatMap { block(Self.blockName($0)) }
      + Self.affine("proj_out_1", 2 * hidden, hidden)
      + Self.affine("proj_out_2", patch * patch * 2 * DiTShape.latentChannels, hidden)
  }

  private static func blockName(_ index: Int) -> String { "transformer_blocks.\(index)." }

  private func block(_ name: String) -> [TensorPlan] {
    let hidden = shape.hidden, embedders = name + "norm1.emb.", first = Self.blockName(0) + "norm1.emb."
    let time = "timestep_embedder.linear_", table = "class_embedder.embedding_table.weight"
    var tensors = Self.affine(embedders + time + "1", hidden, DiTShape.frequencies, origin: first + time + "1")
    tensors += Self.affine(embedders + time + "2", hidden, hidden, origin: first + time + "2")
    tensors.append(TensorPlan(embedders + table, [DiTShape.classCount + 1, hidden], origin: first + table))
    tensors += Self.affine(name + "norm1.linear", 6 * hidden, hidden)
    for part in ["to_q", "to_k", "to_v", "to_out.0"] { tensors += Self.affine(name + "attn1." + part, hidden, hidden) }
    tensors += Self.affine(name + "ff.net.0.proj", DiTShape.mlpRatio * hidden, hidden)
    return tensors + Self.affine(name + "ff.net.2", hidden, DiTShape.mlpRatio * hidden)
  }

  private var decoderTensors: [TensorPlan] {
    let channels = Array(decoderShape.channels.reversed()), latents = DiTShape.latentChannels, middle = "decoder.mid_block."
    func resnet(_ name: String, _ inputs: Int, _ outputs: Int) -> [TensorPlan] {
      Self.affine("\(name).norm1", inputs) + Self.affine("\(name).conv1", outputs, inputs, 3, 3) + Self.affine("\(name).norm2", outputs)
        + Self.affine("\(name).conv2", outputs, outputs, 3, 3)
        + (inputs == outputs ? [] : Self.affine("\(name).conv_shortcut", outputs, inputs, 1, 1))
    }
    var tensors = Self.affine("post_quant_conv", latents, latents, 1, 1) + Self.affine("decoder.conv_in", channels[0], latents, 3, 3)
    for index in 0..<2 { tensors += resnet("\(middle)resnets.\(index)", channels[0], channels[0]) }
    tensors += Self.affine(middle + "attentions.0.group_norm", channels[0])
    for part in ["to_q", "to_k", "to_v", "to_out.0"] { tensors += Self.affine(middle + "attentions.0." + part, channels[0], channels[0]) }
    var inputs = channels[0]
    for (index, outputs) in channels.enumerated() {
      let name = "decoder.up_blocks.\(index)."
      for layer in 0...decoderShape.layersPerBlock { tensors += resnet("\(name)resnets.\(layer)", layer == 0 ? inputs : outputs, outputs) }
      let isLast = index == channels.count - 1
      if !isLast { tensors += Self.affine(name + "upsamplers.0.conv", outputs, outputs, 3, 3) }
      inputs = outputs
    }
    return tensors + Self.affine("decoder.conv_norm_out", inputs) + Self.affine("decoder.conv_out", 3, inputs, 3, 3)
  }
}
