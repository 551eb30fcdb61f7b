// What a command is told of a model beside its path, for files that do not say it.

import ArgumentParser

struct OpenOptions: ParsableArguments {
  @Option(help: "Attention heads, 0 = what the file says, or the public sizes have.")
  var heads: Int32 = 0

  func open(_ path: String) throws -> Model { try Model(path: path, heads: heads) }
}
