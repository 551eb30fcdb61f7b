// ditq.h, "Models": everything but opening one.

import CDitq
import DitqCore

@c @implementation
public func ditq_model_close(_ model: OpaquePointer!) { release(model, Model.self) }

@c @implementation
public func ditq_model_describe(
  _ model: OpaquePointer!, _ info: UnsafeMutablePointer<ditq_model_info>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), info = try required(info, "info")
    try fill(info, with: describe(model), "info")
  }
}

private func describe(_ model: Model) -> ditq_model_info {
  let config = model.config
  var info = ditq_model_info()
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
  let format = model.format
  info.weight_bits = Int32(format.weightBits)
  info.weight_group = Int32(format.weightGroup)
  info.activation_bits = Int32(format.activationBits)
  info.has_decoder = model.hasDecoder ? 1 : 0
  info.parameter_count = UInt64(model.parameterCount)
  info.weights_size = UInt64(model.weightsByteCount)
  info.macs_per_forward = model.macsPerForward
  info.output_channels = Int32(config.outputChannels)
  return info
}

@c @implementation
public func ditq_model_save(
  _ model: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
    let model = try object(model, Model.self, "model"), path = try filePath(path)
    try model.save(to: path, libraryVersion: String(bytes: ditq_version()))
  }
}

@c @implementation
public func ditq_model_verify(_ model: OpaquePointer!, _ error: UnsafeMutablePointer<ditq_error>!) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in try object(model, Model.self, "model").verify() }
}

@c @implementation
public func ditq_model_describe_json(
  _ model: OpaquePointer!, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error, allocating: .much) { () throws(DitqError) in
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
