// Softmax, LayerNorm and GroupNorm on rows. Each sum is taken in sixteen chains, element i in chain i mod 16, added up by halves.

import CKernels

extension KernelSet {
  /// Two rows side by side, since each waits for its sums; a row alone is both.
  @inlinable @inline(__always)
  public static func modulate(
    _ rows: UnsafePointer<UnsafePointer<Float>?>, _ count: Int, _ shift: UnsafePointer<Float>, _ scale: UnsafePointer<Float>,
    _ epsilon: Float, _ depth: Int, _ output: UnsafeMutablePointer<Float>
  ) {
    let a = rows[0]!, b = rows[count - 1]!, outputOfB = output + (count - 1) * depth
    var sumOfA = Lanes.zero, sumOfB = Lanes.zero
    forEachLanes(depth) { i, lanes in
      sumOfA += load(a, at: i, lanes)
      sumOfB += load(b, at: i, lanes)
    }
    let meanOfA = ditqk_total(sumOfA) / Float(depth), meanOfB = ditqk_total(sumOfB) / Float(depth)
    let meansOfA = Lanes(repeating: meanOfA), meansOfB = Lanes(repeating: meanOfB)
    var squaresOfA = Lanes.zero, squaresOfB = Lanes.zero
    forEachLanes(depth) { i, lanes in
      let x = load(a, at: i, lanes, filling: meanOfA) - meansOfA, y = load(b, at: i, lanes, filling: meanOfB) - meansOfB
      squaresOfA = squaresOfA.addingProduct(x, x)
      squaresOfB = squaresOfB.addingProduct(y, y)
    }
    let inversesOfA = Lanes(repeating: 1 / (ditqk_total(squaresOfA) / Float(depth) + epsilon).squareRoot())
    let inversesOfB = Lanes(repeating: 1 / (ditqk_total(squaresOfB) / Float(depth) + epsilon).squareRoot())
    forEachLanesOnce(depth) { i, lanes in
      let shifts = load(shift, at: i, lanes), factors = Lanes(repeating: 1) + load(scale, at: i, lanes)
      store(shifts.addingProduct((load(a, at: i, lanes) - meansOfA) * inversesOfA, factors), output, at: i, lanes)
      store(shifts.addingProduct((load(b, at: i, lanes) - meansOfB) * inversesOfB, factors), outputOfB, at: i, lanes)
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
    return ditqk_total(sum)
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
