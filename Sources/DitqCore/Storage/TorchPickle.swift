// What the names in a pickle of torch.save mean: storages, tensors, and a few classes that carry no weights. An extension of the machine
// in Pickle.swift. Refuses every other name, before anything could be made of it, and storages and tensors that leave their bytes.

/// The zip file of a checkpoint.
struct TorchArchive {
  let bytes: UnsafeRawBufferPointer
  let zip: ZipArchive
  /// FOLDER/data.pkl: all others are in that folder.
  let pickle: ZipEntry
  /// "FOLDER/".
  private let folder: String

  init(_ bytes: UnsafeRawBufferPointer, _ zip: ZipArchive, pickle: ZipEntry) {
    (self.bytes, self.zip, self.pickle) = (bytes, zip, pickle)
    folder = String(decoding: pickle.name.utf8.dropLast("data.pkl".utf8.count), as: UTF8.self)
  }

  func find(_ name: String) -> ZipEntry? { zip.find(folder + name) }
}

struct TorchStorage {
  /// In the words of Tensor.
  let dtype: String
  let start: UnsafeRawPointer
  let byteCount: Int
}

/// The dtype of a class of storages, or of a dtype.
private func dtype(ofTorch name: String) -> String? {
  switch name {
  case "torch.FloatStorage", "torch.float32": "F32"
  case "torch.HalfStorage", "torch.float16": "F16"
  case "torch.BFloat16Storage", "torch.bfloat16": "BF16"
  case "torch.DoubleStorage", "torch.float64": "F64"
  case "torch.LongStorage", "torch.int64": "I64"
  case "torch.IntStorage", "torch.int32": "I32"
  case "torch.ShortStorage", "torch.int16": "I16"
  case "torch.CharStorage", "torch.int8": "I8"
  case "torch.ByteStorage", "torch.uint8", "torch.storage.UntypedStorage": "U8"
  case "torch.BoolStorage", "torch.bool": "BOOL"
  default: nil
  }
}

extension PickleMachine {
  func named(_ name: String) throws(DitqError) -> PickleValue {
    switch name {
    case "collections.OrderedDict", "argparse.Namespace", "torch.Size", "torch.device", "torch._utils._rebuild_tensor",
      "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter":
      break
    default:
      guard dtype(ofTorch: name) != nil else {
        throw DitqError(
          .unsupported, "\(jsonLiteral(name)): a class or function that checkpoints do not need; nothing is imported or executed")
      }
    }
    globals.append(name)
    return .global(globals.count - 1)
  }

  /// What a class or function makes of its arguments.
  func called(_ callee: PickleValue, with arguments: PickleValue) throws(DitqError) -> PickleValue {
    guard case .global(let index) = callee, case .tuple(let list) = arguments else {
      throw DitqError(.malformed, "a name and a tuple expected, \(callee.kindName) and \(arguments.kindName) found")
    }
    let name = globals[index], arguments = lists[list]
    do throws(DitqError) {
      switch name {
      case "collections.OrderedDict":
        guard arguments.isEmpty else { throw DitqError(.unsupported, "no arguments expected, \(arguments.count) found") }
        return .dict(newList([]))
      case "argparse.Namespace": return .dict(newList([]))
      case "torch.Size", "torch.device": return .other
      case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2": return try rebuiltTensor(arguments, dtype: nil)
      case "torch._utils._rebuild_tensor_v3":
        guard arguments.count >= 7, case .global(let type) = arguments[6], let dtype = dtype(ofTorch: globals[type]) else {
          throw DitqError(.malformed, "a dtype expected")
        }
        return try rebuiltTensor(arguments, dtype: dtype)
      case "torch._utils._rebuild_parameter":
        guard case .tensor(let tensor) = arguments.first else { throw DitqError(.malformed, "a tensor expected") }
        return .tensor(tensor)
      default: throw DitqError(.malformed, "called like a function")
      }
    } catch {
      throw error.said(of: name)
    }
  }

  /// What a persistent id stands for: ("storage", class, key, location, elements), of which the entry FOLDER/data/KEY holds the bytes.
  func persistent(_ value: PickleValue) throws(DitqError) -> PickleValue {
    guard case .tuple(let list) = value, lists[list].count == 5, isText(lists[list][0], "storage"), case .global(let type) = lists[list][1],
      let dtype = dtype(ofTorch: globals[type]), case .text(_, 0...64) = lists[list][2], let key = text(lists[list][2]),
      case .integer(let count) = lists[list][4]
    else { throw DitqError(.malformed, "persistent id: (\"storage\", class, key, location, elements) expected") }
    let name = "data/\(key)"
    guard let entry = archive.find(name) else {
      throw DitqError(.malformed, "storage \(jsonLiteral(key)): the zip has no \(jsonLiteral(name))")
    }
    guard count >= 0, let byteCount = product([count, byteCount(ofDtype: dtype)!]), byteCount <= entry.byteCount else {
      throw DitqError(.malformed, "storage \(jsonLiteral(key)): \(entry.byteCount) bytes found, too few for \(count) elements of \(dtype)")
    }
    storages.append(TorchStorage(dtype: dtype, start: archive.bytes.baseAddress! + entry.start, byteCount: byteCount))
    return .storage(storages.count - 1)
  }

  /// (storage, offset, sizes, strides, …); without a dtype it is the storage's.
  private func rebuiltTensor(_ arguments: [PickleValue], dtype: String?) throws(DitqError) -> PickleValue {
    guard arguments.count >= 4, case .storage(let storage) = arguments[0], case .integer(let offset) = arguments[1],
      case .tuple(let sizes) = arguments[2], case .tuple(let steps) = arguments[3]
    else { throw DitqError(.malformed, "a storage, an offset, sizes and strides expected") }
    let (shape, strides) = (try integers(lists[sizes]), try integers(lists[steps]))
    tensors.append(try TorchTensor(storages[storage], dtype, offset: offset, shape: shape, strides: strides))
    return .tensor(tensors.count - 1)
  }

  private func integers(_ values: [PickleValue]) throws(DitqError) -> [Int] {
    guard values.count <= Limit.rank else {
      throw DitqError(.unsupported, "a tensor of rank \(values.count), more than \(Limit.rank)")
    }
    var integers: [Int] = []
    for value in values {
      guard case .integer(let integer) = value, integer >= 0 else { throw DitqError(.malformed, "sizes and strides from 0 expected") }
      integers.append(integer)
    }
    return integers
  }
}
