// TensorDirectory: the tensors of a model directory, in one file or in the shards that an index names, safetensors or torch's. Relies on
// Safetensors, TorchCheckpoint and JSON. Refuses shards outside the directory, and shards that hold more, less or other tensors than the
// index says.

/// The tensors of a directory, and where they were found.
struct DirectoryTensors {
  let tensors: TensorCollection
  /// The file that was read, or the index of shards: its name in the directory.
  let file: String
  /// Whether they are of the variant that was asked for; there may be others only.
  let isVariant: Bool
}

/// The tensors of a directory, of the first that is there in the order of diffusers 0.42: shards of safetensors, one safetensors file, one
/// .bin, shards of .bin. (It reads the last only where safetensors are ruled out.) A variant goes before what has none; as in diffusers, a
/// part of a pipeline need not have it.
func openTensors(directory: String, stem: String, variant: String? = nil, _ allocator: Allocator) throws(DitqError) -> DirectoryTensors {
  for variant in variant == nil ? [nil] : [variant, nil] {
    for (suffix, isSharded) in [(".safetensors", true), (".safetensors", false), (".bin", false), (".bin", true)] {
      let file = fileName(stem, suffix, isSharded: isSharded, variant), path = directory + "/" + file
      guard exists(path) else { continue }
      let tensors: TensorCollection
      if isSharded {
        do throws(DitqError) {
          tensors = try openShards(in: directory, try readIndex(path, suffix), allocator)
        } catch {
          throw error.said(of: path)
        }
      } else {
        tensors = try openTensors(path, allocator)
      }
      return DirectoryTensors(tensors: tensors, file: file, isVariant: variant != nil)
    }
  }
  var text = "\(directory): neither \(stem).safetensors nor \(stem).bin found, nor an index of either"
  for (index, variant) in try variants(of: stem, inDirectory: directory).enumerated() {
    text += (index == 0 ? "; there is the variant " : ", ") + jsonLiteral(variant)
  }
  throw DitqError(.notFound, text)
}

/// "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json".
private func fileName(_ stem: String, _ suffix: String, isSharded: Bool, _ variant: String?) -> String {
  let variant = variant.map { "." + $0 } ?? ""
  return isSharded ? stem + suffix + ".index" + variant + ".json" : stem + variant + suffix
}

/// The variants whose weights, or indices of shards, are in a directory.
private func variants(of stem: String, inDirectory directory: String) throws(DitqError) -> [String] {
  var variants: [String] = []
  for name in try names(inDirectory: directory) {
    let parts = split(name, at: ".")
    let place = parts.count == 3 && (parts[2] == "safetensors" || parts[2] == "bin") ? 1 : parts.count == 5 && parts[2] == "index" ? 3 : nil
    guard let place, parts[0] == stem, !parts[place].contains("-") else { continue }
    if !variants.contains(where: { $0 == parts[place] }) { try variants.add(parts[place]) }
  }
  return variants
}

/// The reader goes by the name: in a directory, that says what a file is.
private func openTensors(_ path: String, _ allocator: Allocator) throws(DitqError) -> TensorCollection {
  let bytes = try Bytes(mapping: path)
  return path.ends(withBytesOf: ".bin")
    ? try readTorchCheckpoint(bytes, named: path, allocator).tensors : try readSafetensors(bytes, named: path)
}

private func exists(_ path: String) -> Bool { if case .nothing = kind(of: path) { false } else { true } }

/// The shard that the index gives for a tensor.
private struct Assignment {
  let tensor: String
  let shard: String
}

/// What the index assigns, ordered by shard and then by tensor.
private func readIndex(_ path: String, _ suffix: String) throws(DitqError) -> [Assignment] {
  let bytes = try Bytes(mapping: path)
  guard let map = try JSON(parsing: bytes.buffer).member("weight_map")?.members else {
    throw DitqError(.malformed, "an object with an object \"weight_map\" expected")
  }
  var assignments: [Assignment] = [], keys: [String] = []
  for member in map {
    guard let shard = member.value.string else {
      throw DitqError(.malformed, "\(member.name): the name of a shard expected, \(member.value.kindName) found")
    }
    guard shard.ends(withBytesOf: suffix), !shard.contains("/"), !shard.contains("\0") else {
      throw DitqError(.malformed, "\(member.name): the plain name of a \(suffix) file expected, \(jsonLiteral(shard)) found")
    }
    try assignments.add(Assignment(tensor: member.name, shard: shard))
    try keys.add(shard + "\0" + member.name)
  }
  return try order(ofNames: keys).order.mapped { assignments[$0] }
}

private func openShards(in directory: String, _ assignments: [Assignment], _ allocator: Allocator) throws(DitqError) -> TensorCollection {
  var shards: [TensorCollection] = []
  var rest = assignments[...]
  while let name = rest.first?.shard {
    let path = "\(directory)/\(name)"
    let shard = try openTensors(path, allocator)
    let assigned = rest.prefix { $0.shard == name }
    try check(shard, named: name, holds: assigned)
    try shards.add(shard)
    rest = rest.dropFirst(assigned.count)
  }
  return try TensorCollection(merging: shards)
}

/// Exactly these tensors. As the index gives each tensor one shard, it follows that no two shards hold tensors of one name.
private func check(_ shard: TensorCollection, named name: String, holds assigned: ArraySlice<Assignment>) throws(DitqError) {
  for assignment in assigned where shard.find(assignment.tensor) == nil {
    throw DitqError(.malformed, "\(assignment.tensor): not in \(name), where the index places it")
  }
  // Both are sorted, and the shard has all that is assigned: the first difference is a tensor too many.
  var expected = assigned.makeIterator()
  for tensor in shard.tensors {
    guard let tensorExpected = expected.next()?.tensor, tensorExpected == tensor.name else {
      throw DitqError(.malformed, "\(tensor.name): in \(name), where the index does not place it")
    }
  }
}
