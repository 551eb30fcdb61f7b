// A progress bar on stderr, where that is a terminal; elsewhere nothing is written. Relies on the progress callback of ditq.h, which is
// called on the thread of the call; asks no call to end.

import CDitq
import Glibc

final class Progress {
  private static let width = 30
  /// Redrawing more often than this only costs.
  private static let interval = 0.05

  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var drawn: Double?
  /// Units of earlier calls and of all of them, where a job is made of several; 0 in all: as each call says.
  private let unitsInAll: Int64
  private var unitsBefore: Int64 = 0

  init(unitsInAll: Int = 0) {
    self.unitsInAll = Int64(unitsInAll)
    start = clock.now
  }

  /// Since it was made.
  var seconds: Double { (clock.now - start).seconds }

  /// Runs a call of the library that is given the callback and its context. The bar is gone afterwards.
  func during<R>(unitsBefore: Int = 0, _ call: (@escaping ditq_progress_callback, UnsafeMutableRawPointer) throws -> R) rethrows -> R {
    self.unitsBefore = Int64(unitsBefore)
    defer { if isTerminal, drawn != nil { show("\r\u{1B}[K") } }
    return try withExtendedLifetime(self) {
      try call(
        { context, told in
          if let context { Unmanaged<Progress>.fromOpaque(context).takeUnretainedValue().draw(told.pointee) }
          return 0
        }, Unmanaged.passUnretained(self).toOpaque())
    }
  }

  private func draw(_ told: ditq_progress) {
    let now = seconds
    guard isTerminal, told.total > 0, told.done == told.total || now - (drawn ?? -1) >= Progress.interval else { return }
    drawn = now
    let isWhole = unitsInAll > 0 && Int(told.phase) == DITQ_PHASE_DENOISE
    let (done, total) = isWhole ? (unitsBefore + told.done, unitsInAll) : (told.done, told.total)
    let share = min(1, max(0, Double(done) / Double(total)))
    let full = Int(share * Double(Progress.width))
    let bar = String(repeating: "█", count: full) + String(repeating: "░", count: Progress.width - full)
    var line = "\r\(Progress.name(told.phase))  \(bar)  \(done)/\(total)  \(fixed(now, digits: 1)) s"
    if done > 0, done < total { line += ", \(fixed(now * (1 - share) / share, digits: 0)) s to go" }
    show(line + "\u{1B}[K")
  }

  private static func name(_ phase: Int32) -> String {
    switch Int(phase) {
    case DITQ_PHASE_LOAD: "load"
    case DITQ_PHASE_CALIBRATE: "calibrate"
    case DITQ_PHASE_QUANTIZE: "quantize"
    case DITQ_PHASE_DECODE: "decode"
    default: "denoise"
    }
  }

  private func show(_ text: String) {
    let bytes = Array(text.utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }
}
