// LayerPlan: which layers are quantized and how, from what the options say of all and what rules say of some. Layers are known by the
// checkpoint's own names.

/// What a rule changes for the layers whose name matches its pattern; nil where it leaves the options' choice.
package struct LayerRule {
  /// '*' stands for any run of characters.
  let pattern: String
  /// 4, 8, or 32 to keep the layer in float.
  let weightBits: Int?
  let weightGroup: Int?
  /// 8 or 32.
  let activationBits: Int?

  @export(interface)
  package init(pattern: String, weightBits: Int?, weightGroup: Int?, activationBits: Int?) throws(DitqError) {
    try LayerRule.check(pattern, "weight_bits", weightBits, [4, 8, 32])
    try LayerRule.check(pattern, "activation_bits", activationBits, [8, 32])
    (self.pattern, self.weightBits, self.weightGroup, self.activationBits) = (pattern, weightBits, weightGroup, activationBits)
  }

  /// Careful: as a loop over both, which the compiler unrolls, its code differed from build to build. It orders what such a loop leaves behind
  /// by addresses of its own.
  private static func check(_ pattern: String, _ name: String, _ value: Int?, _ allowed: [Int]) throws(DitqError) {
    guard let value, !allowed.contains(value) else { return }
    throw DitqError(.invalidArgument, "rule \"\(pattern)\": \(name): 0 (no change), \(text(ofShape: allowed)) expected, \(value) found")
  }

  /// Rules of the decoder's layers begin with their prefix; no other is about them.
  var isOfDecoder: Bool { pattern.starts(withBytesOf: LayerRule.decoderPrefix) }
  static let decoderPrefix = "vae."

  func matches(_ name: String) -> Bool { withBytes(of: pattern) { pattern in withBytes(of: name) { isMatch(pattern[...], $0[...]) } } }
}

/// Whether a text matches a pattern in which '*' stands for any run of bytes: greedy from the left, going back to the last '*' where it fails.
private func isMatch(_ pattern: Slice<UnsafeBufferPointer<UInt8>>, _ text: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
  var (p, t) = (pattern.startIndex, text.startIndex)
  var star: (p: Int, t: Int)?
  while t < text.endIndex {
    if p < pattern.endIndex, pattern[p] == UInt8(ascii: "*") {
      star = (p, t)
      p += 1
    } else if p < pattern.endIndex, pattern[p] == text[t] {
      (p, t) = (p + 1, t + 1)
    } else if let last = star {
      star = (last.p, last.t + 1)
      (p, t) = (last.p + 1, last.t + 1)
    } else {
      return false
    }
  }
  return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
}

/// How one layer is quantized; nil keeps it in float.
struct LayerPlan {
  var format: WeightFormat
  /// 8, or 32 for float activations.
  var activationBits: Int

  /// Group of 4-bit weights where the options leave it open: the largest power of two that divides the widths of the public models.
  static let automaticGroup = 128

  /// The plan of a layer: qkv, proj, fc1 and fc2 as `standard` says; adaLN linears the same with float activations, because their input is
  /// one vector an image; everything else in float. Then each rule that matches, the last one winning.
  init?(_ name: String, standard: LayerPlan, groupIsAutomatic: Bool, isOfEmbedder: Bool = false, rules: [LayerRule]) {
    self = standard
    var isFloat = !name.starts(withBytesOf: "blocks.") || isOfEmbedder
    if name.ends(withBytesOf: ".adaLN_modulation.1") { activationBits = 32 }
    var groupIsAutomatic = groupIsAutomatic
    for rule in rules where rule.matches(name) {
      if let bits = rule.weightBits { (format.bits, isFloat) = (bits, bits == 32) }
      if let group = rule.weightGroup { (format.group, groupIsAutomatic) = (group, false) }
      if let bits = rule.activationBits { activationBits = bits }
    }
    if groupIsAutomatic { format.group = format.bits == 4 ? LayerPlan.automaticGroup : 0 }
    if isFloat { return nil }
  }

  init(format: WeightFormat, activationBits: Int) { (self.format, self.activationBits) = (format, activationBits) }
}
