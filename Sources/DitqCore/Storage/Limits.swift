// Limits: the most that a file may ask for, of everything that costs memory, time or stack. What is more is refused before anything is
// allocated for it. SECURITY.md lists them, and a test compares. They bound work as well: reading a file takes time in proportion to its
// headers, never to a number that stands in them.

enum Limit {
  // Tensors, in any format; names of zip entries too.
  static let tensors = 100_000
  static let nameByteCount = 1024
  static let rank = 8
  // Headers of safetensors files, and JSON anywhere.
  static let headerByteCount = 100_000_000
  static let jsonByteCount = 100_000_000
  static let jsonValues = 1 << 22
  static let jsonNesting = 64
  // Zip archives and the pickles in them. The pickle of the largest public checkpoint with its optimizer has a few hundred kilobytes. Each
  // opcode makes one value at most, so their number bounds stack, memo and lists as well. Texts are names and keys.
  static let zipEntries = 200_000
  static let pickleByteCount = 64 << 20
  static let pickleOpcodes = 1 << 21
  static let pickleNesting = 1000
  static let pickleTextByteCount = 1024
  static let checkpointArguments = 1000
  // What opening copies of a file's tensors, in bytes for each of the file's own; or this much, for small files. Floats are at most twice what
  // they were in 16 bits, but tensors may share their numbers, and each is copied for itself.
  static let copiesPerByte = 4
  static let copiedByteCount = 64 << 20
  // Sizes of a model: whatever is computed from them fits 64 bits.
  static let hiddenSize = 4...65536
  static let depth = 1...1024
  static let heads = 1...1024
  static let headSize = 1...1024
  static let patchSize = 1...256
  static let channels = 1...1024
  static let latentSize = 1...8192
  static let mlpSize = 1...1_048_576
  static let classes = 1...10_000_000
  static let tokens = 1...65536
  // Pixels of the latents that a decoder, whose attention is over all of them, is given.
  static let decoderTokens = 1...65536
}
