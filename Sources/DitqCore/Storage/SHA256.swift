// SHA-256 (FIPS 180-4) of a stream of bytes, in whatever pieces it comes. Relies on nothing; refuses nothing.
// It serves to recognise files, not to keep secrets: nothing is wiped.

struct SHA256 {
  private var state: SIMD8<UInt32> = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  private var byteCount: UInt64 = 0
  /// The bytes after the last whole block stand at its beginning.
  private var partial = SIMD64<UInt8>()

  init() {}

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    let filled = Int(byteCount % 64)
    byteCount &+= UInt64(bytes.count)
    var rest = bytes[...]
    if filled > 0 {
      let head = rest.prefix(64 - filled)
      withUnsafeMutableBytes(of: &partial) { UnsafeMutableRawBufferPointer(rebasing: $0[filled...]).copyBytes(from: head) }
      guard filled + head.count == 64 else { return }
      withUnsafeBytes(of: partial) { compress(&state, $0) }
      rest = rest.dropFirst(head.count)
    }
    let whole = rest.prefix(rest.count / 64 * 64)
    compress(&state, UnsafeRawBufferPointer(rebasing: whole))
    withUnsafeMutableBytes(of: &partial) { $0.copyBytes(from: rest.dropFirst(whole.count)) }
  }

  /// The eight words for all that came so far.
  func words() -> SIMD8<UInt32> {
    // A one bit, zeros, and the length in bits, so that the last block is full.
    let zeros = 64 - Int((byteCount &+ 8) % 64)
    var padding = SIMD64<UInt8>(), padded = self
    padding[0] = 0x80
    withUnsafeBytes(of: padding) { padded.update(UnsafeRawBufferPointer(rebasing: $0[..<zeros])) }
    withUnsafeBytes(of: (byteCount &* 8).bigEndian) { padded.update($0) }
    return padded.state
  }

  /// Their 32 bytes.
  func digest() -> [UInt8] {
    let words = self.words()
    return (0..<32).map { UInt8(truncatingIfNeeded: words[$0 / 4] >> UInt32(24 - $0 % 4 * 8)) }
  }
}

/// "ba7816bf…": two lower-case digits a byte.
func hexadecimal(_ bytes: [UInt8]) -> String {
  let digits = Array("0123456789abcdef".utf8)
  return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

// MARK: - Blocks

/// Feeds whole blocks of 64 bytes to the state.
private func compress(_ state: inout SIMD8<UInt32>, _ blocks: UnsafeRawBufferPointer) {
  withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
    roundConstants.withUnsafeBufferPointer { constants in
      for offset in stride(from: 0, to: blocks.count, by: 64) {
        for i in 0..<16 { schedule[i] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: offset + i * 4, as: UInt32.self)) }
        for i in 16..<64 {
          let (early, late) = (schedule[i - 15], schedule[i - 2])
          let sigma0 = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
          let sigma1 = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
          schedule[i] = schedule[i - 16] &+ sigma0 &+ schedule[i - 7] &+ sigma1
        }
        state &+= rounds(state, UnsafeBufferPointer(schedule), constants)
      }
    }
  }
}

/// The 64 rounds. Eight at a time, so that the working variables change their names instead of their places.
private func rounds(
  _ state: SIMD8<UInt32>, _ schedule: UnsafeBufferPointer<UInt32>, _ constants: UnsafeBufferPointer<UInt32>
) -> SIMD8<UInt32> {
  var (a, b, c, d, e, f, g, h) = (state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7])
  for i in stride(from: 0, to: 64, by: 8) {
    round(a, b, c, &d, e, f, g, &h, schedule[i] &+ constants[i])
    round(h, a, b, &c, d, e, f, &g, schedule[i + 1] &+ constants[i + 1])
    round(g, h, a, &b, c, d, e, &f, schedule[i + 2] &+ constants[i + 2])
    round(f, g, h, &a, b, c, d, &e, schedule[i + 3] &+ constants[i + 3])
    round(e, f, g, &h, a, b, c, &d, schedule[i + 4] &+ constants[i + 4])
    round(d, e, f, &g, h, a, b, &c, schedule[i + 5] &+ constants[i + 5])
    round(c, d, e, &f, g, h, a, &b, schedule[i + 6] &+ constants[i + 6])
    round(b, c, d, &e, f, g, h, &a, schedule[i + 7] &+ constants[i + 7])
  }
  return [a, b, c, d, e, f, g, h]
}

@inline(__always)
private func round(
  _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: inout UInt32, _ e: UInt32, _ f: UInt32, _ g: UInt32, _ h: inout UInt32, _ input: UInt32
) {
  let choice = g ^ (e & (f ^ g))
  let majority = (a & b) | (c & (a | b))
  let mixed = h &+ (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) &+ choice &+ input
  d &+= mixed
  h = mixed &+ (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) &+ majority
}

/// To the right.
@inline(__always)
private func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 { word &>> count | word &<< (32 - count) }

/// The first 32 bits of the fractions of the cube roots of the first 64 primes.
private let roundConstants: [UInt32] = [
  0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
  0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
  0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
  0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
  0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
  0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
  0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
  0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
]
