// ditq: the command over libditq. This is the root of its commands and the one place that ends the process.
//
// Relies on ditq.h alone, as every guest of the library does. A command is a file. What the library refuses is said on stderr as
// "ditq: …" with exit status 1; what the command line gets wrong is ArgumentParser's to say, with exit status 64.

import ArgumentParser
import CDitq
import Glibc

@main
struct Ditq: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ditq", abstract: "Diffusion Transformers on any CPU.",
    discussion: """
      Examples: from a float model to 8 bits, what that cost, and a picture:
        ditq quantize emoji.safetensors -o emoji.ditq
        ditq compare emoji.safetensors emoji.ditq
        ditq generate emoji.ditq --class "red apple" -o apple.png
      """,
    version: String(cString: ditq_version()),
    subcommands: [InspectCommand.self, QuantizeCommand.self, GenerateCommand.self, CompareCommand.self, BenchCommand.self])

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
      // What print could not write is known only now.
      guard fflush(nil) == 0 else { throw Output.failure("standard output", errno) }
    } catch let error as LibraryError {
      complain("ditq: \(error.message)")
      exit(withError: ExitCode.failure)
    } catch {
      exit(withError: error)
    }
  }
}
