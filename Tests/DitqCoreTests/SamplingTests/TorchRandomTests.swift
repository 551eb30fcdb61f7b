// The random numbers against torch's own, and what makes them one stream.

import Testing

@testable import DitqCore

/// A generator with its memory.
private final class Source {
  private let state = UnsafeMutablePointer<TorchGenerator.State>.allocate(capacity: 1)
  init(seed: UInt64) { _ = TorchGenerator(seed: seed, in: state) }
  deinit { state.deallocate() }

  /// The next numbers, by a generator that resumes the state.
  func normals(_ count: Int) -> [Float] {
    let values = Buffer(count: count, filledWith: .nan)
    TorchGenerator(resuming: state).fillNormal(values.floats, count: count)
    #expect(values.isIntact)
    return values.values
  }

  /// The words that were used of the present 624.
  var used: Int { state.pointee.next }
}

private let counts = [1, 2, 15, 16, 17, 31, 32, 100, 4096]

@Suite("Random numbers")
struct TorchRandomTests {
  @Test("a seed gives the numbers of torch.randn", arguments: [("diffusers-a", 1), ("diffusers-b", 2)] as [(String, UInt64)], counts)
  func golden(fixture: (name: String, seed: UInt64), count: Int) throws {
    let expected = try Fixture.tensors(fixture.name + "/golden.safetensors").floats("randn.\(fixture.seed).\(count)")
    let found = Source(seed: fixture.seed).normals(count)
    #expect(largestDifference(found, expected) <= 1e-6, "the promise of ditq.h")
  }

  /// From 16 numbers on, uniforms are drawn in order and turned into normals sixteen by sixteen. A fill of a multiple of 16 draws nothing
  /// more, so fills in a row are the blocks of one long one, over the twist after each 624 words too.
  @Test("fills of sixteen in a row are the blocks of one long fill, as torch has it")
  func stream() throws {
    let expected = try Fixture.tensors("diffusers-a/golden.safetensors").floats("randn.1.4096")
    let source = Source(seed: 1)
    let found = (0..<256).flatMap { _ in source.normals(16) }
    #expect(same(found, Source(seed: 1).normals(4096)))
    #expect(largestDifference(found, expected) <= 1e-6)
  }

  /// Below 16, normals come in pairs of doubles, and the second of a pair waits for the next call.
  @Test("a number that was drawn as the second of a pair is the first of the next small fill")
  func spare() throws {
    let source = Source(seed: 2)
    let found = source.normals(1) + source.normals(2) + source.normals(12)
    #expect(same(found, Source(seed: 2).normals(15)))
    #expect(largestDifference(found, try Fixture.tensors("diffusers-b/golden.safetensors").floats("randn.2.15")) <= 1e-6)
  }

  @Test("a fill that is no multiple of sixteen draws its last sixteen anew")
  func tail() {
    let source = Source(seed: 3), whole = Source(seed: 3).normals(48)
    let found = source.normals(17)
    #expect(source.used == 17 + 16)
    #expect(found[0] == whole[0], "what comes before the last sixteen is as it was")
    #expect(found[1] != whole[1])
    // Where the fill is a multiple of sixteen, one word is one number.
    let other = Source(seed: 3)
    _ = other.normals(32)
    #expect(other.used == 32)
  }

  @Test("only the low 32 bits of a seed count, and every one of them does")
  func seeds() {
    let reference = Source(seed: 5).normals(16)
    #expect(same(Source(seed: 5 | 1 << 32 | 1 << 63).normals(16), reference))
    for bit in UInt64(0)..<32 { #expect(!same(Source(seed: 5 ^ 1 << bit).normals(16), reference)) }
    #expect(Source(seed: .max).normals(64).allSatisfy { $0.isFinite })
  }

  @Test("many numbers have mean 0 and variance 1 and are finite")
  func moments() {
    let count = 1 << 20
    let values = Source(seed: 7).normals(count)
    let mean = values.reduce(0) { $0 + Double($1) } / Double(count)
    let variance = values.reduce(0) { $0 + Double($1) * Double($1) } / Double(count)
    // Five standard errors: 1/√n and √(2/n).
    #expect(abs(mean) < 5 / 1024 && abs(variance - 1) < 5 * 1.4142 / 1024)
    // The radius is √(−2 ln 2⁻²⁴) = 5.8 at most.
    #expect(values.allSatisfy { abs($0) < 5.8 })
  }
}
