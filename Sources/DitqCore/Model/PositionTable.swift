// The stored table of positions, compared with the one that the public code computes for a square grid of tokens: shapes do not tell 8 × 8
// tokens from 4 × 16, nor columns from rows. Refuses sines and cosines in any other order, and names the grid where it can.

struct PositionTable {
  let values: UnsafeBufferPointer<Float>
  let width: Int
  let tokens: Int

  /// Far more than a table differs that was rounded to bfloat16 (2⁻⁹) and averaged over a training as the public script averages it (2⁻²⁴ a
  /// step, of which 1 − 0.99999 is taken back at each: 0.006); far less than two tables differ.
  private static let tolerance: Float = 1 / 64

  /// Whether it is the computed one of a square grid. Else it was learned, and only whoever trained it knows the grid.
  func isComputed() throws(DitqError) -> Bool {
    let side = Int(Double(tokens).squareRoot())
    if try isComputed(rows: side, columns: side, isExchanged: false) { return true }
    guard try isMadeOfSines() else { return false }
    throw DitqError(
      .unsupported,
      "pos_embed: the sines and cosines of \(side) × \(side) tokens expected, \(try found()) found; where it is meant all the same, give latent_size"
    )
  }

  private func found() throws(DitqError) -> String {
    for rows in 1...tokens where tokens % rows == 0 {
      for isExchanged in [false, true] where try isComputed(rows: rows, columns: tokens / rows, isExchanged: isExchanged) {
        return "those of \(rows) × \(tokens / rows) tokens" + (isExchanged ? " with rows and columns exchanged" : "")
      }
    }
    return "those in another order"
  }

  /// Whether it is the table of such a grid: see fillPositions.
  private func isComputed(rows: Int, columns: Int, isExchanged: Bool) throws(DitqError) -> Bool {
    let quarter = width / 4
    for half in 0..<2 {
      let countsColumns = (half == 0) != isExchanged
      for position in 0..<(countsColumns ? columns : rows) {
        for k in 0..<quarter {
          try checkCall()
          let (sine, cosine) = sineAndCosine(Double(position) * positionFrequency(k, of: quarter))
          for other in 0..<(countsColumns ? rows : columns) {
            let token = countsColumns ? other * columns + position : position * columns + other
            let place = token * width + half * 2 * quarter + k
            // Not the reverse, which a NaN would pass.
            guard (values[place] - Float(sine)).magnitude <= PositionTable.tolerance,
              (values[place + quarter] - Float(cosine)).magnitude <= PositionTable.tolerance
            else { return false }
          }
        }
      }
    }
    return true
  }

  /// In whatever order: as sin² + cos² = 1, the squares of each row sum up to half its width.
  private func isMadeOfSines() throws(DitqError) -> Bool {
    for token in 0..<tokens {
      try checkCall()
      var sum: Float = 0
      for column in 0..<width { sum += values[token * width + column] * values[token * width + column] }
      guard (sum / Float(width / 2) - 1).magnitude <= 4 * PositionTable.tolerance else { return false }
    }
    return true
  }
}
