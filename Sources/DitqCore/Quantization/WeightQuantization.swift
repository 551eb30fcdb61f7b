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

  fileprivate var hasZeroPoint: Bool { bits == 4 && group != 0 }
  fileprivate var levels: ClosedRange<Float> { bits == 8 ? -127...127 : hasZeroPoint ? 0...15 : -8...7 }
}

/// The scale and zero point of some weights.
struct WeightScale {
  let scale: Float
  let zero: Float
  private let levels: ClosedRange<Float>

  /// For the values' range, clipped to a share of it.
  fileprivate init(_ values: UnsafeBufferPointer<Float>, _ format: WeightFormat, clip: Float) {
    levels = format.levels
    var low: Float = 0, high: Float = 0
    for value in values { (low, high) = (min(low, value), max(high, value)) }
    if format.hasZeroPoint {
      scale = (high - low) * clip / 15
      zero = scale > 0 ? (-low * clip / scale).rounded(.toNearestOrEven) : 0
    } else {
      scale = max(-low, high) * clip / levels.upperBound
      zero = 0
    }
  }

  /// The level of a weight: p, or q where there is a zero point.
  func level(_ weight: Float) -> Float {
    guard scale > 0 else { return zero }
    return max(levels.lowerBound, min(levels.upperBound, WeightScale.rounded(weight / scale) + zero))
  }

  /// To the nearest, half to even, for magnitudes below 2²²: a function of libm would be called for each weight.
  private static func rounded(_ x: Float) -> Float { (x + 12_582_912) - 12_582_912 }

  /// Σ (w − ŵ)², or what of it is already more than `limit`.
  fileprivate func error(_ values: UnsafeBufferPointer<Float>, limit: Double) -> Double {
    var sum = 0.0
    for value in values {
      guard sum <= limit else { break }
      let difference = Double(value - (level(value) - zero) * scale)
      sum += difference * difference
    }
    return sum
  }

  static func best(_ values: UnsafeBufferPointer<Float>, _ format: WeightFormat) -> WeightScale {
    var best = WeightScale(values, format, clip: 1)
    guard case .leastSquares = format.method else { return best }
    var least = best.error(values, limit: .infinity)
    for step in 1..<60 {
      let candidate = WeightScale(values, format, clip: 1 - 0.01 * Float(step))
      let error = candidate.error(values, limit: least)
      if error < least { (best, least) = (candidate, error) }
    }
    return best
  }
}

extension IntegerWeights {
  /// As options count it: inputs that share a scale, 0 = the whole row. The zero points of a row of 4 bits are all in the middle; those of one
  /// group of as many inputs are not.
  var recordedGroup: Int {
    guard groups == 1 else { return group }
    return bits == 8 || (0..<min(outputs, panelColumns)).allSatisfy { zeros[$0] == 8 } ? 0 : group
  }

  /// Quantizes and packs panel `index` of a matrix [outputs, inputs] of finite numbers, spreading errors where `spreading` is given.
  func fillPanel(
    _ index: Int, from matrix: FoldedMatrix, _ format: WeightFormat, _ spreading: ErrorSpreading?, _ kernels: ditqk_kernels
  ) {
    let columns = min(panelColumns, outputs - index * panelColumns)
    let rows = UnsafeMutablePointer<Float>.allocate(capacity: columns * inputs)
    let chosen = UnsafeMutablePointer<WeightScale>.allocate(capacity: columns * groups)
    defer {
      rows.deallocate()
      chosen.deallocate()
    }
    for column in 0..<columns {
      let row = rows + column * inputs
      matrix.copyRow(index * panelColumns + column, to: row, kernels)
      for number in 0..<groups {
        let start = min(number * group, inputs)
        let values = UnsafeBufferPointer(start: row + start, count: min(group, inputs - start))
        (chosen + column * groups + number).initialize(to: WeightScale.best(values, format))
      }
    }
    spreading?.adjust(rows, count: columns, chosen, group: group)
    pack(index, rows, columns, chosen, hasZeroPoint: format.hasZeroPoint)
  }

  /// Writes a panel: the levels of the rows by their scales, the scales, zero points and sums.
  private func pack(
    _ index: Int, _ rows: UnsafePointer<Float>, _ columns: Int, _ chosen: UnsafePointer<WeightScale>, hasZeroPoint: Bool
  ) {
    let base = numbers + index * panelByteCount
    base.initializeMemory(as: UInt8.self, repeating: 0, count: panelByteCount)
    for column in 0..<panelColumns {
      var sum: Float = 0
      for number in 0..<groups {
        let place = (index * groups + number) * panelColumns + column
        guard column < columns else {
          (scales[place], zeros[place]) = (0, 0)
          continue
        }
        let scale = chosen[column * groups + number]
        let offset = bits == 4 && !hasZeroPoint ? 8 : scale.zero
        (scales[place], zeros[place]) = (scale.scale, UInt8(offset))
        var total = 0
        for k in number * group..<min((number + 1) * group, depth) {
          let p = k < inputs ? scale.level(rows[column * inputs + k]) - scale.zero : 0
          total += Int(p)
          put(p, at: base, k, column, offset)
        }
        sum = sum.addingProduct(scale.scale, Float(total))
      }
      sums[index * panelColumns + column] = sum
    }
  }

  private func put(_ p: Float, at base: UnsafeMutableRawPointer, _ k: Int, _ column: Int, _ offset: Float) {
    if bits == 8 {
      (base + k / 4 * 128 + column * 4 + k % 4).storeBytes(of: Int8(p), as: Int8.self)
    } else {
      let byte = base + k / 8 * 128 + column * 4 + k % 4
      let nibble = UInt8(p + offset) << (k % 8 < 4 ? 0 : 4)
      byte.storeBytes(of: byte.load(as: UInt8.self) | nibble, as: UInt8.self)
    }
  }
}
