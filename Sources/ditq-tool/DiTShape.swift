// The shapes of the public DiT family by their names, and others by numbers: what a model of random weights is made to. Relies on nothing of
// the library; refuses what could be no DiT. All are those of 256-pixel images: latents of 4 × 32 × 32, 1000 classes, learned variance.

import ArgumentParser

struct DiTShape {
  static let latentChannels = 4
  static let latentSize = 32
  static let classCount = 1000
  /// Of the timestep's embedding.
  static let frequencies = 256
  static let mlpRatio = 4

  let depth: Int
  let hidden: Int
  let heads: Int
  let patch: Int

  var tokens: Int { (DiTShape.latentSize / patch) * (DiTShape.latentSize / patch) }
}

/// A name of the paper: DiT-XL/2.
struct DiTName: ExpressibleByArgument {
  private static let sizes = [
    "S": (depth: 12, hidden: 384, heads: 6), "B": (depth: 12, hidden: 768, heads: 12), "L": (depth: 24, hidden: 1024, heads: 16),
    "XL": (depth: 28, hidden: 1152, heads: 16),
  ]
  private static let patches = ["2", "4", "8"]

  let text: String
  let shape: DiTShape

  init?(argument: String) {
    let parts = argument.uppercased().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, parts[0].hasPrefix("DIT-"), let size = DiTName.sizes[String(parts[0].dropFirst(4))],
      DiTName.patches.contains(parts[1]), let patch = Int(parts[1])
    else { return nil }
    text = "DiT-\(parts[0].dropFirst(4))/\(patch)"
    shape = DiTShape(depth: size.depth, hidden: size.hidden, heads: size.heads, patch: patch)
  }

  var defaultValueDescription: String { text }
}

/// Which shape, and which of all the random models of that shape.
struct ShapeOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("A shape of the public family: DiT-S, -B, -L or -XL, each /2, /4 or /8, at 256 pixels.", valueName: "name"))
  var config: DiTName = DiTName(argument: "DiT-XL/2")!
  @Option(help: "Blocks, in place of the shape's.") var depth: Int?
  @Option(help: "Width of a token, in place of the shape's.") var hidden: Int?
  @Option(help: "Attention heads, in place of the shape's.") var heads: Int?
  @Option(help: "Seed of the weights.") var seed: UInt64 = 0

  var shape: DiTShape {
    let named = config.shape
    return DiTShape(
      depth: depth ?? named.depth, hidden: hidden ?? named.hidden, heads: heads ?? named.heads, patch: named.patch)
  }

  /// "DiT-XL/2", and what of it is otherwise: "DiT-S/8, depth 1".
  var name: String {
    let others = [("depth", depth), ("hidden", hidden), ("heads", heads)].compactMap { name, value in value.map { "\(name) \($0)" } }
    return ([config.text] + others).joined(separator: ", ")
  }

  func validate() throws {
    let shape = shape
    for (name, value, limit) in [("depth", shape.depth, 64), ("hidden", shape.hidden, 8192), ("heads", shape.heads, 256)]
    where !(1...limit).contains(value) {
      throw ValidationError("--\(name): 1 to \(limit) expected, \(value) found.")
    }
    guard shape.hidden % 16 == 0, shape.hidden % shape.heads == 0 else {
      throw ValidationError("--hidden: a multiple of 16 and of the \(shape.heads) heads expected, \(shape.hidden) found.")
    }
  }
}
