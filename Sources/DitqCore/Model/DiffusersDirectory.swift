// Opening a diffusers pipeline directory: model_index.json, transformer/, vae/, scheduler/. Every field that changes the arithmetic is
// checked against the one value that is implemented; fields that do not change it are ignored.

func openDiffusersDirectory(_ path: String, _ options: OpenOptions) throws(DitqError) -> Model {
  guard kind(of: path + "/model_index.json") != .nothing else {
    throw DitqError(.notFound, "\(path): a diffusers pipeline expected, a directory without model_index.json found")
  }
  let index = try Settings(file: path + "/model_index.json", named: "model_index.json")
  try index.require("_class_name", "DiTPipeline")
  var config = try transformerConfig(
    Settings(diffusersConfig: path + "/transformer/config.json", named: "transformer/config.json"), index, options)
  var sampling = try schedulerSettings(
    Settings(diffusersConfig: path + "/scheduler/scheduler_config.json", named: "scheduler/scheduler_config.json"), index)
  var names = try labels(index, count: config.classCount)
  try ModelFacts(options).overrule(&config, &sampling, &names)
  let classNames = try ClassNames(names, classCount: config.classCount)

  let transformer = try said(of: "transformer") { () throws(DitqError) in
    try openTensors(directory: path + "/transformer", stem: diffusersStem, variant: options.variant, options.allocator)
  }
  let vae: DirectoryDecoder
  if let chosen = options.decoder {
    vae = try DirectoryDecoder(chosen: chosen, options)
  } else {
    _ = try index.className("vae", among: [autoencoderClass])
    vae = try DirectoryDecoder(directory: path + "/vae", named: "vae", options)
  }
  if let variant = options.variant, !transformer.isVariant && !vae.isVariant {
    throw DitqError(.notFound, "variant: \(jsonLiteral(variant)) expected of the transformer or the decoder, found of neither")
  }
  return try Model(
    config: config, sampling: sampling, classNames: classNames,
    transformer: said(of: "transformer") { () throws(DitqError) in
      try LoadedTransformer(transformer.tensors, config, .diffusers, PackedLayers(), options.allocator)
    },
    decoder: vae.decoder, source: "diffusers directory", files: ["transformer/" + transformer.file, vae.file])
}

/// What diffusers calls the weights of each part of a pipeline.
let diffusersStem = "diffusion_pytorch_model"

extension Settings {
  /// A configuration as diffusers reads it: what is listed under "_use_default_values" has its default, whatever is said of it.
  init(diffusersConfig path: String, named name: String) throws(DitqError) {
    let settings = try Settings(file: path, named: name)
    let unsaid = settings.value("_use_default_values")?.array ?? []
    let said = try (settings.json.members ?? []).kept { member in !unsaid.contains { $0.string ?? "" == member.name } }
    try self.init(.object(said), named: name)
  }
}

private func transformerConfig(_ settings: Settings, _ index: Settings, _ options: OpenOptions) throws(DitqError) -> DiTConfig {
  // model_index.json names the class; by its old name, one field of the configuration says which it is now.
  let own = try settings.choice("_class_name", among: transformerClasses)
  guard let number = try index.className("transformer", among: transformerClasses) ?? own else {
    throw settings.wrong("_class_name", "the class of a transformer", nil, .malformed)
  }
  if transformerClasses[number] == "Transformer2DModel" { try settings.require("norm_type", "ada_norm_zero") }
  try settings.require("activation_fn", "gelu-approximate", default: "gelu-approximate")
  try settings.require("norm_type", "ada_norm_zero", default: "ada_norm_zero")
  try settings.require("norm_elementwise_affine", false, default: false)
  try settings.require("attention_bias", true, default: true)
  let headCount = try settings.integer("num_attention_heads", in: Limit.heads, default: 16)
  let headSize = try settings.integer("attention_head_dim", in: Limit.headSize, default: 72)
  let channels = try settings.integer("in_channels", in: Limit.channels, default: 4)
  let epsilon = try settings.float("norm_eps", above: 0, below: 1, default: 1e-5)
  let compatibility = options.compatibility ?? .diffusers
  return DiTConfig(
    compatibility: compatibility, hiddenSize: headCount * headSize,
    depth: try settings.integer("num_layers", in: Limit.depth, default: 28), headCount: headCount,
    patchSize: try settings.integer("patch_size", in: Limit.patchSize, default: 2), channels: channels,
    outputChannels: try settings.integer("out_channels", in: 1...2048, default: channels),
    latentSize: try settings.integer("sample_size", in: Limit.latentSize, default: 32), mlpSize: 4 * headCount * headSize,
    classCount: try settings.integer("num_embeds_ada_norm", in: Limit.classes, default: 1000),
    secondNormEpsilon: compatibility == .official ? DiTConfig.normEpsilon : epsilon, isPixelSpace: false)
}

private let transformerClasses = ["DiTTransformer2DModel", "Transformer2DModel"]

extension Settings {
  /// Which of some classes model_index.json names for a part, as in ["diffusers", "DDIMScheduler"]; nil where it names none, as in [null, null].
  func className(_ part: String, among names: [String]) throws(DitqError) -> Int? {
    guard let named = value(part) else { return nil }
    guard let pair = named.array, pair.count == 2, pair[1].string != nil || pair[1].isNull else {
      throw wrong(part, "a library and a class", named, .malformed)
    }
    guard !pair[1].isNull else { return nil }
    guard let index = names.firstIndex(where: { $0 == pair[1].string ?? "" }) else { throw wrong(part, alternatives(names), pair[1]) }
    return index
  }
}

/// The names of "id2label": {"0": "tench, Tinca tinca", …}; empty where there are none; labels in between may have none.
private func labels(_ index: Settings, count: Int) throws(DitqError) -> [String] {
  guard let value = index.value("id2label") else { return [] }
  guard let members = value.members else { throw index.wrong("id2label", "an object", value, .malformed) }
  var names: [String] = []
  for member in members {
    guard let label = Int(member.name), (0..<count).contains(label), let name = member.value.string else {
      throw index.wrong("id2label", "names of the labels 0 to \(count - 1)", .string(member.name), .malformed)
    }
    while names.count <= label { try names.add("") }
    names[label] = name
  }
  return names
}
