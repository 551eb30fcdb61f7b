// TorchCheckpoint: the tensors of a file of torch.save (.pt, .bin), used in place from its bytes; those whose elements stand apart are
// copied. Relies on TorchArchive, the restricted pickle machine and TorchSearch, which says which tensors are meant. What no weight depends
// on may be anything. Refuses the format before torch 1.6, and a file without a dict of tensors.

/// Whether bytes are those of torch.save. A safetensors file begins with the length of its header, for which these would be too long.
func isTorchFile(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.starts(with: [0x50, 0x4b, 3, 4]) || isBarePickle(bytes) }

private func isBarePickle(_ bytes: UnsafeRawBufferPointer) -> Bool {
  bytes.count > 8 && bytes[0] == 0x80 && (2...5).contains(bytes[1])
    && bytes.loadUnaligned(as: UInt64.self).littleEndian > UInt64(Limit.headerByteCount)
}

func readTorchCheckpoint(_ bytes: Bytes, named path: String, _ allocator: Allocator) throws(DitqError) -> CheckpointFile {
  do throws(DitqError) {
    guard !isBarePickle(bytes.buffer) else {
      throw DitqError(
        .unsupported,
        "a zip file expected, a bare pickle found, as torch wrote before 1.6: save it anew, torch.save(torch.load(path, map_location=\"cpu\"), path)"
      )
    }
    let archive = try TorchArchive(bytes.buffer)
    do throws(DitqError) {
      let (graph, root) = try PickleMachine.run(UnsafeRawBufferPointer(rebasing: bytes.buffer[archive.pickle]))
      let whole = try dictionary(root, of: graph), choice = try TorchSearch.choose(in: whole, of: graph)
      return CheckpointFile(
        tensors: try collected(graph, choice.dict, archive, bytes, allocator), source: source(choice), arguments: graph.arguments(in: whole)
      )
    } catch {
      throw error.said(of: "data.pkl")
    }
  } catch {
    throw error.said(of: path)
  }
}

private func dictionary(_ root: PickleValue, of graph: PickleGraph) throws(DitqError) -> Int32 {
  if let dict = graph.dict(root) { return dict }
  guard case .object = root, !graph.isTensor(root) else {
    throw DitqError(.malformed, "a dict of tensors expected, \(graph.kind(of: root)) found")
  }
  throw DitqError(
    .unsupported,
    "a dict of tensors expected, \(graph.kind(of: root)) found: nothing is imported or executed; save what its state_dict() returns")
}

private func source(_ choice: TorchSearch.Choice) -> String {
  let place = choice.keys.isEmpty ? "" : ", " + text(ofKeys: choice.keys)
  return "torch checkpoint" + place + (choice.passedOver.map { " (\($0))" } ?? "")
}

/// The tensors among a dict's values. Those that are not contiguous get a block of memory, all together no larger than the file.
private func collected(
  _ graph: PickleGraph, _ dict: Int32, _ archive: TorchArchive, _ bytes: Bytes, _ allocator: Allocator
) throws(DitqError) -> TensorCollection {
  var found: [(name: String, tensor: TorchTensor)] = [], opaque: [OpaqueTensor] = [], copied = 0, nameBytes = 0
  for (key, value) in graph.items(dict) {
    try checkCall()
    guard case .object(let object) = value else { continue }
    guard let name = graph.text(key), found.count + opaque.count < Limit.tensors else {
      guard graph.tensorCall(value) != nil else { continue }
      throw DitqError(
        .unsupported, "at most \(Limit.tensors) tensors expected, named by strings of at most \(Limit.pickleTextByteCount) bytes")
    }
    // Careful: names stand in the pickle once each, but a short one may ask for a long one again and again.
    nameBytes += name.utf8.count
    guard nameBytes <= graph.bytes.count else { throw DitqError(.malformed, "\(name): two tensors of this name") }
    let weight: TorchWeight
    do throws(DitqError) {
      weight = try graph.weight(object, in: archive)
    } catch {
      throw error.said(of: name)
    }
    switch weight {
    case .numbers(let tensor):
      guard tensor.copyByteCount <= bytes.count - copied else {
        throw DitqError(.unsupported, "\(name): shape \(text(ofShape: tensor.shape)): expanded to more bytes than the file has")
      }
      copied += tensor.copyByteCount
      try found.add((name, tensor))
    case .opaque(let kind):
      try opaque.add(OpaqueTensor(name: name, kind: kind))
    }
  }
  let block = copied == 0 ? nil : try Block(byteCount: copied, from: allocator, for: "tensors that are not contiguous")
  var place = block?.start, tensors = try [Tensor](room: found.count)
  for (name, tensor) in found {
    tensors.append(try tensor.tensor(named: name, copiedTo: place))
    place = place.map { $0 + tensor.copyByteCount }
  }
  return try TensorCollection(tensors, opaque: opaque, metadata: [], in: [bytes] + (block.map { [Bytes($0)] } ?? []))
}
