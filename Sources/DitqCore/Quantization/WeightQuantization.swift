// Weights to 8 or 4 bits. A row, or each group of inputs in it, has a scale, and in groups of 4 bits a zero point:
//
//   w ≈ scale · p,           p = clamp(round(w / scale), −127, 127), scale = max|w| / 127                8 bits
//   w ≈ scale · p,           p from −8 to 7, scale = max|w| / 7                                           4 bits, a whole row
//   w ≈ scale · (q − zero),  q from 0 to 15, scale = (max − min) / 15, the range including 0              4 bits, in groups
//
// 0 is exact in each. An all-zero group has scale 0 and p = 0: nothing is divided by it. Rounding is to nearest, half to even.

import CKernels

/// How a matrix is quantized.
struct WeightFormat {
  /// 8 or 4.
  var bits: Int
  /// Inputs that share a scale, a multiple of 16; 0 = the whole row.
  var group: Int
  var method: Method

  /// The largest magnitude of a weight: sums of squared errors and differences of two weights stay finite.
  static let largest: Float = 1e18

  enum Method {
    /// The range is that of the values.
    case round
    /// The range is clipped to where the squared error is least, of sixty from all of it down to 41 %.
    case leastSquares
    /// The range of `round`, and each column's error is made up for by those after it: see ErrorSpreading.swift.
    case spread
  }

  func check() throws(DitqError) {
    guard bits == 8 || bits == 4 else { throw DitqError(.invalidArgument, "weight_bits: 8 or 4 expected, \(bits) found") }
    guard group >= 0 && group % 16 == 0 && group <= 65536 else {
      throw DitqError(.invalidArgument, "weight_group: a multiple of 16 up to 65536, or 0 for the whole row, expected, \(group) found")
    }
  }

  /// Ranges that are tried for the least squared error.
  static let clips = 60

  fileprivate var hasZeroPoint: Bool { bits == 4 && group != 0 }
  fileprivate var levels: ClosedRange<Float> { bits == 8 ? -127...127 : hasZeroPoint ? 0...15 : -8...7 }
}

/// The scale and zero point of some weights.
struct WeightScale {
  let scale: Float
  let zero: Float
  /// p of the lowest and the highest level.
  let lowest: Float
  let highest: Float

  /// The best that a format's method finds. Zeros follow the values up to a multiple of 16.
  init(_ values: UnsafePointer<Float>, _ count: Int, _ format: WeightFormat, _ kernels: ditqk_kernels) {
    let levels = format.levels
    var scale: Float = 0, zero: Float = 0
    kernels.fit_weights(
      values, count, levels.lowerBound, levels.upperBound, format.method == .leastSquares ? WeightFormat.clips : 1, &scale, &zero)
    (self.scale, self.zero) = (scale, zero)
    (lowest, highest) = (levels.lowerBound - zero, levels.upperBound - zero)
  }

  /// p of a weight.
  func number(_ weight: Float) -> Float {
    guard scale > 0 else { return 0 }
    return max(lowest, min(highest, WeightScale.rounded(weight / scale)))
  }

  /// To the nearest, half to even, for magnitudes below 2²²: a function of libm would be called for each weight.
  private static func rounded(_ x: Float) -> Float { (x + 12_582_912) - 12_582_912 }
}

/// What a thread works in while it fills panels.
struct PanelRoom {
  /// Floats of a row, a multiple of 16.
  fileprivate let stride: Int
  fileprivate let rows: UnsafeMutablePointer<Float>
  /// [panelColumns][groups].
  fileprivate let scales: UnsafeMutablePointer<WeightScale>
  /// Where errors are spread, a group's inputs of each row, and the errors: as many as the rows.
  let part: UnsafeMutablePointer<Float>
  let errors: UnsafeMutablePointer<Float>

