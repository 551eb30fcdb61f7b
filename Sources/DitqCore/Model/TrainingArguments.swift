// What "args" of a training checkpoint tells of its model: the arguments of the public training scripts of DiT and SiT, and of their networks.
// They are notes of whoever trained: what does not agree with the tensors tells nothing. Refuses a prediction that is not implemented, as
// nothing else would say it.

extension ModelFacts {
  mutating func add(trainingArguments arguments: JSON, _ sizes: TensorSizes) throws(DitqError) {
    func tell(_ facts: inout ModelFacts, _ field: String, _ value: JSON) { facts.add(field, value, from: .arguments, named: "args") }
    func integer(_ name: String) -> Int? { arguments.member(name)?.integer }

    if let heads = integer("num_heads"), Limit.heads.contains(heads), sizes.hiddenSize % heads == 0 {
      tell(&self, "head_count", .number(Double(heads)))
    }
    let model = arguments.member("model")?.string ?? ""
    if let named = PublicSize.named(model), named.hiddenSize == sizes.hiddenSize {
      tell(&self, "head_count", .number(Double(named.headCount)))
    }
    if let classes = integer("num_classes"), classes == sizes.labelRows || classes == sizes.labelRows - 1 {
      tell(&self, "null_class", .bool(classes < sizes.labelRows))
    }
    if let dropout = arguments.member("class_dropout_prob")?.number { tell(&self, "null_class", .bool(dropout > 0)) }
    if let isLatent = TrainingArguments.isLatent(arguments, sizes) { tell(&self, "pixel_space", .bool(!isLatent)) }
    guard !says("prediction") && !says("sampler") else { return }
    if let prediction = try TrainingArguments.prediction(arguments, isSiT: model.starts(withBytesOf: "SiT-")) {
      tell(&self, "prediction", .string(prediction.name))
      guard prediction == .velocity else { return }
      // The path of SiT: noise at t = 0, and the network is told t itself.
      tell(&self, "noise_timestep", .number(0))
      tell(&self, "timestep_scale", .number(1))
    }
  }
}

private enum TrainingArguments {
  /// The public scripts train on latents of image_size / 8; where the image has the size of what is denoised, it is that itself.
  static func isLatent(_ arguments: JSON, _ sizes: TensorSizes) -> Bool? {
    if let size = arguments.member("image_size")?.integer, size > 0, size % sizes.latentSize == 0 { return size != sizes.latentSize }
    return arguments.member("vae")?.string == nil ? nil : true
  }

  /// SiT names what it predicts and by which path; its default is velocity.
  static func prediction(_ arguments: JSON, isSiT: Bool) throws(DitqError) -> Prediction? {
    guard let path = arguments.member("path_type")?.string else { return isSiT ? .velocity : nil }
    let prediction = arguments.member("prediction")?.string ?? "velocity"
    guard path == "Linear" && prediction == "velocity" else {
      throw DitqError(
        .unsupported,
        "args: path_type and prediction: \"Linear\" and \"velocity\" expected, \(jsonLiteral(path)) and \(jsonLiteral(prediction)) found; "
          + "what is to be run all the same is given as prediction")
    }
    return .velocity
  }
}
