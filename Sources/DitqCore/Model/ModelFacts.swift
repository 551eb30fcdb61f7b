// ModelFacts: what is known of a model beside its tensors, from whoever says it. Each field is looked for in the sources by turn, and who said
// it is remembered, so that nothing is guessed in silence. Relies on Settings. Refuses fields that no model has where a host or a file beside
// the checkpoint gives them: a misspelt one would pass for one that is not given.

struct ModelFacts {
  /// All fields of ditq.config that are read: see docs/format.md.
  static let fields = [
    "head_count", "compatibility", "pixel_space", "null_class", "class_count", "class_names", "hidden_size", "depth", "patch_size",
    "latent_channels", "latent_size", "learned_variance", "norm_eps", "decoder", "prediction", "sampler", "steps", "guidance_scale",
    "train_steps", "beta_start", "beta_end", "noise_timestep", "timestep_scale", "beta_schedule", "trained_betas", "rescale_betas_zero_snr",
    "set_alpha_to_one", "timestep_spacing", "steps_offset", "clip_sample_range", "variance_type",
  ]
  /// Fields that inform people.
  private static let remarks = ["training", "license"]

  private var facts: [(field: String, value: JSON, source: FactSource, name: String)] = []

  /// What the host says.
  init(_ options: OpenOptions) throws(DitqError) {
    if let text = options.configJSON {
      do throws(DitqError) {
        try add(Settings(text: text, named: "config_json"), from: .call, allowing: ModelFacts.fields)
      } catch {
        throw DitqError(.invalidArgument, error.message)
      }
    }
    try addOption("head_count", options.headCount.map { .number(Double($0)) }) { $0.integer == options.headCount }
    try addOption("compatibility", options.compatibility.map { .string($0.name) }) { $0.string ?? "" == options.compatibility?.name ?? "" }
  }

  /// A field that has its own place in the options.
  private mutating func addOption(_ field: String, _ value: JSON?, _ isSame: (JSON) -> Bool) throws(DitqError) {
    guard let value else { return }
    if let said = facts.first(where: { $0.field == field }) {
      guard isSame(said.value) else {
        throw DitqError(.invalidArgument, "config_json: \(field): the same as in the options expected, something else found")
      }
    } else {
      add(field, value, from: .call, named: "options")
    }
  }

  mutating func add(_ settings: Settings, from source: FactSource) { add(settings.json, from: source, named: settings.name) }

  /// Fields of other names are refused.
  mutating func add(_ settings: Settings, from source: FactSource, allowing fields: [String]) throws(DitqError) {
    for member in settings.json.members ?? []
    where !fields.contains(where: { $0 == member.name }) && !ModelFacts.remarks.contains(where: { $0 == member.name }) {
      throw DitqError(
        .malformed, "\(settings.name): \(jsonLiteral(member.name)): no field of this name; there are \(ModelFacts.list(fields))")
    }
    add(settings, from: source)
  }

  mutating func add(_ object: JSON, from source: FactSource, named name: String) {
    for field in ModelFacts.fields { if let value = object.member(field) { add(field, value, from: source, named: name) } }
  }

  /// Where no source before said it.
  mutating func add(_ field: String, _ value: JSON, from source: FactSource, named name: String) {
    if !value.isNull && !says(field) { facts.append((field, value, source, name)) }
  }

  var isEmpty: Bool { facts.isEmpty }

  func says(_ field: String) -> Bool { facts.contains { $0.field == field } }

  /// What was taken because no source said it.
  var assumed: [String] { facts.filter { $0.source.rawValue >= FactSource.publicSizes.rawValue }.map { $0.field } }

  /// All of them as one configuration, whose errors name who said a field.
  var settings: Settings {
    Settings(
      facts.map { JSON.Member(name: $0.field, value: $0.value) },
      saidBy: facts.map { Settings.Origin(field: $0.field, source: $0.source, name: $0.name) })
  }

  private static func list(_ names: [String]) -> String {
    var text = ""
    for (index, name) in names.enumerated() { text += (index == 0 ? "" : ", ") + name }
    return text
  }
}
