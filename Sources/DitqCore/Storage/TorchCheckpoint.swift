// TorchCheckpoint: the tensors of a file of torch.save (.pt, .bin), used in place from its bytes; those whose elements stand apart are
// copied. Relies on ZipArchive and the restricted pickle machine. Refuses the format before torch 1.6, big-endian numbers, and a file
// without a dict of tensors.
//
//     FOLDER/data.pkl   a pickle of the object that was saved; its storages are persistent ids
//     FOLDER/data/KEY   the bytes of a storage, each
//     FOLDER/byteorder  "little" or "big"; files of older versions do not say
//
// The object is a dict of tensors, or holds one: of a training checkpoint {"model": …, "ema": …, "opt": …, "args": …} the average "ema" is
// what samples are made with.

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
    let archive = try openArchive(bytes.buffer)
    let (machine, whole, dict, key) = try unpickled(archive)
    let source = key.map { "torch checkpoint, \"\($0)\"" } ?? "torch checkpoint"
    return CheckpointFile(
      tensors: try collected(machine, machine.lists[dict], bytes, allocator), source: source, arguments: machine.arguments(in: whole))
  } catch {
    throw error.said(of: path)
  }
}

private func openArchive(_ bytes: UnsafeRawBufferPointer) throws(DitqError) -> TorchArchive {
  let zip: ZipArchive
  do throws(DitqError) { zip = try ZipArchive(bytes) } catch { throw error.said(of: "zip") }
  var pickle: ZipEntry?, count = 0
  for entry in zip.entries where entry.name.ends(withBytesOf: "/data.pkl") { (pickle, count) = (entry, count + 1) }
  guard let pickle, count == 1 else {
    throw DitqError(.malformed, "zip: one FOLDER/data.pkl expected, as torch.save writes it, \(count) found")
  }
  let archive = TorchArchive(bytes, zip, pickle: pickle)
  guard let order = archive.find("byteorder") else { return archive }
  let found = text(bytes, order.start..<order.start + min(order.byteCount, 16))
  guard found == "little" else { throw DitqError(.unsupported, "byteorder: \"little\" expected, \(jsonLiteral(found)) found") }
  return archive
}

/// The machine that has run, the list of the dict that was saved, that of its dict of tensors, and under which key this stood.
private func unpickled(_ archive: TorchArchive) throws(DitqError) -> (PickleMachine, whole: Int, dict: Int, key: String?) {
  do throws(DitqError) {
    let pickle = UnsafeRawBufferPointer(rebasing: archive.bytes[archive.pickle.range])
    let machine = try PickleMachine(pickle, in: archive)
    let root = try machine.run()
    guard case .dict(let whole) = root else { throw DitqError(.malformed, "a dict of tensors expected, \(root.kindName) found") }
    for key in ["ema", "model", "state_dict"] {
      if let dict = machine.tensorDict(key, in: whole) { return (machine, whole, dict, key) }
    }
    guard machine.hasTensors(whole) else {
      throw DitqError(.malformed, "no tensors found: a dict of tensors expected, or one under \"ema\", \"model\" or \"state_dict\"")
    }
    return (machine, whole, whole, nil)
  } catch {
    throw error.said(of: "data.pkl")
  }
}

extension PickleMachine {
  /// The dict of tensors under a key of a dict: what was set last counts.
  fileprivate func tensorDict(_ key: String, in dict: Int) -> Int? {
    let items = lists[dict]
    for index in stride(from: items.count - 2, through: 0, by: -2) where isText(items[index], key) {
      if case .dict(let value) = items[index + 1], hasTensors(value) { return value }
      return nil
    }
    return nil
  }

  /// The scalar members of "args", whether a dict or a namespace; what was set last stands first.
  fileprivate func arguments(in dict: Int) -> JSON? {
    let items = lists[dict]
    for index in stride(from: items.count - 2, through: 0, by: -2) where isText(items[index], "args") {
      guard case .dict(let list) = items[index + 1] else { return nil }
      let members = lists[list]
      var found: [JSON.Member] = []
      for index in stride(from: members.count - 2, through: 0, by: -2) where found.count < Limit.checkpointArguments {
        guard let name = text(members[index]), let value = scalar(members[index + 1]) else { continue }
        found.append(JSON.Member(name: name, value: value))
      }
      return .object(found)
    }
    return nil
  }

  private func scalar(_ value: PickleValue) -> JSON? {
    switch value {
    case .none: .null
    case .bool(let truth): .bool(truth)
    case .integer(let number): Int(exactly: Double(number)) == number ? .number(Double(number)) : nil
    case .text: text(value).map { .string($0) }
    default: nil
    }
  }

  fileprivate func hasTensors(_ dict: Int) -> Bool {
    lists[dict].contains { if case .tensor = $0 { true } else { false } }
  }
}

/// The tensors among a dict's values. Those that are not contiguous get a block of memory, all together no larger than the file.
private func collected(
  _ machine: PickleMachine, _ items: [PickleValue], _ bytes: Bytes, _ allocator: Allocator
) throws(DitqError) -> TensorCollection {
  var found: [(name: String, tensor: TorchTensor)] = [], copied = 0
  for index in stride(from: 0, to: items.count, by: 2) {
    guard case .tensor(let number) = items[index + 1] else { continue }
    guard let name = machine.text(items[index]), found.count < Limit.tensors else {
      throw DitqError(
        .unsupported, "at most \(Limit.tensors) tensors expected, named by strings of at most \(Limit.pickleTextByteCount) bytes")
    }
    let tensor = machine.tensors[number]
    guard tensor.copyByteCount <= bytes.count - copied else {
      throw DitqError(.unsupported, "\(name): shape \(text(ofShape: tensor.shape)): expanded to more bytes than the file has")
    }
    copied += tensor.copyByteCount
    found.append((name, tensor))
  }
  let block = copied == 0 ? nil : try Block(byteCount: copied, from: allocator, for: "tensors that are not contiguous")
  var place = block?.start, tensors: [Tensor] = []
  for (name, tensor) in found {
    tensors.append(tensor.tensor(named: name, copiedTo: place))
    place = place.map { $0 + tensor.copyByteCount }
  }
  return try TensorCollection(tensors, metadata: [], in: [bytes] + (block.map { [Bytes($0)] } ?? []))
}
