// Softmax, LayerNorm and GroupNorm on rows. Each sum is taken in sixteen chains, element i in chain i mod 16, added up by halves.

import CKernels

extension KernelSet {
  @inlinable @inline(__always)
  public static func modulate(
    _ x: UnsafePointer<Float>, _ shift: UnsafePointer<Float>, _ scale: UnsafePointer<Float>, _ epsilon: Float, _ count: Int,
    _ output: UnsafeMutablePointer<Float>
  ) {
    var sum = Lanes.zero
    forEachLanes(count) { i, lanes in sum += load(x, at: i, lanes) }
    let mean = total(sum) / Float(count)
    let means = Lanes(repeating: mean)
    var squares = Lanes.zero
    forEachLanes(count) { i, lanes in
      let centred = load(x, at: i, lanes, filling: mean) - means
      squares = squares.addingProduct(centred, centred)
    }
    let inverses = Lanes(repeating: 1 / (total(squares) / Float(count) + epsilon).squareRoot())
    forEachLanes(count) { i, lanes in
      let normal = (load(x, at: i, lanes) - means) * inverses
      store(load(shift, at: i, lanes).addingProduct(normal, Lanes(repeating: 1) + load(scale, at: i, lanes)), output, at: i, lanes)
    }
  }

  @inlinable @inline(__always)
  public static func softmax(_ row: UnsafeMutablePointer<Float>, _ factor: Float, _ count: Int) {
    let inverse = Lanes(repeating: 1 / exponentials(row, factor, count))
    forEachLanes(count) { i, lanes in store(load(UnsafePointer(row), at: i, lanes) * inverse, row, at: i, lanes) }
  }

  /// row = exp(factor · (row − its largest)) in place; answers with the sum.
  @inlinable @inline(__always)
  static func exponentials(_ row: UnsafeMutablePointer<Float>, _ factor: Float, _ count: Int) -> Float {
    var top = Lanes(repeating: -.infinity)
    forEachLanes(count) { i, lanes in top = larger(top, load(UnsafePointer(row), at: i, lanes, filling: -.infinity)) }
    let maximum = Lanes(repeating: largest(top))
    var sum = Lanes.zero
    forEachLanes(count) { i, lanes in
      let power = exponential((load(UnsafePointer(row), at: i, lanes) - maximum) * Lanes(repeating: factor))
      store(power, row, at: i, lanes)
      sum += lanes == 16 ? power : load(UnsafePointer(row), at: i, lanes)
    }
    return total(sum)
  }

  @inlinable @inline(__always)
  public static func siluRow(_ x: UnsafePointer<Float>, _ count: Int, _ output: UnsafeMutablePointer<Float>) {
    forEachLanes(count) { i, lanes in store(silu(load(x, at: i, lanes)), output, at: i, lanes) }
  }

  @inlinable @inline(__always)
  public static func columnSums(
    _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ mean: UnsafePointer<Float>?, _ sums: UnsafeMutablePointer<Float>
  ) {
    forEachLanes(columns) { column, lanes in
      var sum = Lanes.zero
      for row in 0..<rows {
        let value = load(x + row * columns, at: column, lanes)
        if let mean {
          let centred = value - load(mean, at: column, lanes)
          sum = sum.addingProduct(centred, centred)
        } else {
          sum += value
        }
      }
      store(sum, sums, at: column, lanes)
    }
  }

  @inlinable @inline(__always)
  public static func normalize(
    _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ mean: UnsafePointer<Float>, _ factor: UnsafePointer<Float>,
    _ offset: UnsafePointer<Float>, _ withSiLU: Bool, _ output: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<rows {
      forEachLanes(columns) { column, lanes in
        let centred = load(x + row * columns, at: column, lanes) - load(mean, at: column, lanes)
        let value = load(offset, at: column, lanes).addingProduct(centred, load(factor, at: column, lanes))
        store(withSiLU ? silu(value) : value, output + row * columns, at: column, lanes)
      }
    }
  }
}
