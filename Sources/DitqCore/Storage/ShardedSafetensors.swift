// ShardedSafetensors: the tensors of a model directory, in one file or in the shards that an index names. Relies on Safetensors and JSON.
// Refuses shards outside the directory, and shards that hold more, less or other tensors than the index says.

/// The tensors of DIR/STEM.safetensors or, if there is none, of the shards in DIR/STEM.safetensors.index.json.
func openTensors(directory: String, stem: String) throws(DitqError) -> TensorCollection {
  let file = "\(directory)/\(stem).safetensors"
  if exists(file) { return try readSafetensors(Bytes(mapping: file), named: file) }
  let index = "\(file).index.json"
  if exists(index) {
    do throws(DitqError) {
      return try openShards(in: directory, try readIndex(index))
    } catch {
      throw error.said(of: index)
    }
  }
  let pickle = "\(directory)/\(stem).bin"
  if exists(pickle) { throw DitqError(.unsupported, "\(pickle): a torch pickle; this version reads safetensors") }
  throw DitqError(.notFound, "\(directory): neither \(stem).safetensors nor \(stem).safetensors.index.json found")
}

private func exists(_ path: String) -> Bool { if case .nothing = kind(of: path) { false } else { true } }

/// The shard that the index gives for a tensor.
private struct Assignment {
  let tensor: String
  let shard: String
}

/// What the index assigns, ordered by shard and then by tensor.
private func readIndex(_ path: String) throws(DitqError) -> [Assignment] {
  let bytes = try Bytes(mapping: path)
  guard let map = try JSON(parsing: bytes.buffer).member("weight_map")?.members else {
    throw DitqError(.malformed, "an object with an object \"weight_map\" expected")
  }
  var assignments: [Assignment] = []
  for member in map {
    guard let shard = member.value.string else {
      throw DitqError(.malformed, "\(member.name): the name of a shard expected, \(member.value.kindName) found")
    }
    guard shard.ends(withBytesOf: ".safetensors"), !shard.utf8.contains(UInt8(ascii: "/")), !shard.utf8.contains(0) else {
      throw DitqError(.malformed, "\(member.name): the plain name of a .safetensors file expected, \(jsonLiteral(shard)) found")
    }
    assignments.append(Assignment(tensor: member.name, shard: shard))
  }
  return assignments.sorted { $0.shard == $1.shard ? precedes($0.tensor, $1.tensor) : precedes($0.shard, $1.shard) }
}

private func openShards(in directory: String, _ assignments: [Assignment]) throws(DitqError) -> TensorCollection {
  var shards: [TensorCollection] = []
  var rest = assignments[...]
  while let name = rest.first?.shard {
    let path = "\(directory)/\(name)"
    let shard = try readSafetensors(Bytes(mapping: path), named: path)
    let assigned = rest.prefix { $0.shard == name }
    try check(shard, named: name, holds: assigned)
    shards.append(shard)
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