  init(_ arena: inout Arena, _ weights: IntegerWeights, spreads: Bool) {
    stride = (weights.inputs + 15) & ~15
    rows = arena.floats(panelColumns, stride)
    scales = arena.reserve(WeightScale.self, panelColumns, weights.groups)
    let spread = spreads ? panelColumns : 0
    (part, errors) = (arena.floats(spread, stride), arena.floats(spread, stride))
  }
}

extension IntegerWeights {
  /// As options count it: inputs that share a scale, 0 = the whole row. The zero points of a row of 4 bits are all in the middle; those of one
  /// group of as many inputs are not.
  var recordedGroup: Int {
    guard groups == 1 else { return group }
    return bits == 8 || (0..<min(outputs, panelColumns)).allSatisfy { zeros[$0] == 8 } ? 0 : group
  }

  /// Quantizes and packs panel `index` of a matrix [outputs, inputs], spreading errors where `spreading` is given. Answers with the first row that
  /// has a weight too large, or none that is a number: then nothing is written.
  func fillPanel(
    _ index: Int, from matrix: FoldedMatrix, _ format: WeightFormat, _ spreading: ErrorSpreading?, _ room: PanelRoom,
    _ kernels: ditqk_kernels
  ) -> Int? {
    let columns = min(panelColumns, outputs - index * panelColumns), stride = room.stride, rows = room.rows, chosen = room.scales
    for column in 0..<columns {
      let row = rows + column * stride
      matrix.copyRow(index * panelColumns + column, to: row, kernels)
      (row + inputs).initialize(repeating: 0, count: stride - inputs)
      guard isWithin(WeightFormat.largest, row, stride) else { return index * panelColumns + column }
      for number in 0..<groups {
        let start = number * group
        (chosen + column * groups + number).initialize(to: WeightScale(row + start, min(group, inputs - start), format, kernels))
      }
    }
    spreading?.adjust(rows, stride: stride, count: columns, chosen, group: group, room)
    pack(index, rows, stride, columns, chosen, hasZeroPoint: format.hasZeroPoint, kernels)
    return nil
  }

  /// Writes a panel: the numbers of the rows by their scales, the scales, zero points and sums.
  private func pack(
    _ index: Int, _ rows: UnsafePointer<Float>, _ stride: Int, _ columns: Int, _ chosen: UnsafePointer<WeightScale>, hasZeroPoint: Bool,
    _ kernels: ditqk_kernels
  ) {
    let base = numbers + index * panelByteCount
    if columns < panelColumns { base.initializeMemory(as: UInt8.self, repeating: 0, count: panelByteCount) }
    for column in 0..<panelColumns {
      var sum: Float = 0
      for number in 0..<groups {
        let place = (index * groups + number) * panelColumns + column
        guard column < columns else {
          (scales[place], zeros[place]) = (0, 0)
          continue
        }
        let scale = chosen[column * groups + number], start = number * group
        let offset = bits == 4 && !hasZeroPoint ? 8 : scale.zero
        (scales[place], zeros[place]) = (scale.scale, UInt8(offset))
        let total = kernels.quantize_weights(
          rows + column * stride + start, min(group, depth - start), scale.scale, scale.lowest, scale.highest, offset, bits == 4 ? 1 : 0,
          base + start * bits * 4 + column * 4)
        sum = sum.addingProduct(scale.scale, total)
      }
      sums[index * panelColumns + column] = sum
    }
  }
}

/// Whether all of so many magnitudes, a multiple of 16, are at most `limit`; not a number is none of them. As integers, magnitudes have the same order.
private func isWithin(_ limit: Float, _ values: UnsafePointer<Float>, _ count: Int) -> Bool {
  let most = Int32(bitPattern: limit.bitPattern)
  var largest = SIMD16<Int32>.zero
  for i in stride(from: 0, to: count, by: 16) {
    let magnitudes = UnsafeRawPointer(values + i).loadUnaligned(as: SIMD16<Int32>.self) & SIMD16(repeating: .max)
    largest.replace(with: magnitudes, where: magnitudes .> largest)
  }
  return (0..<16).allSatisfy { largest[$0] <= most }
}
