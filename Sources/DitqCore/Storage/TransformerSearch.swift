// TransformerSearch: tells by names alone whether tensors are those of a transformer in the public layout, and under which prefix their
// names stand: wrappers of modules put "module." or "_orig_mod." before them, trainers the name of their member. Refuses nothing.

struct TransformerSearch {
  /// What every one has, whatever its size.
  static let names = [
    "x_embedder.proj.weight", "pos_embed", "t_embedder.mlp.0.weight", "y_embedder.embedding_table.weight", "blocks.0.attn.qkv.weight",
    "final_layer.linear.weight",
  ]
  /// More are not looked for: a file may put any before each name.
  private static let mostPrefixes = 16
  private static let prefixByteCount = 256

  struct Finding {
    /// With its last dot; empty where names stand alone.
    let prefix: String
    /// By index into `names`.
    fileprivate(set) var isThere = [Bool](repeating: false, count: TransformerSearch.names.count)

    var isWhole: Bool { isThere.allSatisfy { $0 } }
    var missing: String? { isThere.firstIndex(of: false).map { TransformerSearch.names[$0] } }
  }

  private(set) var findings: [Finding] = []

  var whole: [Finding] { findings.filter { $0.isWhole } }

  /// Whether this is one of the names.
  mutating func note(_ name: UnsafeRawBufferPointer) -> Bool {
    for (index, end) in TransformerSearch.names.enumerated() {
      let length = name.count - end.utf8.count
      guard length >= 0, length <= TransformerSearch.prefixByteCount, length == 0 || name[length - 1] == UInt8(ascii: "."),
        isEqual(UnsafeRawBufferPointer(rebasing: name[length...]), end)
      else { continue }
      let prefix = text(name, 0..<length)
      if let place = findings.firstIndex(where: { $0.prefix == prefix }) {
        findings[place].isThere[index] = true
      } else if findings.count < TransformerSearch.mostPrefixes {
        findings.append(Finding(prefix: prefix))
        findings[findings.count - 1].isThere[index] = true
      }
      return true
    }
    return false
  }
}

/// Whether a key or prefix says that what stands there is an average over the steps of training: one of its words does.
func namesAverage(_ key: String) -> Bool {
  let isLetter = UInt8(ascii: "a")...UInt8(ascii: "z")
  return asciiLowercased(key).utf8.split { !isLetter.contains($0) }.contains {
    switch String(decoding: $0, as: UTF8.self) {
    case "ema", "shadow", "average", "averaged", "swa": true
    default: false
    }
  }
}
