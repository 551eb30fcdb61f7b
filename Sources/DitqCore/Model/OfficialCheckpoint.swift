// Opening a checkpoint in the layout of the public DiT release: sizes follow from the tensors; what tensors cannot say is asked of everybody
// who may know it: see ModelFacts. A .ditq file is such a checkpoint with packed layers. Refuses what is said of a model where its tensors
// say something else.

/// `beside`: what the file NAME.ditq.json says, where there is one.
func openOfficialCheckpoint(
  _ checkpoint: CheckpointFile, beside: Settings? = nil, files: [String] = [], _ options: OpenOptions
) throws(DitqError) -> Model {
  let tensors = checkpoint.tensors
  let recorded = try RecordedConfig(tensors)
  var facts = try ModelFacts(options)
  if let config = recorded.config { facts.add(config, from: .metadata) }
  if let beside { try facts.add(beside, from: .beside, allowing: ModelFacts.fields) }
  // First, as a build without decoders refuses it before it looks at any tensor.
  let chosen = try options.decoder.map { path throws(DitqError) in try DirectoryDecoder(chosen: path, options) }
  let own = try facts.settings.value("decoder").map { value throws(DitqError) in
    try vaeConfig(Settings(value, named: "ditq.config: decoder"))
  }
  if let variant = options.variant, !(chosen?.isVariant ?? false) {
    throw DitqError(.invalidArgument, "variant: a directory that has \(jsonLiteral(variant)) expected, a single file found")
  }
  let sizes = try TensorSizes(tensors, recorded.packed, facts.settings)
  facts.addConclusions(sizes, hasDecoder: chosen != nil)
  if let arguments = checkpoint.arguments { try facts.add(trainingArguments: arguments, sizes) }
  facts.addAssumptions(sizes, isPacked: recorded.isPacked)

  let settings = facts.settings
  let config = try DiTConfig(sizes, settings)
  let names = try classNames(settings)
  guard !config.hasNullClass || names.count != config.labelCount else {
    throw DitqError(
      .malformed,
      "class names: at most \(config.classCount) expected, \(names.count) found; where no row of the label table is \"no class\", give null_class false"
    )
  }
  let classNames = try ClassNames(names, classCount: max(0, config.classCount))
  let sampling = try SamplingSettings(settings)
  let prefix = RecordedConfig.decoderPrefix
  // Where there is no decoder, its layers are ones that the file does not have.
  let layers = own == nil ? recorded.packed : try recorded.packed.part(without: prefix)
  let transformer = try LoadedTransformer(tensors.part(under: prefix, inverted: true), config, .official, layers, options.allocator)
  if settings.value("latent_size") == nil && !recorded.isPacked {
    let table = PositionTable(values: transformer.weights.positions, width: config.hiddenSize, tokens: config.tokenCount)
    if try !table.isComputed() { facts.add("latent_size", .number(Double(config.latentSize)), from: .assumption, named: "assumption") }
  }
  var decoder = chosen?.decoder
  if decoder == nil, let own {
    decoder = try LoadedDecoder(tensors.part(under: prefix), own, recorded.packed.part(under: prefix), options.allocator)
  }
  return try Model(
    config: config, sampling: sampling, classNames: classNames, transformer: transformer, decoder: decoder,
    source: recorded.isPacked ? "ditq" : checkpoint.source, files: files + (chosen.map { [$0.file] } ?? []),
    calibration: recorded.calibration, assumed: facts.assumed)
}

extension DiTConfig {
  fileprivate init(_ sizes: TensorSizes, _ settings: Settings) throws(DitqError) {
    let (classes, hasNullClass) = try labelTable(rows: sizes.labelRows, settings)
    let compatibility = try settings.compatibility() ?? .official
    let epsilon = try settings.float("norm_eps", above: 0, below: 1, default: 1e-5)
    self.init(
      compatibility: compatibility, hiddenSize: sizes.hiddenSize, depth: sizes.depth,
      headCount: try heads(settings, hidden: sizes.hiddenSize), patchSize: sizes.patchSize, channels: sizes.channels,
      outputChannels: sizes.outputChannels, latentSize: sizes.latentSize, mlpSize: sizes.mlpSize, classCount: classes,
      secondNormEpsilon: compatibility == .official ? DiTConfig.normEpsilon : epsilon,
      isPixelSpace: try settings.bool("pixel_space", default: false), hasNullClass: hasNullClass)
    guard !isPixelSpace || channels == 1 || channels == 3 else {
      throw settings.wrong("pixel_space", "false, as images have 1 or 3 channels and this has \(channels),", .bool(true))
    }
  }
}

private func heads(_ settings: Settings, hidden: Int) throws(DitqError) -> Int {
  if let heads = try settings.optionalInteger("head_count", in: Limit.heads) { return heads }
  var divisors = ""
  for heads in Limit.heads where hidden % heads == 0 && (8...256).contains(hidden / heads) {
    divisors += (divisors.utf8.count == 0 ? "" : ", ") + "\(heads) (\(hidden / heads) each)"
  }
  throw DitqError(
    .invalidArgument,
    "head_count: the file does not say it, and the hidden size \(hidden) is none of the published models': give it in the options; "
      + "such as divide it are \(divisors)")
}

extension Settings {
  func compatibility() throws(DitqError) -> Compatibility? {
    try choice("compatibility", of: Compatibility.self)
  }
}

/// The classes that the rows of the label table are, and whether "no class" stands behind them. Of two sources the more trusted counts.
private func labelTable(rows: Int, _ settings: Settings) throws(DitqError) -> (classes: Int, hasNullClass: Bool) {
  let count = try settings.optionalInteger("class_count", in: Limit.classes), hasNullClass = try settings.optionalBool("null_class")
  let isCounted = settings.source(of: "class_count")?.rawValue ?? .max <= settings.source(of: "null_class")?.rawValue ?? .max
  guard let count, isCounted || hasNullClass == nil else {
    let hasNullClass = hasNullClass ?? true
    return (hasNullClass ? rows - 1 : rows, hasNullClass)
  }
  guard count == rows || count == rows - 1 else {
    throw settings.wrong(
      "class_count", "\(rows - 1), or \(rows) without \"no class\", as the label table has \(rows) rows,", settings.value("class_count"),
      .malformed)
  }
  if let hasNullClass, settings.source(of: "null_class") == settings.source(of: "class_count"), hasNullClass != (count < rows) {
    throw settings.wrong(
      "null_class", "\(count < rows), with \(count) classes and \(rows) rows in the label table,", settings.value("null_class"), .malformed)
  }
  return (count, count < rows)
}

func classNames(_ settings: Settings) throws(DitqError) -> [String] {
  guard let names = settings.value("class_names") else { return [] }
  guard let array = names.array else { throw settings.wrong("class_names", "an array of strings", names, .malformed) }
  var list: [String] = []
  for name in array {
    guard let name = name.string else { throw settings.wrong("class_names", "strings", name, .malformed) }
    try list.add(name)
  }
  return list
}
