// ditq bench: measurements, and models of random weights to measure. Each compares the library, in one run, with what this CPU can do at all;
// times of two runs are not comparable.

import ArgumentParser

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure the library against this CPU's peak.",
    discussion: """
      Examples:
        ditq bench gemm --weights 8 --threads 2 --json
        ditq bench step --config DiT-XL/2 --weights 8 --threads 2
        ditq bench decode --size 256 --decoder 8
        ditq bench write --config DiT-S/2 -o /tmp/dit-s2
      """,
    subcommands: [BenchGemm.self, BenchStep.self, BenchDecode.self, BenchWrite.self])
}
