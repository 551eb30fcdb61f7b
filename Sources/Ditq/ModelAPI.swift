// ditq.h, "Models".

import CDitq
import DitqCore

@c @implementation
public func ditq_model_open(
  _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<ditq_model_options>!, _ model: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let path = try required(path, "path"), model = try required(model, "model")
    model.pointee = handle(try opening(options) { openOptions throws(DitqError) in try Model.open(path: String(bytes: path), openOptions) })
  }
}

@c @implementation
public func ditq_model_open_memory(
  _ data: UnsafeRawPointer!, _ size: Int, _ options: UnsafePointer<ditq_model_options>!, _ model: UnsafeMutablePointer<OpaquePointer?>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let bytes = Bytes(borrowing: try required(data, "data"), count: try count(size, "size")), model = try required(model, "model")
    model.pointee = handle(try opening(options) { openOptions throws(DitqError) in try Model.open(bytes, named: "data", openOptions) })
  }
}

/// Opens with the host's options, telling its progress callback of the beginning and the end: what is mapped is not read.
private func opening(
  _ pointer: UnsafePointer<ditq_model_options>?, _ open: (OpenOptions) throws(DitqError) -> Model
) throws(DitqError) -> Model {
  var openOptions = OpenOptions()
  guard let found = try options(pointer, "options") else { return try open(openOptions) }
  switch Int(found.compatibility) {
  case DITQ_COMPATIBILITY_AUTO: break
  case DITQ_COMPATIBILITY_OFFICIAL: openOptions.compatibility = .official
  case DITQ_COMPATIBILITY_DIFFUSERS: openOptions.compatibility = .diffusers
  default:
    throw DitqError(.invalidArgument, "compatibility: 0 (auto), 1 (official) or 2 (diffusers) expected, \(found.compatibility) found")
  }
  guard (0...1024).contains(found.head_count) else {
    throw DitqError(.invalidArgument, "head_count: 0 (not given) to 1024 expected, \(found.head_count) found")
  }
  openOptions.headCount = found.head_count == 0 ? nil : Int(found.head_count)
  openOptions.allocator = try allocator(found.allocator)
  openOptions.expectedSHA256 = found.expected_sha256.map { String(bytes: $0) }
  let progress = HostProgress(callback: found.progress, context: found.progress_context)
  func tell(_ done: Int) throws(DitqError) {
    guard progress.tell(.load, done, 1, 0, nil) else { throw DitqError(.cancelled, "the progress callback ended the call") }
  }
  try tell(0)
  let model = try open(openOptions)
  try tell(1)
  return model
}

@c @implementation
public func ditq_model_close(_ model: OpaquePointer!) { release(model, Model.self) }

@c @implementation
public func ditq_model_describe(
  _ model: OpaquePointer!, _ info: UnsafeMutablePointer<ditq_model_info>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), info = try required(info, "info")
    // A longer one, of a newer header, is filled as far as this version knows it.
    let size = info.pointee.struct_size, expected = MemoryLayout<ditq_model_info>.size
    guard size >= expected else {
      throw DitqError(.invalidArgument, "info->struct_size: \(expected) expected, \(size) found")
    }
    info.pointee = describe(model, size: size)
  }
}

private func describe(_ model: Model, size: UInt32) -> ditq_model_info {
  let config = model.config
  var info = ditq_model_info()
  info.struct_size = size
  info.image_height = Int32(model.imageSize ?? 0)
  info.image_width = Int32(model.imageSize ?? 0)
  info.image_channels = Int32(model.imageChannels ?? 0)
  info.latent_height = Int32(config.latentSize)
  info.latent_width = Int32(config.latentSize)
  info.latent_channels = Int32(config.channels)
  info.patch_size = Int32(config.patchSize)
  info.hidden_size = Int32(config.hiddenSize)
  info.depth = Int32(config.depth)
  info.head_count = Int32(config.headCount)
  info.class_count = Int32(config.classCount)
  info.weight_bits = Int32(model.format.weightBits)
  info.weight_group = Int32(model.format.weightGroup)
  info.activation_bits = Int32(model.format.activationBits)
  info.has_decoder = model.hasDecoder ? 1 : 0
  info.parameter_count = UInt64(model.parameterCount)
  info.weights_size = UInt64(model.weightsByteCount)
  info.macs_per_forward = config.macsPerForward
  return info
}

@c @implementation
public func ditq_model_save(
  _ model: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), path = try required(path, "path")
    try model.save(to: String(bytes: path), libraryVersion: String(bytes: ditq_version()))
  }
}

@c @implementation
public func ditq_model_verify(_ model: OpaquePointer!, _ error: UnsafeMutablePointer<ditq_error>!) -> ditq_status {
  answer(error) { () throws(DitqError) in try object(model, Model.self, "model").verify() }
}

@c @implementation
public func ditq_model_describe_json(
  _ model: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    try copy(try object(model, Model.self, "model").json(), buffer, try count(capacity, "capacity"), needed)
  }
}

@c @implementation
public func ditq_model_class_name(_ model: OpaquePointer!, _ label: Int32) -> UnsafePointer<CChar>! {
  guard let model = try? object(model, Model.self, "model") else { return nil }
  return model.classNames.cString(Int(label))
}

@c @implementation
public func ditq_model_find_class(
  _ model: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ label: UnsafeMutablePointer<Int32>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), name = try required(name, "name"), label = try required(label, "label")
    label.pointee = Int32(try model.classNames.label(of: String(bytes: name)))
  }
}
