// What calibrating and comparing share: the network in pieces, what comes before the blocks, each block, what comes after, so that only what
// stands between two of them has to be kept; and the sampling run that both look at.

enum Piece {
  case embedders
  case block(Int)
  case final
}

extension Model {
  var pieces: [Piece] { [.embedders] + dit.blocks.indices.map { .block($0) } + [.final] }

  /// The numbers of a piece's layers.
  func numbers(of piece: Piece) -> Range<Int> {
    switch piece {
    case .embedders: 0..<dit.number(of: .modulation, block: 0)
    case .block(let index): dit.numbers(ofBlock: index)
    case .final: dit.linearCount - 2..<dit.linearCount
    }
  }
}

extension Model {
  /// The guidance scale of the reference figures of the field; 1 where there is nothing to be guided away from.
  var measuredGuidance: Double { config.hasNullClass ? 4 : 1 }

  /// The sampling run on which models are calibrated and compared: guided where the model can be, by DDIM where the model predicts noise.
  func measuredRun(steps: Int) throws(DitqError) -> SamplingRun {
    var options = SamplingOptions()
    (options.steps, options.guidanceScale) = (steps, measuredGuidance)
    options.sampler = sampling.prediction == .velocity ? .flowEuler : .ddim
    return try run(options)
  }
}

extension Session {
  /// The class of row `row` of the workspace's, in words.
  func className(ofRow row: Int) -> String {
    let label = Int(workspace.labels[row])
    return label == model.config.classCount ? "no class" : "class " + String(label)
  }

  /// Ends the call where the network's output for a row of `rows` is no number; sample `first` is the first of `images`.
  func checkPrediction(_ rows: Int, _ images: Int, _ name: String, _ first: Int) throws(DitqError) {
    let count = model.config.outputCount
    for row in 0..<rows {
      try checkMade(
        workspace.prediction + row * count, count, { name + " \(first + row % images), \(className(ofRow: row)), is" },
        { "its weights lead beyond what a float holds" })
    }
  }

  /// Runs a piece of a network that works in this session's workspace, on its timesteps and labels: image i of `images` looks at latent i mod
  /// `inputs`.
  func run(_ piece: Piece, _ network: DiTForward, x: UnsafePointer<Float>, inputs: Int, images: Int) {
    switch piece {
    case .embedders: network.begin(x: x, inputs: inputs, timesteps: workspace.timesteps, labels: workspace.labels, images: images)
    case .block(let index): network.run(block: index, timesteps: workspace.timesteps, labels: workspace.labels, images: images)
    case .final: network.finish(images, workspace.prediction)
    }
  }
}
