// DiTBlock: the linear layers of one block of the transformer. What conditions it is told by adaLN_modulation.1: see ConditionEmbedder.

/// The linear layers of a block, in the order in which they run.
enum BlockLayer: Int, CaseIterable {
  case modulation, qkv, proj, fc1, fc2

  /// In the checkpoint's words.
  var name: String {
    switch self {
    case .modulation: "adaLN_modulation.1"
    case .qkv: "attn.qkv"
    case .proj: "attn.proj"
    case .fc1: "mlp.fc1"
    case .fc2: "mlp.fc2"
    }
  }
}

struct DiTBlock {
  private var linears: InlineArray<5, Linear>

  init(_ linear: (BlockLayer) throws(DitqError) -> Linear) throws(DitqError) {
    linears = [try linear(.modulation), try linear(.qkv), try linear(.proj), try linear(.fc1), try linear(.fc2)]
  }

  subscript(layer: BlockLayer) -> Linear {
    get { linears[layer.rawValue] }
    set { linears[layer.rawValue] = newValue }
  }
}

extension DiTBlock {
  /// Attention's products run on integers where its inputs come from a layer that does.
  var attendsOnIntegers: Bool { self[.qkv].integers != nil && self[.qkv].activationBits == 8 }
}
