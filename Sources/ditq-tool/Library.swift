// From ditq.h to Swift: statuses become thrown errors that carry the library's own sentence. Relies on the contract that a failing call
// fills ditq_error; adds nothing to it, but calls options what the command line calls them.

import CDitq
import Glibc

/// A call of the library that did not return DITQ_OK.
struct LibraryError: Error {
  let status: ditq_status
  let message: String
}

/// Throws what `call` puts into the error it is given, unless it returns DITQ_OK.
func checked(_ call: (UnsafeMutablePointer<ditq_error>) -> ditq_status) throws {
  var error = ditq_error()
  error.struct_size = UInt32(MemoryLayout<ditq_error>.size)
  let status = call(&error)
  guard Int(status) != DITQ_OK else { return }
  let text = withUnsafeBytes(of: error.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  throw LibraryError(status: status, message: text.isEmpty ? String(cString: ditq_status_name(status)) : OptionNames.translated(text))
}

/// A line on stderr.
func complain(_ line: String) {
  let bytes = Array((shown(line) + "\n").utf8)
  _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// What the weights of a linear are turned into.
enum Weights {
  case floats
  /// 8 or 4 bits; inputs that share a scale, 0 for the whole row. Each row that they are applied to is quantized by its own range.
  case integers(bits: Int, group: Int)

  /// As ditq.h counts them: DITQ_KEEP_FLOAT for floats.
  var bits: Int { if case .integers(let bits, _) = self { bits } else { Int(DITQ_KEEP_FLOAT) } }
  var group: Int { if case .integers(_, let group) = self { group } else { 0 } }
  var text: String {
    switch self {
    case .floats: "float"
    case .integers(let bits, 0): "\(bits)-bit weights, a scale a row"
    case .integers(let bits, let group): "\(bits)-bit weights in groups of \(group)"
    }
  }
}

/// ditq_linear, owned.
struct Linear: ~Copyable {
  private let handle: OpaquePointer

  /// weights [outputs, inputs], packed for the best instruction set within the limit (DITQ_ISA_…).
  init(weights: [Float], bias: [Float], outputs: Int, inputs: Int, as kind: Weights, isaLimit: Int32) throws {
    var options = ditq_linear_options()
    options.struct_size = UInt32(MemoryLayout<ditq_linear_options>.size)
    options.weight_bits = Int32(kind.bits)
    options.weight_group = Int32(kind.group)
    if case .integers = kind { options.activation_mode = Int32(DITQ_ACTIVATION_DYNAMIC_PER_TOKEN) }
    options.isa_limit = isaLimit
    handle = try made { ditq_linear_create(weights, bias, Int32(outputs), Int32(inputs), &options, $0, $1) }
  }

  deinit { ditq_linear_destroy(handle) }

  /// y [rows, outputs] = x [rows, inputs] · weightsᵀ + bias.
  borrowing func apply(_ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, threads: Int32) throws {
    try checked { ditq_linear_apply(handle, x, rows, y, threads, $0) }
  }
}
