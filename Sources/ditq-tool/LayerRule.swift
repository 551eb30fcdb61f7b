// A rule of the command line, PATTERN=BITS[:GROUP][aACT], as in '*.attn.proj=4:64': how the layers of a pattern are quantized.
//
// Here is the grammar alone; which groups there are, and whether a pattern matches a layer, is the library's to say.

import ArgumentParser
import CDitq

struct LayerRule {
  let pattern: String
  /// 4, 8 or DITQ_KEEP_FLOAT.
  private let weightBits: Int32
  /// -1 where the rule names none.
  private let weightGroup: Int32
  /// 8 or DITQ_KEEP_FLOAT; 0 where the rule names none.
  private let activationBits: Int32

  /// Throws what is wrong with the text.
  init(_ text: String) throws {
    guard let equals = text.lastIndex(of: "="), equals != text.startIndex else {
      throw ValidationError("PATTERN=BITS[:GROUP][aACT] expected, as in '*.fc2=8' or '*.attn.proj=4:64a8'.")
    }
    pattern = String(text[..<equals])
    let how = text[text.index(after: equals)...]
    guard how != "float" else {
      (weightBits, weightGroup, activationBits) = (Int32(DITQ_KEEP_FLOAT), -1, 0)
      return
    }
    let halves = how.split(separator: "a", maxSplits: 1, omittingEmptySubsequences: false)
    let weights = halves[0].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard weights[0] == "4" || weights[0] == "8", let bits = Int32(weights[0]) else {
      throw ValidationError("4, 8 or float expected after '=', '\(how)' found.")
    }
    weightBits = bits
    weightGroup = weights.count == 1 ? -1 : try WeightGroup.parse(String(weights[1]), allowsAuto: false)
    guard halves.count == 1 || halves[1] == "8" || halves[1] == "32" else {
      throw ValidationError("8 or 32 bits of activations expected after 'a', '\(halves[1])' found.")
    }
    activationBits = halves.count == 1 ? 0 : Int32(halves[1]) ?? 0
  }

  /// All convolutions of the decoder that can be, in 8 bits.
  static var decoder: LayerRule { get throws { try LayerRule("vae.*=8") } }

  /// `pattern` is this rule's as a C string, which the caller keeps alive.
  func forLibrary(pattern: UnsafePointer<CChar>) -> ditq_layer_rule {
    ditq_layer_rule(
      struct_size: UInt32(MemoryLayout<ditq_layer_rule>.size), weight_bits: weightBits, weight_group: weightGroup,
      activation_bits: activationBits, pattern: pattern)
  }
}

/// How many inputs share a scale, by the words of the command line.
enum WeightGroup {
  static let automatic: Int32 = -1

  /// As the command line spells it.
  static func text(_ group: Int32) -> String { group == 0 ? "row" : String(group) }

  /// N, row or auto, as ditq.h counts them.
  static func parse(_ text: String, allowsAuto: Bool = true) throws -> Int32 {
    switch text {
    case "row": return 0
    case "auto" where allowsAuto: return automatic
    default:
      guard let number = Int32(text), number > 0 else {
        throw ValidationError("A number of inputs\(allowsAuto ? ", row or auto" : " or row") expected, '\(text)' found.")
      }
      return number
    }
  }
}
