// The random numbers of torch.Generator("cpu").manual_seed(seed) and torch.randn: mt19937 (Matsumoto & Nishimura 1998) and Box–Muller.
// The integers are torch's exactly; logarithm, sine and cosine are ours in double precision, so values agree to 1e-6.

/// A generator whose state stands in memory of the caller.
struct TorchGenerator {
  /// 624 words, the index of the next one, and a double normal that was drawn as the second of a pair.
  struct State {
    var words: InlineArray<624, UInt32>
    var next: Int
    var spare: Double
    var hasSpare: Bool
  }
  private let state: UnsafeMutablePointer<State>

  /// Starts from a seed, of which mt19937 takes the low 32 bits.
  init(seed: UInt64, in state: UnsafeMutablePointer<State>) {
    self.state = state
    state.initialize(to: State(words: InlineArray(repeating: 0), next: 624, spare: 0, hasSpare: false))
    state.pointee.words[0] = UInt32(truncatingIfNeeded: seed)
    for i in 1..<624 {
      let previous = state.pointee.words[i - 1]
      state.pointee.words[i] = 1_812_433_253 &* (previous ^ previous >> 30) &+ UInt32(i)
    }
  }

  /// Goes on with a state that `init(seed:in:)` made.
  init(resuming state: UnsafeMutablePointer<State>) { self.state = state }

  private func nextWord() -> UInt32 {
    if state.pointee.next == 624 { twist() }
    var y = state.pointee.words[state.pointee.next]
    state.pointee.next += 1
    y ^= y >> 11
    y ^= y << 7 & 0x9d2c_5680
    y ^= y << 15 & 0xefc6_0000
    return y ^ y >> 18
  }

  private func twist() {
    for i in 0..<624 {
      let y = state.pointee.words[i] & 0x8000_0000 | state.pointee.words[(i + 1) % 624] & 0x7fff_ffff
      state.pointee.words[i] = state.pointee.words[(i + 397) % 624] ^ y >> 1 ^ (y & 1 == 0 ? 0 : 0x9908_b0df)
    }
    state.pointee.next = 0
  }

  /// torch.randn(count): below 16 values pairs of doubles, one kept for the next call; from 16 on blocks of 16 floats, and where count is
  /// no multiple of 16 the last 16 are drawn anew. Left undone where the call is cancelled.
  func fillNormal(_ values: UnsafeMutablePointer<Float>, count: Int, _ cancellation: Cancellation? = nil) {
    guard count >= 16 else {
      for i in 0..<count { values[i] = Float(nextNormal()) }
      return
    }
    for start in stride(from: 0, through: count - 16, by: 16) {
      if cancellation?.isAsked == true { return }
      fillBlock(values + start)
    }
    guard count % 16 != 0 else { return }
    // What torch draws for the values past the last whole block, and then draws anew.
    for _ in 0..<count % 16 { _ = nextUniform() }
    fillBlock(values + count - 16)
  }

  private func fillBlock(_ values: UnsafeMutablePointer<Float>) {
    for i in 0..<16 { values[i] = nextUniform() }
    TorchGenerator.boxMuller(values)
  }

  /// In [0, 1), 24 bits.
  private func nextUniform() -> Float { Float(nextWord() & 0xff_ffff) * 0x1p-24 }

  /// In [0, 1), 53 bits of two words, the high one first.
  private func nextUniformDouble() -> Double {
    let high = UInt64(nextWord()), low = UInt64(nextWord())
    let bits: UInt64 = (high << 32 | low) & ((1 << 53) - 1)
    return Double(bits) * 0x1p-53
  }

  private func nextNormal() -> Double {
    if state.pointee.hasSpare {
      state.pointee.hasSpare = false
      return state.pointee.spare
    }
    let u1 = nextUniformDouble(), u2 = nextUniformDouble()
    let radius = (-2 * logarithm(1 - u2)).squareRoot()
    let (sine, cosine) = sineAndCosine(2 * Double.pi * u1)
    state.pointee.spare = radius * sine
    state.pointee.hasSpare = true
    return radius * cosine
  }

  /// Sixteen uniforms to sixteen normals: value i with value i + 8.
  private static func boxMuller(_ values: UnsafeMutablePointer<Float>) {
    for i in 0..<8 {
      let radius = (-2 * logarithm(Double(1 - values[i]))).squareRoot()
      // torch rounds the angle to a float.
      let (sine, cosine) = sineAndCosine(Double(Float(2 * Double.pi) * values[i + 8]))
      values[i] = Float(radius * cosine)
      values[i + 8] = Float(radius * sine)
    }
  }
}
