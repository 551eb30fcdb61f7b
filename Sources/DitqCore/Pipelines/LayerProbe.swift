// LayerProbe: what the layers of one piece of a network were given and put out, kept to be compared with another model's. Each layer is run once
// more to be measured, in the buffers that its own run overwrites a moment later. Balanced channels are compared as they were before balancing.

/// What a layer of one call was measured at.
struct LayerMeasure {
  var input = SignalAndNoise()
  var output = SignalAndNoise()
  var clipped = ClippedShare()
  /// Of the layer itself.
  var seconds = 0.0

  mutating func add(_ other: LayerMeasure) {
    input.add(other.input)
    output.add(other.output)
    clipped.add(other.clipped)
    seconds += other.seconds
  }
}

final class LayerProbe {
  private struct Kept {
    let input: UnsafeMutablePointer<Float>
    let output: UnsafeMutablePointer<Float>
  }
  private let model: Model
  /// By place in the piece.
  private var kept: [Kept] = []
  private let found: Kept
  private let memory: Block

  /// A convenience initializer, as there may be no memory: see Block.
  convenience init(_ model: Model, images: Int) throws(DitqError) {
    var measure = Arena()
    _ = LayerProbe.reserve(&measure, model, images)
    self.init(model, images, try Block(byteCount: try measure.checkedSize("comparison"), from: .system, for: "comparison"))
  }

  private init(_ model: Model, _ images: Int, _ memory: Block) {
    (self.model, self.memory) = (model, memory)
    var arena = Arena(memory.start)
    (kept, found) = LayerProbe.reserve(&arena, model, images)
  }

  private static func reserve(_ arena: inout Arena, _ model: Model, _ images: Int) -> ([Kept], Kept) {
    let rows = images * model.config.tokenCount
    let most = model.pieces.reduce(0) { max($0, model.numbers(of: $1).count) }
    var widths = [(inputs: Int, outputs: Int)](repeating: (0, 0), count: most)
    for piece in model.pieces {
      for (place, number) in model.numbers(of: piece).enumerated() {
        let linear = model.dit[number]
        widths[place] = (max(widths[place].inputs, linear.inputs), max(widths[place].outputs, linear.outputs))
      }
    }
    let widest = widths.reduce((0, 0)) { (max($0.0, $1.inputs), max($0.1, $1.outputs)) }
    return (
      widths.map { Kept(input: arena.floats(rows, $0.inputs), output: arena.floats(rows, $0.outputs)) },
      Kept(input: arena.floats(rows, widest.0), output: arena.floats(rows, widest.1))
    )
  }

  /// Keeps a layer's rows and what it makes of them.
  func keep(_ place: Int, _ linear: Linear, _ source: RowSource, _ rows: Int, _ session: Session) {
    write(linear, source, rows, session, to: kept[place])
  }

  /// Compares another model's with what was kept.
  func measure(_ number: Int, _ piece: Piece, _ linear: Linear, _ source: RowSource, _ rows: Int, _ session: Session) -> LayerMeasure {
    let place = number - model.numbers(of: piece).lowerBound
    var result = LayerMeasure()
    result.seconds = write(linear, source, rows, session, to: found)
    if let ranges = linear.ranges {
      let bin = Int(session.workspace.transformer.bins[0])
      result.clipped.add(found.input, rows: rows, nil, ranges[held: bin], inputs: linear.inputs, session.executor.pool)
    }
    if let factors = linear.inputFactors {
      for row in 0..<rows { for channel in 0..<linear.inputs { found.input[row * linear.inputs + channel] /= factors[channel] } }
    }
    if case .block(let index) = piece, let layer = BlockLayer(rawValue: number - model.dit.number(of: .modulation, block: index)) {
      model.dit.blocks[index].unfold(layer, found.output, rows: rows)
    }
    result.input.add(kept[place].input, found.input, count: rows * linear.inputs)
    result.output.add(kept[place].output, found.output, count: rows * linear.outputs)
    return result
  }

  /// Answers with how long the layer took.
  @discardableResult
  private func write(_ linear: Linear, _ source: RowSource, _ rows: Int, _ session: Session, to target: Kept) -> Double {
    let w = session.workspace.transformer
    session.executor.copy(source, rows: rows, inputs: linear.inputs, into: target.input)
    let start = nanoseconds()
    // All images of a comparison are at the same timestep.
    session.executor.apply(
      linear, to: source, rows: rows, bins: RowBins(bins: w.bins, rowsPerImage: rows), w.packed, into: target.output, stride: linear.outputs
    )
    return seconds(since: start)
  }
}
