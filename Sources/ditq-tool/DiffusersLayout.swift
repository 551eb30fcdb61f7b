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

struct DiffusersLayout {
  let shape: DiTShape

  /// Of the VAE: from the image inwards; as many doublings less one as of the public one, so that images have their size.
  private static let decoderChannels = [8, 8, 8, 8]
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
      ("out_channels", JSON(2 * DiTShape.latentChannels)), ("patch_size", JSON(shape.patch)), ("sample_size", JSON(DiTShape.latentSize)),
      ("upcast_attention", .boolean(false)),
    ])
  }

  private var decoder: JSON {
    let channels = DiffusersLayout.decoderChannels
    func blocks(_ type: String) -> JSON { .list(channels.map { _ in .text(type) }) }
    return .object([
      ("_class_name", .text("AutoencoderKL")), ("act_fn", .text("silu")), ("block_out_channels", .list(channels.map { JSON($0) })),
      ("down_block_types", blocks("DownEncoderBlock2D")), ("up_block_types", blocks("UpDecoderBlock2D")), ("in_channels", JSON(3)),
      ("out_channels", JSON(3)), ("latent_channels", JSON(DiTShape.latentChannels)), ("layers_per_block", JSON(1)),
      ("norm_num_groups", JSON(4)), ("sample_size", JSON(8 * DiTShape.latentSize)), ("scaling_factor", .number("0.18215")),
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

  /// All blocks have as many channels, so that no resnet needs a shortcut.
  private var decoderTensors: [TensorPlan] {
    let channels = Self.decoderChannels[0], latents = DiTShape.latentChannels, middle = "decoder.mid_block."
    func resnet(_ name: String) -> [TensorPlan] {
      ["1", "2"].flatMap { Self.affine("\(name).norm\($0)", channels) + Self.affine("\(name).conv\($0)", channels, channels, 3, 3) }
    }
    var tensors = Self.affine("post_quant_conv", latents, latents, 1, 1) + Self.affine("decoder.conv_in", channels, latents, 3, 3)
    tensors += resnet(middle + "resnets.0") + resnet(middle + "resnets.1") + Self.affine(middle + "attentions.0.group_norm", channels)
    for part in ["to_q", "to_k", "to_v", "to_out.0"] { tensors += Self.affine(middle + "attentions.0." + part, channels, channels) }
    for index in Self.decoderChannels.indices {
      let name = "decoder.up_blocks.\(index)."
      tensors += resnet(name + "resnets.0") + resnet(name + "resnets.1")
      let isLast = index == Self.decoderChannels.count - 1
      if !isLast { tensors += Self.affine(name + "upsamplers.0.conv", channels, channels, 3, 3) }
    }
    return tensors + Self.affine("decoder.conv_norm_out", channels) + Self.affine("decoder.conv_out", 3, channels, 3, 3)
  }
}
