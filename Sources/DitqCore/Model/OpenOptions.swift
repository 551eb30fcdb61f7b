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

  /// What is not yet implemented is said so.
  func requireSupported() throws(DitqError) {
    for (name, value) in [("decoder", decoder), ("variant", variant)] where value != nil {
      throw DitqError(.unsupported, name + ": NULL expected, as this version does not know it yet, a text found")
    }
  }
}
