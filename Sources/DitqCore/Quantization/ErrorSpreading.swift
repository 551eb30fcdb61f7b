// Rounding weights in turn, each making up for the errors of those before it (GPTQ, Frantar et al. 2023), in its form as Babai's nearest
// plane. With second moments H = Σ x·xᵀ of a layer's inputs, the error of an output is (w − ŵ)ᵀ H (w − ŵ). Let H = V·Vᵀ with V upper
// triangular: the error is |Vᵀ(w − ŵ)|², whose component j has no weights after j. So the best level of weight j, given the errors e of those
// before it, is that of
//
//   w[j] + Σ i<j: e[i] · V[i][j] / V[j][j]
//
// V is a Cholesky factor from the last row upwards; no inverse is needed. 1 % of the mean moment is added to the diagonal. Scales are those
// of the weights before rounding. All sums have one order, so every machine makes the same model.

/// The spreading among all inputs of a layer, or, where their moments are known by groups, within each group.
struct ErrorSpreading {
  private let groups: [InputGroup]
  /// Neighbouring inputs of a group; a group has every `groups.count`th such run.
  private let width: Int

  init(_ moments: UnsafePointer<Float>, inputs: Int, factors: [Float]?, _ pool: ThreadPool) throws(DitqError) {
    (groups, width) = ([try InputGroup(moments, inputs: inputs, factors: factors, pool)], inputs)
  }

  init(_ parts: [ErrorSpreading], width: Int) { (groups, self.width) = (parts.flatMap { $0.groups }, width) }

  /// Rows [count][inputs], so many floats apart, to the values whose levels are to be taken, by the scales [count][scale groups].
  func adjust(
    _ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int, _ scales: UnsafePointer<WeightScale>, group: Int, _ room: PanelRoom
  ) {
    guard groups.count > 1 else { return groups[0].adjust(rows, stride: stride, count: count, scales, group: group, room.errors) }
    let inputs = groups[0].inputs, part = room.part
    for (index, member) in groups.enumerated() {
      func forEachRun(_ body: (_ inLayer: UnsafeMutablePointer<Float>, _ inGroup: UnsafeMutablePointer<Float>) -> Void) {
        for row in 0..<count {
          for run in 0..<inputs / width {
            body(rows + row * stride + (run * groups.count + index) * width, part + row * inputs + run * width)
          }
        }
      }
      forEachRun { $1.update(from: $0, count: width) }
      member.adjust(part, stride: inputs, count: count, scales, group: inputs, room.errors)
      forEachRun { $0.update(from: $1, count: width) }
    }
  }
}

/// Inputs whose second moments are known.
private struct InputGroup {
  let inputs: Int
  /// [inputs][inputs], row j: V[i][j] / V[j][j] for i < j.
  private let shares: UnsafeMutablePointer<Float>
  private let memory: Block

  static let damping = 0.01

  /// From moments of which the lower triangle is there; `factors` [inputs] scale the inputs first.
  init(_ moments: UnsafePointer<Float>, inputs: Int, factors: [Float]?, _ pool: ThreadPool) throws(DitqError) {
    self.inputs = inputs
    let working = try Block(byteCount: inputs * inputs * 8, from: .system, for: "GPTQ")
    memory = try Block(byteCount: inputs * inputs * 4, from: .system, for: "GPTQ")
    shares = memory.floats
    let matrix = working.start.assumingMemoryBound(to: Double.self), last = inputs - 1
    var trace = 0.0
    for i in 0..<inputs {
      let row = matrix + (last - i) * inputs, factor = Double(factors?[i] ?? 1)
      // Reversed, the lower triangle is the upper one: by symmetry it is filled from below.
      for j in i..<inputs { row[last - j] = Double(moments[j * inputs + i]) * factor * Double(factors?[j] ?? 1) }
      trace += row[last - i]
    }
    guard trace.isFinite else {
      throw DitqError(.malformed, "second moments of its inputs: finite ones expected, others found: they are too large to learn from")
    }
    let damping = max(InputGroup.damping * trace / Double(inputs), Double(Float.leastNormalMagnitude))
    for i in 0..<inputs { matrix[i * inputs + i] += damping }
    factorize(matrix, least: damping, pool)
    for j in 0..<inputs {
      let pivot = matrix[(last - j) * inputs + last - j]
      for i in 0..<j { shares[j * inputs + i] = Float(matrix[(last - i) * inputs + last - j] / pivot) }
    }
  }

  /// Cholesky in place, lower triangle, some columns at a time: first their own rows, then all rows below on all threads.
  private func factorize(_ matrix: UnsafeMutablePointer<Double>, least: Double, _ pool: ThreadPool) {
    for start in stride(from: 0, to: inputs, by: 32) {
      let columns = start..<min(start + 32, inputs)
      let job = CholeskyJob(matrix: matrix, size: inputs, columns: columns, least: least)
      for row in columns { job.fill(row) }
      pool.run(job)
    }
  }

  /// Rows [count][inputs], so many floats apart, to the values whose levels are to be taken, by the scales [count][groups].
  func adjust(
    _ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int, _ scales: UnsafePointer<WeightScale>, group: Int,
    _ errors: UnsafeMutablePointer<Float>
  ) {
    let groups = (inputs + group - 1) / group
    for j in 0..<inputs {
      let share = UnsafePointer(shares + j * inputs)
      for row in 0..<count {
        let weight = rows[row * stride + j], scale = scales[row * groups + j / group]
        let target = weight + dot(errors + row * inputs, share, j)
        rows[row * stride + j] = target
        errors[row * inputs + j] = weight - scale.number(target) * scale.scale
      }
    }
  }
}

private struct CholeskyJob: ParallelJob {
  let matrix: UnsafeMutablePointer<Double>
  let size: Int
  let columns: Range<Int>
  /// Where rounding makes a pivot smaller, it is this.
  let least: Double

  func run(part: Int, of parts: Int) {
    for row in share(of: size - columns.upperBound, part: part, of: parts) { fill(columns.upperBound + row) }
  }

  func fill(_ row: Int) {
    let values = matrix + row * size
    for column in columns.lowerBound..<min(columns.upperBound, row + 1) {
      let pivots = matrix + column * size
      let rest = values[column] - dot(values, pivots, column)
      values[column] = column == row ? max(rest, least).squareRoot() : rest / pivots[column]
    }
  }
}

/// Σ a · b, element i in chain i mod 16, added up in order.
private func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
  var sums = SIMD16<Float>.zero
  var i = 0
  while i + 16 <= count {
    sums += UnsafeRawPointer(a + i).loadUnaligned(as: SIMD16<Float>.self) * UnsafeRawPointer(b + i).loadUnaligned(as: SIMD16<Float>.self)
    i += 16
  }
  var total: Float = 0
  for lane in 0..<16 { total += sums[lane] }
  while i < count {
    total += a[i] * b[i]
    i += 1
  }
  return total
}

/// The same with eight chains.
private func dot(_ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ count: Int) -> Double {
  var sums = SIMD8<Double>.zero
  var i = 0
  while i + 8 <= count {
    sums += UnsafeRawPointer(a + i).loadUnaligned(as: SIMD8<Double>.self) * UnsafeRawPointer(b + i).loadUnaligned(as: SIMD8<Double>.self)
    i += 8
  }
  var total = 0.0
  for lane in 0..<8 { total += sums[lane] }
  while i < count {
    total += a[i] * b[i]
    i += 1
  }
  return total
}
