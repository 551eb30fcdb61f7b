// ditq bench: measurements. Each compares the library, in one run, with what this CPU can do at all; times of two runs are not comparable.

import ArgumentParser

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure the library against this CPU's peak.",
    discussion: """
      Example:
        ditq bench gemm --weights 8 --threads 2 --json
      """,
    subcommands: [BenchGemm.self])
}
