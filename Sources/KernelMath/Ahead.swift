// Summing up a register tile, and what is asked for before it is needed.

import CKernels

/// What a tile asks for: the panel 4 KB ahead, since it comes from the second-level cache or, with few rows, from memory, and behind its last line
/// its first, for the next tile; and the lines that the sums will go to, a row at a time, so that their misses do not come all at once.
@frozen public struct Ahead {
  @usableFromInline var line: UnsafeRawPointer
  @usableFromInline let end: UnsafeRawPointer
  @usableFromInline let start: UnsafeRawPointer
  @usableFromInline var output: UnsafeRawPointer
  @usableFromInline let outputStride: Int
  @usableFromInline let outputEnd: UnsafeRawPointer
  /// Steps of depth from one row of the output to the next.
  @usableFromInline let interval: Int

  /// Of a panel `steps` deep; `output` is where the first of `rows` will stand, `stride` bytes before the next one.
  @inlinable @inline(__always)
  init(_ panel: UnsafeRawPointer, steps: Int, rows: Int, output: UnsafeRawPointer, stride: Int) {
    (start, end) = (panel, panel + steps * 128)
    line = steps > 32 ? panel + 4096 : panel
    (self.output, outputStride, outputEnd) = (output, stride, output + rows * stride)
    interval = (steps / rows + 4) & ~3
  }

  /// For some steps of so many columns.
  @inlinable @inline(__always)
  mutating func askForPanel(_ columns: Int, steps: Int) {
    for step in 0..<steps {
      ditqk_prefetch_read(line + step * 128)
      if columns > 16 { ditqk_prefetch_read(line + step * 128 + 64) }
    }
    line += steps * 128
    if line >= end { line = start }
  }

  @inlinable @inline(__always)
  mutating func askForOutput() {
    guard output < outputEnd else { return }
    ditqk_prefetch_write(output)
    ditqk_prefetch_write(output + 64)
    output += outputStride
  }
}

extension KernelSet {
  /// The sums over `steps`, at least one, of a tile [steps][T.rows] of a step's bytes and a panel [steps][32] of 4.
  @inlinable @inline(__always)
  static func accumulate<T: Tile>(
    _: T.Type, _ tile: UnsafeRawPointer, _ panel: UnsafeRawPointer, _ steps: Int, _ ahead: inout Ahead
  ) -> T {
    var sums = T(), columns = T.Sums.Columns()
    var a = tile
    var b = panel
    let size = T.rows * T.Sums.stepSize
    let end = tile + steps * size
    repeat {
      ahead.askForOutput()
      let next = a + ahead.interval * size
      let stop = next < end ? next : end
      if T.Sums.folds {
        while stop - a >= 4 * size {
          ahead.askForPanel(T.Sums.width, steps: 4)
          step(&sums, &columns, a, b)
          step(&sums, &columns, a + size, b + 128)
          step(&sums, &columns, a + 2 * size, b + 256)
          step(&sums, &columns, a + 3 * size, b + 384)
          sums.fold()
          a += 4 * size
          b += 512
        }
        guard a < stop else { continue }
      }
      repeat {
        ahead.askForPanel(T.Sums.width, steps: 1)
        step(&sums, &columns, a, b)
        a += size
        b += 128
      } while a < stop
      sums.fold()
    } while a < end
    sums.add(columns)
    return sums
  }

  @inlinable @inline(__always)
  static func step<T: Tile>(_ sums: inout T, _ columns: inout T.Sums.Columns, _ a: UnsafeRawPointer, _ b: UnsafeRawPointer) {
    let operand = T.Sums.operand(at: b)
    sums.step(a, operand)
    columns.step(operand)
  }
}
