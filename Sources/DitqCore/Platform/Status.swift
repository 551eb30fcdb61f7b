// Status and DitqError: the one error type of every floor, thrown when data from outside is wrong.
// The numbers are those of ditq.h. Errors of our own code are preconditions, never thrown.

package enum Status: Int32, Sendable {
  case invalidArgument = 1, notFound, ioFailed, malformed, unsupported, outOfMemory, cancelled, checksumMismatch, internalError
}

/// What went wrong: a status, and a sentence that names what was found and what was expected.
package struct DitqError: Error {
  package let status: Status
  package let message: String

  package init(_ status: Status, _ message: String) {
    self.status = status
    self.message = message
  }

  /// "steps: 1 to 1000 expected, 0 found". Interpolating a string is much code each time: this is the one place.
  init(_ status: Status, _ name: String, expected: String, found: String) {
    self.init(status, name + ": " + expected + " expected, " + found + " found")
  }

  /// What each call answers that the host's progress callback ended.
  package static var endedByHost: DitqError { DitqError(.cancelled, "the progress callback ended the call") }

  /// The same error, said of a named thing: "vae/config.json: …".
  func said(of subject: String) -> DitqError { DitqError(status, "\(subject): \(message)") }
}
