// The four widths in which DiT (Peebles & Xie 2023, table 1) and SiT were published, and the heads of each.

struct PublicSize {
  let name: String
  let hiddenSize: Int
  let headCount: Int

  static let all = [
    PublicSize(name: "S", hiddenSize: 384, headCount: 6), PublicSize(name: "B", hiddenSize: 768, headCount: 12),
    PublicSize(name: "L", hiddenSize: 1024, headCount: 16), PublicSize(name: "XL", hiddenSize: 1152, headCount: 16),
  ]

  static func of(hiddenSize: Int) -> PublicSize? { all.first { $0.hiddenSize == hiddenSize } }

  /// "DiT-XL/2" and "SiT-XL/2" are both an XL.
  static func named(_ model: String) -> PublicSize? {
    let parts = split(model, at: "-", into: 2)
    guard parts.count == 2, parts[0] == "DiT" || parts[0] == "SiT" else { return nil }
    let size = split(parts[1], at: "/")
    return all.first { size.count == 2 && $0.name == size[0] }
  }
}
