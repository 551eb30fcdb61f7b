// CheckpointFile: what one file holds, whatever reader made it, and the transformer in it. Relies on Tensor and JSON. Refuses names under
// several prefixes where each would make a transformer and none is the average of another.

struct CheckpointFile {
  let tensors: TensorCollection
  /// What the tensors come from, in words.
  let source: String
  /// The scalar members of a training checkpoint's "args", an object; nil where there are none. What was set last stands first.
  let arguments: JSON?

  /// The same without the prefix that stands before all names of the transformer; what stands beside it is no part of it, and passed over.
  func withoutPrefix() throws(DitqError) -> CheckpointFile {
    var search = TransformerSearch()
    for tensor in tensors.tensors { Array(tensor.name.utf8).withUnsafeBytes { _ = search.note($0) } }
    let prefixes = search.whole.map { $0.prefix }
    guard !prefixes.contains(where: { $0 == "" }), let prefix = try chosen(prefixes) else { return self }
    let part = try tensors.part(under: prefix), others = tensors.tensors.count - part.tensors.count
    let beside = others == 0 ? "" : " (\(others) \(others == 1 ? "tensor" : "tensors") beside passed over)"
    return CheckpointFile(tensors: part, source: "\(source), names under \(jsonLiteral(prefix))\(beside)", arguments: arguments)
  }

  private func chosen(_ prefixes: [String]) throws(DitqError) -> String? {
    let averages = prefixes.filter { namesAverage($0) }, candidates = averages.isEmpty ? prefixes : averages
    guard candidates.count <= 1 else {
      throw DitqError(
        .unsupported,
        "names under \(jsonLiteral(candidates[0])) and under \(jsonLiteral(candidates[1])) both make a transformer: save the one that is meant"
      )
    }
    return candidates.first
  }
}
