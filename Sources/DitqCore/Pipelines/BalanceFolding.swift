// Folding channel balance (Quantization/ChannelBalance.swift) into the layers of a block that make the balanced inputs, and undoing it on
// their outputs. Relies on the order of an adaLN linear's outputs, shift, scale and gate of attention, then of the MLP, and of qkv's.

extension DiTBlock {
  /// What balancing some of a block's layers changes in each of them, by BlockLayer.
  func foldings(_ balances: [ChannelBalance?]) -> [LayerFolding] {
    var foldings = balances.map { LayerFolding(balance: $0) }
    let width = self[.proj].outputs
    for (chunk, layer) in [(0, BlockLayer.qkv), (3, .fc1)] {
      guard let factors = balances[layer.rawValue]?.inputFactors else { continue }
      foldings[BlockLayer.modulation.rawValue].foldOutputs(of: self[.modulation]) { rows, bias in
        for channel in 0..<width {
          let shift = chunk * width + channel, scale = shift + width
          (rows[shift], rows[scale]) = (factors[channel], factors[channel])
          bias[shift] *= factors[channel]
          bias[scale] = (1 + bias[scale]) * factors[channel] - 1
        }
      }
    }
    if let factors = balances[BlockLayer.proj.rawValue]?.inputFactors {
      foldings[BlockLayer.qkv.rawValue].foldOutputs(of: self[.qkv]) { rows, bias in
        for channel in 0..<width {
          rows[2 * width + channel] = factors[channel]
          bias[2 * width + channel] *= factors[channel]
        }
      }
    }
    return foldings
  }

  /// Undoes it on the outputs of a layer of a balanced model, so that they can be compared with the original's.
  func unfold(_ layer: BlockLayer, _ outputs: UnsafeMutablePointer<Float>, rows: Int) {
    let width = self[.proj].outputs
    switch layer {
    case .modulation:
      for (chunk, next) in [(0, BlockLayer.qkv), (3, .fc1)] {
        guard let factors = self[next].inputFactors else { continue }
        for row in 0..<rows {
          let shift = outputs + (row * 6 + chunk) * width, scale = shift + width
          for channel in 0..<width {
            shift[channel] /= factors[channel]
            scale[channel] = (1 + scale[channel]) / factors[channel] - 1
          }
        }
      }
    case .qkv:
      guard let factors = self[.proj].inputFactors else { return }
      for row in 0..<rows {
        let values = outputs + (row * 3 + 2) * width
        for channel in 0..<width { values[channel] /= factors[channel] }
      }
    case .proj, .fc1, .fc2: return
    }
  }
}
