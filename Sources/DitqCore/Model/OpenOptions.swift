// OpenOptions: what a host asks for on opening a model.

package struct OpenOptions {
  // nil where the host leaves the choice.
  package var compatibility: Compatibility?
  package var headCount: Int?
  package var allocator = Allocator.system
  /// 64 hexadecimal digits.
  package var expectedSHA256: String?
  /// What files do not say of a model, a JSON object of the fields of ditq.config.
  package var configJSON: String?
  /// The path of a decoder to use in place of the model's own.
  package var decoder: String?
  /// Which of the variants that lie side by side in a directory, such as "fp16".
  package var variant: String?
  package init() {}

  /// A variant is a part of files' names.
  func check() throws(DitqError) {
    guard let variant else { return }
    let isPlain = variant.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ".") && $0 != 0x7f }
    guard isPlain && !variant.isEmpty else {
      throw DitqError(.invalidArgument, "variant: a name such as \"fp16\" expected, \(jsonLiteral(variant)) found")
    }
  }
}
