// TorchSearch: which dict of a checkpoint of torch.save the weights are taken from. Relies on PickleGraph and TransformerSearch. Every dict up
// to two keys deep is looked at, once, optimizers' left out. A dict is one that makes a transformer by the names in it, under any prefix:
//
//     1  an average over the steps of training, as samples are made with: "ema", "model_ema", "ema_state_dict", … or under another key
//        with such a word in it; itself, or what stands in it under "shadow", "module", "state_dict", "model", …
//     2  "model", "state_dict", "model_state_dict", "module", …, likewise
//     3  the dict that was saved
//     4  one under any other key
//
// Where none makes a transformer, the first of them that has tensors is taken, so that what is missing can be said. Refuses to choose
// between keys that no rule orders.

struct TorchSearch {
  /// Where the dict stands, from outside in.
  struct Choice {
    let keys: [String]
    let dict: Int32
    /// The average that was not taken, and why; nil where there is none.
    var passedOver: String?
  }

  private struct Candidate {
    let keys: [String]
    let dict: Int32
    /// Why this makes no transformer; nil where it does.
    let flaw: String?
  }

  private static let knownKeys = [
    "ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "ema_weights", "shadow", "model", "state_dict", "model_state_dict",
    "module", "net", "network", "transformer", "dit", "weights", "params",
  ]
  /// More are not looked for: a file may have as many as it likes.
  private static let most = 64

  private let graph: PickleGraph
  private var isVisited: [Bool]
  private var candidates: [Candidate] = []
  private var averages: [[String]] = []

  static func choose(in root: Int32, of graph: PickleGraph) throws(DitqError) -> Choice {
    var search = try TorchSearch(graph)
    try search.look(at: root, under: [])
    return try search.choice(root)
  }

  private init(_ graph: PickleGraph) throws(DitqError) {
    self.graph = graph
    isVisited = try [Bool](repeating: false, room: graph.containerCount)
  }

  private mutating func look(at dict: Int32, under keys: [String]) throws(DitqError) {
    guard !isVisited[Int(dict)] else {
      // Careful: a file may name one dict again and again.
      if candidates.count < TorchSearch.most, let known = candidates.first(where: { $0.dict == dict }) {
        candidates.append(Candidate(keys: keys, dict: dict, flaw: known.flaw))
      }
      return
    }
    isVisited[Int(dict)] = true
    var search = TransformerSearch(), flaw: String?
    for (key, value) in graph.items(dict) {
      try checkCall()
      if let name = graph.textBytes(key), case .object = value, search.note(name), flaw == nil, graph.tensorCall(value) == nil {
        flaw = "\(text(name, 0..<name.count)) is of \(graph.className(of: value))"
      }
      guard keys.count < 2, let key = graph.text(key, limit: 64), !isOfOptimizer(key) else { continue }
      if namesAverage(key), averages.count < TorchSearch.most, isCompound(value) { averages.append(keys + [key]) }
      if let child = graph.dict(value) { try look(at: child, under: keys + [key]) }
    }
    guard let first = search.findings.first, candidates.count < TorchSearch.most else { return }
    if search.whole.isEmpty { flaw = "no \(first.prefix)\(first.missing ?? "")" }
    candidates.append(Candidate(keys: keys, dict: dict, flaw: flaw))
  }

  private func isCompound(_ value: PickleValue) -> Bool {
    switch value {
    case .list, .dict, .object: true
    default: false
    }
  }

  // MARK: - The order

  private func choice(_ root: Int32) throws(DitqError) -> Choice {
    let whole = candidates.filter { $0.flaw == nil }
    guard let first = best(of: whole.isEmpty ? candidates : whole) else { return try anyTensors(root) }
    for other in whole where other.dict != first.dict && rank(other.keys) == rank(first.keys) {
      throw DitqError(
        .unsupported, "\(text(ofKeys: first.keys)) and \(text(ofKeys: other.keys)) both make a transformer: save the one that is meant")
    }
    return Choice(keys: first.keys, dict: first.dict, passedOver: passedOver(for: first.keys))
  }

  private func best(of candidates: [Candidate]) -> Candidate? {
    var best: Candidate?
    for candidate in candidates where best.map({ rank(candidate.keys) < rank($0.keys) }) ?? true { best = candidate }
    return best
  }

  /// The smaller the better; equal where no rule orders them.
  private func rank(_ keys: [String]) -> Int {
    func place(_ key: String) -> Int { TorchSearch.knownKeys.firstIndex { $0 == key } ?? TorchSearch.knownKeys.count }
    let isKnown = keys.first.map { place($0) < TorchSearch.knownKeys.count } ?? false
    let kind = keys.contains { namesAverage($0) } ? 0 : isKnown ? 1 : keys.isEmpty ? 2 : 3
    return (kind * 100 + (keys.first.map(place) ?? 0)) * 100 + (keys.count > 1 ? 1 + place(keys[1]) : 0)
  }

  private func passedOver(for chosen: [String]) -> String? {
    for keys in averages where !begins(chosen, with: keys) && !begins(keys, with: chosen) {
      let candidate = candidates.first { begins($0.keys, with: keys) }
      let reason = candidate.map { $0.flaw ?? "another average is preferred" } ?? "no transformer in it"
      return "\(text(ofKeys: keys)) passed over: \(reason)"
    }
    return nil
  }

  private func begins(_ keys: [String], with others: [String]) -> Bool {
    guard keys.count >= others.count else { return false }
    for (key, other) in zip(keys, others) where key != other { return false }
    return true
  }

  /// Parts of a transformer, or of something else: the first dict that has any tensors.
  private func anyTensors(_ root: Int32) throws(DitqError) -> Choice {
    var strangers = ""
    for key in TorchSearch.knownKeys {
      guard let value = graph.value(of: key, in: root) else { continue }
      if let dict = graph.dict(value), graph.hasTensors(dict) { return Choice(keys: [key], dict: dict) }
      if case .object = value, graph.dict(value) == nil {
        strangers += "; \(jsonLiteral(key)) is \(graph.kind(of: value)): save what its state_dict() returns"
      }
    }
    guard graph.hasTensors(root) else {
      throw DitqError(
        strangers.utf8.isEmpty ? .malformed : .unsupported,
        "no tensors found: a dict of tensors expected, or one under a key as \"ema\", \"model\" or \"state_dict\"\(strangers)")
    }
    return Choice(keys: [], dict: root)
  }
}

/// Moments and gradients have the names of the weights that they are of.
private func isOfOptimizer(_ key: String) -> Bool {
  ["opt", "grad", "exp_avg", "moment"].contains { asciiLowercased(key).starts(withBytesOf: $0) }
}

/// "ema", "shadow".
func text(ofKeys keys: [String]) -> String {
  var text = ""
  for key in keys { text += (text.utf8.isEmpty ? "" : ", ") + jsonLiteral(key) }
  return text
}

extension PickleGraph {
  /// A dict, or what was set by key in an object: a subclass of dict.
  func dict(_ value: PickleValue) -> Int32? {
    switch value {
    case .dict(let dict): dict
    case .object(let object): objects[Int(object)].items
    default: nil
    }
  }

  /// What was set last under a key.
  func value(of key: String, in dict: Int32) -> PickleValue? {
    var found: PickleValue?
    for item in items(dict) where isText(item.key, key) { found = item.value }
    return found
  }

  fileprivate func hasTensors(_ dict: Int32) -> Bool { items(dict).contains { isTensor($0.value) } }
}
