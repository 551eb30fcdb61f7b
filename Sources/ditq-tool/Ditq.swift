// ditq: the command over libditq. This is the root of its commands and the one place that ends the process.
//
// Relies on ditq.h alone, as every guest of the library does. A command is a file. What the library refuses is said on stderr as
// "ditq: …" with exit status 1; what the command line gets wrong is ArgumentParser's to say, with exit status 64.

import ArgumentParser
import CDitq

@main
struct Ditq: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ditq", abstract: "Diffusion Transformers on any CPU.",
    discussion: """
      Example: how near the float GEMM comes to this CPU's peak, on one thread:
        ditq bench gemm --float --threads 1
      """,
    version: String(cString: ditq_version()), subcommands: [BenchCommand.self])

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as LibraryError {
      complain("ditq: \(error.message)")
      exit(withError: ExitCode.failure)
    } catch {
      exit(withError: error)
    }
  }
}
