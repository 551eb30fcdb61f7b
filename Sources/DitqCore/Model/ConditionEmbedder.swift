// ConditionEmbedder: what turns a timestep and a label into the vector that conditions blocks. The public code has one for all blocks;
// diffusers writes one into each block, and training makes these differ: then each block is conditioned by its own. Relies on ParameterLoader.
// Refuses files where some blocks have one and others have not.

struct ConditionEmbedder {
  /// [hidden, 256] and, after SiLU, [hidden, hidden].
  var timestepIn: Linear
  var timestepOut: Linear
  /// [classes, hidden], and where there is "no class" a last row for it.
  let labels: StoredMatrix

  // In the checkpoint's words.
  static let timestepIn = "t_embedder.mlp.0"
  static let timestepOut = "t_embedder.mlp.2"
  static let labels = "y_embedder.embedding_table"

  /// Before the names of embedder `index`: nothing for the shared one, which is the first block's too.
  static func prefix(_ index: Int) -> String { index == 0 ? "" : "blocks.\(index)." }

  /// Whether a linear layer of this name is one of an embedder.
  static func isLinear(_ name: String) -> Bool { name.ends(withBytesOf: timestepIn) || name.ends(withBytesOf: timestepOut) }

  init(_ loader: inout ParameterLoader, _ config: DiTConfig, _ layout: CheckpointLayout, _ index: Int) throws(DitqError) {
    let width = config.hiddenSize, prefix = ConditionEmbedder.prefix(index)
    timestepIn = try loader.linear(
      layout.names(of: prefix + ConditionEmbedder.timestepIn), outputs: width, inputs: DiTConfig.timestepFeatures)
    timestepOut = try loader.linear(layout.names(of: prefix + ConditionEmbedder.timestepOut), outputs: width, inputs: width)
    labels = try loader.matrix(
      layout.names(of: prefix + ConditionEmbedder.labels).map { $0 + ".weight" }, outputs: config.labelCount, inputs: width)
  }
}

extension CheckpointLayout {
  /// Whether blocks have embedders that differ. Copies that are equal are passed over, each compared once.
  func hasOwnEmbedders(_ loader: inout ParameterLoader, depth: Int) throws(DitqError) -> Bool {
    switch self {
    case .official: return depth > 1 && loader.contains(ConditionEmbedder.prefix(1) + ConditionEmbedder.timestepIn + ".bias")
    case .diffusers:
      for block in 0..<depth {
        for (original, copy) in repeatedNames(block: block) where try !loader.isCopy(copy, of: original) { return true }
      }
      return false
    }
  }
}
