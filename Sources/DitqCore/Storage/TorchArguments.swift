// What a training checkpoint says of its training: the scalars of "args", as data. An extension of the graph in PickleGraph.swift. Refuses
// nothing: what is no scalar, and more than the limit, is left out.

extension PickleGraph {
  /// Under which keys trainers keep them.
  private static let argumentKeys = ["args", "hyper_parameters", "hparams", "config", "cfg"]

  /// Of the first key that has any, an object; what was set last stands first.
  func arguments(in dict: Int32) -> JSON? {
    for key in PickleGraph.argumentKeys {
      guard let value = value(of: key, in: dict), let members = attributes(value) else { continue }
      var found: [JSON.Member] = []
      for (key, value) in items(members) where found.count < Limit.checkpointArguments {
        if let name = text(key), let scalar = scalar(value) { found.append(JSON.Member(name: name, value: scalar)) }
      }
      if !found.isEmpty { return .object(found.reversed()) }
    }
    return nil
  }

  /// A dict or what was set in an object by key; of a namespace its state.
  private func attributes(_ value: PickleValue) -> Int32? {
    if let dict = dict(value) { return dict }
    guard case .object(let object) = value, case .dict(let state) = objects[Int(object)].state else { return nil }
    return state
  }

  private func scalar(_ value: PickleValue) -> JSON? {
    switch value {
    case .none: .null
    case .bool(let truth): .bool(truth)
    case .integer(let number): Int(exactly: Double(number)) == number ? .number(Double(number)) : nil
    case .fraction(let number): number.isFinite ? .number(number) : nil
    case .text: text(value).map { .string($0) }
    default: nil
    }
  }
}
