// The network in pieces: what comes before the blocks, each block, what comes after. Calibrating and comparing stop between them, so that
// only what stands between two pieces has to be kept.

enum Piece {
  case embedders
  case block(Int)
  case final
}

extension Model {
  var pieces: [Piece] { [.embedders] + dit.blocks.indices.map { .block($0) } + [.final] }

  /// The numbers of a piece's layers.
  func numbers(of piece: Piece) -> Range<Int> {
    let first = DiTWeights.number(of: .modulation, block: 0), perBlock = BlockLayer.allCases.count
    switch piece {
    case .embedders: return 0..<first
    case .block(let index): return first + index * perBlock..<first + (index + 1) * perBlock
    case .final: return first + dit.blocks.count * perBlock..<first + dit.blocks.count * perBlock + 2
    }
  }
}

extension Session {
  /// Runs a piece of a network that works in this session's workspace, on its timesteps and labels: image i of `images` looks at latent i mod
  /// `inputs`.
  func run(_ piece: Piece, _ network: DiTForward, x: UnsafePointer<Float>, inputs: Int, images: Int) {
    switch piece {
    case .embedders: network.begin(x: x, inputs: inputs, timesteps: workspace.timesteps, labels: workspace.labels, images: images)
    case .block(let index): network.run(block: index, images)
    case .final: network.finish(images, workspace.prediction)
    }
  }
}
