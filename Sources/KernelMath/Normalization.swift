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
    forEachLanesOnce(count) { i, lanes in
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
    let maximum = highest(row, row, count).0
    var sum = Lanes.zero
    forEachLanesOnce(count) { i, lanes in
      let power = exponential((load(UnsafePointer(row), at: i, lanes) - maximum) * Lanes(repeating: factor))
      store(power, row, at: i, lanes)
      sum += lanes == 16 ? power : load(UnsafePointer(row), at: i, lanes)
    }
    return total(sum)
  }

  /// The largest of each of two rows, sixteen times.
  @inlinable @inline(__always)
  static func highest(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> (Lanes, Lanes) {
    var topOfA = Lanes(repeating: -.infinity), topOfB = topOfA
    forEachLanes(count) { i, lanes in
      topOfA = larger(topOfA, load(a, at: i, lanes, filling: -.infinity))
      topOfB = larger(topOfB, load(b, at: i, lanes, filling: -.infinity))
    }
    return (Lanes(repeating: ditqk_largest(topOfA)), Lanes(repeating: ditqk_largest(topOfB)))
  }

  @inlinable @inline(__always)
  public static func siluRow(_ x: UnsafePointer<Float>, _ count: Int, _ output: UnsafeMutablePointer<Float>) {
    forEachLanesOnce(count) { i, lanes in store(silu(load(x, at: i, lanes)), output, at: i, lanes) }
  }

  @inlinable @inline(__always)
  public static func columnMoments(
    _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ stride: Int, _ shift: UnsafePointer<Float>, adds: Bool,
    _ sums: UnsafeMutablePointer<Float>, _ squares: UnsafeMutablePointer<Float>
  ) {
    forEachLanes(columns) { column, lanes in
      let shifts = load(shift, at: column, lanes)
      var sum = adds ? load(UnsafePointer(sums), at: column, lanes) : .zero
      var square = adds ? load(UnsafePointer(squares), at: column, lanes) : .zero
      for row in 0..<rows {
        let centred = load(x + row * stride, at: column, lanes) - shifts
        sum += centred
        square = square.addingProduct(centred, centred)
      }
      store(sum, sums, at: column, lanes)
      store(square, squares, at: column, lanes)
    }
  }

  @inlinable @inline(__always)
  public static func normalize(
    _ x: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ mean: UnsafePointer<Float>, _ factor: UnsafePointer<Float>,
    _ offset: UnsafePointer<Float>, _ withSiLU: Bool, _ output: UnsafeMutablePointer<Float>
  ) {
    for row in 0..<rows {
      forEachLanesOnce(columns) { column, lanes in
        let centred = load(x + row * columns, at: column, lanes) - load(mean, at: column, lanes)
        let value = load(offset, at: column, lanes).addingProduct(centred, load(factor, at: column, lanes))
        store(withSiLU ? silu(value) : value, output + row * columns, at: column, lanes)
      }
    }
  }
}
