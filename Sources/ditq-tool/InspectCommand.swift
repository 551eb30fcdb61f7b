// ditq inspect: what a model is. The figures are the library's, those of ditq_model_describe and ditq_model_describe_json.

import ArgumentParser
import CDitq

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Say what a model is: its architecture, sizes and number formats.",
    discussion: """
      A layer's format is F32, F16 or BF16 for float weights, W8 or W4 for weights of so many bits under float activations, W8A8 or W4A8 \
      where activations have 8 bits too.

      Examples:
        ditq inspect emoji.safetensors
        ditq inspect emoji-w4a8.ditq --layers --verify
        ditq inspect DiT-XL-2-256/ --json
      """)

  @Argument(help: "A .ditq, safetensors or .pt file, or a diffusers directory.") var model: String
  @Flag(help: "Print the library's description, one JSON object with every layer.") var json = false
  @Flag(help: "Add a line for each linear layer of the transformer.") var layers = false
  @OptionGroup var opening: OpenOptions
  @Flag(help: "First read every byte and compare the checksums that a .ditq file records.") var verify = false

  func run() throws {
    let opened = try opening.open(model, tellsAssumptions: json)
    if verify { try opened.verify() }
    let text = try opened.json()
    guard !json else { return print(text) }
    let description = Description(path: model, info: opened.info, json: try JSON(reading: text))
    let assumptions = try opened.assumptions().map { [["assumed", "\($0) (nobody said it; say it with --config KEY=VALUE)"]] } ?? []
    print(aligned(description.summary + assumptions + (verify ? [["verified", "every byte"]] : [])))
    if layers { print("\n" + description.layerTable) }
  }
}

/// A model's description for people.
private struct Description {
  let path: String
  let info: ditq_model_info
  let json: JSON

  private static let namesShown = 4

  var summary: [[String]] {
    var rows = [
      ["model", "\(path) (\(json["source"]?.string ?? "?"), \(json["compatibility"]?.string ?? "?") compatibility)"],
      ["files", (json["files"]?.elements ?? []).compactMap(\.string).joined(separator: ", ")], ["transformer", transformer],
      ["image", image], ["classes", classes], ["parameters", grouped(info.parameter_count)],
      ["weights", weights], ["layers", LayerFormats(json).text], ["macs", "\(grouped(info.macs_per_forward)) a forward of one image"],
    ]
    let calibration = Calibration(of: json)
    for (name, text) in [
      ("decoder", decoder), ("sampling", sampling), ("calibration", calibration?.provenance), ("clipped", calibration?.clipped),
      ("raised", calibration?.raised),
    ] {
      if let text { rows.append([name, text]) }
    }
    return rows
  }

  var layerTable: String {
    let layers = json["layers"]?.members ?? []
    let rows = layers.map { name, layer in
      [name, layer["outputs"]?.literal ?? "", "×", layer["inputs"]?.literal ?? "", layer["weights"]?.string ?? ""]
    }
    return aligned([["layer", "outputs", "×", "inputs", "weights"]] + rows, right: [1, 3])
  }

  private var transformer: String {
    "\(info.depth) blocks, hidden size \(info.hidden_size), \(info.head_count) heads, patch size \(info.patch_size), "
      + "\(json["architecture"]?["token_count"]?.literal ?? "?") tokens"
  }

  private var image: String {
    let latents = "\(info.latent_height) × \(info.latent_width) × \(info.latent_channels)"
    guard info.image_height > 0 else { return "none: latents \(latents), without a decoder" }
    let pixels = "\(info.image_height) × \(info.image_width) × \(info.image_channels)"
    return info.has_decoder == 1 ? "\(pixels), decoded from latents \(latents)" : "\(pixels), denoised as pixels"
  }

  private var classes: String {
    let names = (json["class_names"]?.elements ?? []).compactMap(\.string).filter { !$0.isEmpty }
    guard !names.isEmpty else { return "\(info.class_count), without names" }
    let some = names.prefix(Description.namesShown).joined(separator: ", ")
    return "\(info.class_count): \(some)\(names.count > Description.namesShown ? ", …" : "")"
  }

  private var weights: String {
    let bytes = size(info.weights_size)
    guard info.weight_bits != Int32(DITQ_KEEP_FLOAT) else { return "\(bytes), float" }
    let group = info.weight_group == 0 ? "a scale a row" : "in groups of \(info.weight_group)"
    let activations = info.activation_bits == Int32(DITQ_KEEP_FLOAT) ? "float activations" : "\(info.activation_bits)-bit activations"
    return "\(bytes), mostly \(info.weight_bits) bits \(group), \(activations)"
  }

  private var decoder: String? {
    json["decoder"]?["layers"].map { layers in
      counts(layers.members.compactMap { $0.value["weights"]?.string }).map { "\($0.count) \($0.name)" }.joined(separator: ", ")
        + " convolutions of 3×3, \(json["decoder"]?["macs"]?.double.map { grouped($0) } ?? "?") macs an image"
    }
  }

  private var sampling: String? {
    guard let sampling = json["sampling"], let sampler = sampling["sampler"]?.string else { return nil }
    let members = sampling.members.filter { $0.name != "sampler" }.map { name, value in
      let shown = value.string ?? (value.elements.isEmpty ? value.line : "\(value.elements.count) numbers")
      return String(name.map { $0 == "_" ? " " : $0 }) + " " + shown
    }
    return ([sampler] + members).joined(separator: ", ")
  }
}

/// How many layers have which format.
struct LayerFormats {
  private let formats: [(name: String, count: Int)]

  /// Of what ditq_model_describe_json says.
  init(_ json: JSON) { formats = counts((json["layers"]?.members ?? []).compactMap { $0.value["weights"]?.string }) }

  var text: String { formats.map { "\($0.count) \($0.name)" }.joined(separator: ", ") }
  var json: JSON { .object(formats.map { ($0.name, JSON($0.count)) }) }
}
