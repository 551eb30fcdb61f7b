// The names under which a file keeps the tensors of a DiT. The library's names are the public checkpoints' own ("blocks.3.mlp.fc2"); each
// layout says what a file calls them. A new layout of the same network is a new case here.

enum CheckpointLayout {
  /// The public DiT release.
  case official
  /// transformer/ of a diffusers pipeline.
  case diffusers

  /// The file's names of a layer: one, or three for a qkv in three tensors.
  func names(of layer: String) -> [String] {
    guard case .diffusers = self else { return [layer] }
    switch layer {
    case "x_embedder.proj": return ["pos_embed.proj"]
    case ConditionEmbedder.timestepIn, ConditionEmbedder.timestepOut, ConditionEmbedder.labels:
      return [embedderName(of: layer, block: "0")]
    case "final_layer.adaLN_modulation.1": return ["proj_out_1"]
    case "final_layer.linear": return ["proj_out_2"]
    default: return blockNames(of: layer)
    }
  }

  /// Where a file keeps the table of positions; diffusers computes it.
  var positionsName: String? { self == .official ? "pos_embed" : nil }

  /// The beginnings of names that are passed over: a table that the peer does not read either.
  var ignoredNames: [String] { self == .official ? [] : ["pos_embed.pos_embed"] }

  /// "t_embedder.mlp.0" of block 3 → "transformer_blocks.3.norm1.emb.timestep_embedder.linear_1".
  private func embedderName(of part: String, block: String) -> String {
    let name =
      switch part {
      case ConditionEmbedder.timestepIn: "timestep_embedder.linear_1"
      case ConditionEmbedder.timestepOut: "timestep_embedder.linear_2"
      case ConditionEmbedder.labels: "class_embedder.embedding_table"
      default: preconditionFailure("no such layer")
      }
    return "transformer_blocks.\(block).norm1.emb." + name
  }

  /// "blocks.3.mlp.fc2" → "transformer_blocks.3.ff.net.2".
  private func blockNames(of layer: String) -> [String] {
    let parts = split(layer, at: ".", into: 3)
    precondition(parts.count == 3 && parts[0] == "blocks")
    let block = "transformer_blocks.\(parts[1])."
    switch parts[2] {
    case "adaLN_modulation.1": return [block + "norm1.linear"]
    case "attn.qkv": return [block + "attn1.to_q", block + "attn1.to_k", block + "attn1.to_v"]
    case "attn.proj": return [block + "attn1.to_out.0"]
    case "mlp.fc1": return [block + "ff.net.0.proj"]
    case "mlp.fc2": return [block + "ff.net.2"]
    default: return [embedderName(of: parts[2], block: parts[1])]
    }
  }

  /// Tensors that a layout keeps in each block, and the first block's of the same kind.
  func repeatedNames(block: Int) -> [(original: String, copy: String)] {
    guard case .diffusers = self, block > 0 else { return [] }
    var pairs: [(original: String, copy: String)] = []
    for part in [ConditionEmbedder.timestepIn, ConditionEmbedder.timestepOut, ConditionEmbedder.labels] {
      let original = embedderName(of: part, block: "0"), copy = embedderName(of: part, block: "\(block)")
      for kind in part == ConditionEmbedder.labels ? [".weight"] : [".weight", ".bias"] { pairs.append((original + kind, copy + kind)) }
    }
    return pairs
  }
}
