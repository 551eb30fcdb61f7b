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
    interval = steps / rows + 1
  }

  @inlinable @inline(__always)
  mutating func askForPanel() {
    ditqk_prefetch_read(line)
    ditqk_prefetch_read(line + 64)
    line += 128
    if line == end { line = start }
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
  /// The sums over `steps`, at least one, of a tile [steps][T.rows] of 4 bytes and a panel [steps][32] of as many.
  @inlinable @inline(__always)
  static func accumulate<T: Tile>(
    _: T.Type, _ tile: UnsafeRawPointer, _ panel: UnsafeRawPointer, _ steps: Int, _ ahead: inout Ahead
  ) -> T {
    var sums = T(), columns = T.Sums.Columns()
    var a = tile
    var b = panel
    let end = tile + steps * T.rows * 4
    repeat {
      ahead.askForOutput()
      let next = a + ahead.interval * T.rows * 4
      let stop = next < end ? next : end
      repeat {
        ahead.askForPanel()
        let operand = T.Sums.operand(at: b)
        sums.step(a, operand)
        columns.step(operand)
        a += T.rows * 4
        b += 128
      } while a < stop
    } while a < end
    sums.add(columns)
    return sums
  }
}
