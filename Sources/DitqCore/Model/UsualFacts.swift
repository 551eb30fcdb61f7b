// What is taken of a model in the public layout where no source says it: what follows from something else that was said, then what is usual.
// Only the latter is an assumption. Relies on ModelFacts; refuses nothing.

extension ModelFacts {
  /// Follows from other facts. Before the arguments of a training, which are less trusted.
  mutating func addConclusions(_ sizes: TensorSizes, hasDecoder: Bool) {
    if !says("class_count") {
      // One row can only be a class; where all rows but one have names, the last is "no class".
      let names = settings.value("class_names")?.array?.count
      if sizes.labelRows == 1 {
        add("null_class", .bool(false), from: .metadata, named: "label table")
      } else if names == sizes.labelRows - 1 {
        add("null_class", .bool(true), from: .metadata, named: "class_names")
      }
    }
    // What a decoder decodes, and what has other channels than an image, is no image.
    if says("decoder") || hasDecoder || (sizes.channels != 1 && sizes.channels != 3) {
      add("pixel_space", .bool(false), from: .metadata, named: "decoder")
    }
  }

  /// What is usual. A packed file was written by this library, which always meant it so.
  mutating func addAssumptions(_ sizes: TensorSizes, isPacked: Bool) {
    let source = isPacked ? FactSource.metadata : .assumption
    func assume(_ facts: inout ModelFacts, _ field: String, _ value: JSON) { facts.add(field, value, from: source, named: "assumption") }
    if let size = PublicSize.of(hiddenSize: sizes.hiddenSize) {
      add("head_count", .number(Double(size.headCount)), from: isPacked ? .metadata : .publicSizes, named: "published sizes")
    }
    if !says("sampler") { assume(&self, "prediction", .string(Prediction.epsilon.name)) }
    if predictsVelocity {
      assume(&self, "noise_timestep", .number(0))
      assume(&self, "timestep_scale", .number(1))
    }
    if !says("class_count") { assume(&self, "null_class", .bool(true)) }
    assume(&self, "pixel_space", .bool(true))
  }

  private var predictsVelocity: Bool {
    let settings = settings
    guard let prediction = settings.value("prediction") else {
      return settings.value("sampler")?.string ?? "" == Sampler.flowEuler.name
    }
    return prediction.string ?? "" == Prediction.velocity.name
  }
}
