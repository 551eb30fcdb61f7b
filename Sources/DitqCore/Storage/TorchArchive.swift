// TorchArchive: the zip file of a checkpoint of torch.save. Relies on ZipArchive. Refuses archives of something else, and big-endian numbers.
//
//     FOLDER/data.pkl   a pickle of the object that was saved; its storages are persistent ids
//     FOLDER/data/KEY   the bytes of a storage, each
//     FOLDER/byteorder  "little" or "big"; files of older versions do not say

struct TorchArchive {
  /// Keys are numbers; longer ones name nothing.
  static let keyByteCount = 64

  let bytes: UnsafeRawBufferPointer
  /// Where FOLDER/data.pkl stands.
  let pickle: Range<Int>
  /// Those of FOLDER/data/, in the byte order of their keys. Careful: names of entries may be long and alike, and a file may ask for storages
  /// as often as it likes; so their keys are kept apart.
  private let keys: [String]
  private let storages: [ZipEntry]

  init(_ bytes: UnsafeRawBufferPointer) throws(DitqError) {
    let zip: ZipArchive
    do throws(DitqError) { zip = try ZipArchive(bytes) } catch { throw error.said(of: "zip") }
    var pickle: ZipEntry?, count = 0
    for entry in zip.entries where entry.name.ends(withBytesOf: "/data.pkl") { (pickle, count) = (entry, count + 1) }
    guard let pickle, count == 1 else {
      throw DitqError(.malformed, "zip: one FOLDER/data.pkl expected, as torch.save writes it, \(count) found")
    }
    let folder = pickle.name.bytes(0..<pickle.name.utf8.count - "data.pkl".utf8.count)
    guard zip.find(folder + "constants.pkl") == nil else {
      throw DitqError(
        .unsupported, "a TorchScript module found, weights expected: save those, torch.save(torch.jit.load(path).state_dict(), path)")
    }
    if let order = zip.find(folder + "byteorder") {
      let found = text(bytes, order.start..<order.start + min(order.byteCount, 16))
      guard found == "little" else { throw DitqError(.unsupported, "byteorder: \"little\" expected, \(jsonLiteral(found)) found") }
    }
    let data = folder + "data/"
    var keys: [String] = [], storages: [ZipEntry] = []
    for entry in zip.entries where entry.name.starts(withBytesOf: data) {
      guard entry.name.utf8.count - data.utf8.count <= TorchArchive.keyByteCount else { continue }
      try keys.add(entry.name.bytes(from: data.utf8.count))
      try storages.add(entry)
    }
    (self.bytes, self.pickle, self.keys, self.storages) = (bytes, pickle.range, keys, storages)
  }

  func storage(_ key: String) -> ZipEntry? {
    let place = firstPlace(notBefore: key, of: keys.count) { keys[$0] }
    return place < keys.count && keys[place] == key ? storages[place] : nil
  }
}
