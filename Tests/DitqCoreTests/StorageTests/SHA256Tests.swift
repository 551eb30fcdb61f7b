// SHA-256 against the vectors of FIPS 180-4 and NIST, in one piece and in many.

import Testing

@testable import DitqCore

private func digest(_ pieces: [[UInt8]]) -> String {
  var hash = SHA256()
  for piece in pieces { piece.withUnsafeBytes { hash.update($0) } }
  return hexadecimal(hash.digest())
}

@Suite("SHA-256")
struct SHA256Tests {
  @Test(
    "the published digests",
    arguments: [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
      (
        "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
      ),
    ])
  func published(text: String, expected: String) { #expect(digest([Array(text.utf8)]) == expected) }

  @Test("a million times 'a'")
  func million() {
    let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    #expect(digest([[UInt8](repeating: 0x61, count: 1_000_000)]) == expected)
    #expect(digest(Array(repeating: [UInt8](repeating: 0x61, count: 1000), count: 1000)) == expected)
  }

  @Test("the digest does not depend on the pieces in which the bytes come")
  func pieces() {
    let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0 &* 37) }
    for count in 0...bytes.count {
      let whole = digest([Array(bytes[..<count])])
      for split in [0, 1, 55, 56, 63, 64, 65, 128, 200] where split <= count {
        #expect(digest([Array(bytes[..<split]), [], Array(bytes[split..<count])]) == whole)
      }
      #expect(digest(bytes[..<count].map { [$0] }) == whole)
    }
  }

  @Test("asking for the digest does not end the stream")
  func digestTwice() {
    var hash = SHA256()
    Array("ab".utf8).withUnsafeBytes { hash.update($0) }
    #expect(hash.digest() == hash.digest())
    Array("c".utf8).withUnsafeBytes { hash.update($0) }
    #expect(hexadecimal(hash.digest()) == digest([Array("abc".utf8)]))
  }

  @Test("hexadecimal text has two lower-case digits a byte")
  func text() {
    #expect(hexadecimal([0, 0x0f, 0xa0, 0xff]) == "000fa0ff")
    #expect(hexadecimal([]) == "")
  }
}
