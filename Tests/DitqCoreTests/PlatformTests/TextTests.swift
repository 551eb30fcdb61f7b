// Text as bytes: comparison without Unicode's equivalences, parts, JSON literals.

import Foundation
import Testing

@testable import DitqCore

@Suite("Text")
struct TextTests {
  private let composed = "caf\u{e9}"
  private let decomposed = "cafe\u{301}"

  @Test("strings are equal when their bytes are")
  func equality() {
    #expect((composed as NSString).isEqual(to: composed))
    #expect(!(composed == decomposed) && composed != decomposed && composed == "caf\u{e9}")
    #expect(!("a" == "a\u{0}") && "" == "" && !("" == "\u{0}"))
    var matched = ""
    switch decomposed {
    case "caf\u{e9}": matched = "composed"
    case "cafe\u{301}": matched = "decomposed"
    default: break
    }
    #expect(matched.utf8.elementsEqual("decomposed".utf8))
  }

  @Test("strings are ordered by their bytes")
  func order() {
    #expect(precedes("a", "b") && !precedes("b", "a") && !precedes("a", "a"))
    #expect(precedes("", "a") && precedes("a", "aa") && precedes("Z", "a") && precedes("block.10", "block.2"))
    #expect(precedes(decomposed, composed))  // e < 0xC3
    #expect(precedes("z", "\u{e9}"))
  }

  @Test("beginnings and ends are found byte by byte")
  func parts() {
    #expect("abc".starts(withBytesOf: "ab") && "abc".starts(withBytesOf: "") && !"abc".starts(withBytesOf: "b"))
    #expect(!"ab".starts(withBytesOf: "abc"))
    #expect("abc".ends(withBytesOf: "bc") && "abc".ends(withBytesOf: "") && !"abc".ends(withBytesOf: "b"))
    #expect(!"bc".ends(withBytesOf: "abc"))
    #expect(decomposed.starts(withBytesOf: "cafe") && !composed.starts(withBytesOf: "cafe"))
    #expect(decomposed.ends(withBytesOf: "\u{301}"))
  }

  @Test("a text is split at its separators, the last of a limited number of parts having the rest")
  func splitting() {
    #expect(split("blocks.3.mlp.fc2", at: ".", into: 3).elementsEqual(["blocks", "3", "mlp.fc2"]) { $0 == $1 })
    #expect(split("a,b , c", at: ",").elementsEqual(["a", "b ", " c"]) { $0 == $1 })
    #expect(split("abc", at: ",").elementsEqual(["abc"]) { $0 == $1 })
    #expect(split("a.b.c", at: ".", into: 1).elementsEqual(["a.b.c"]) { $0 == $1 })
    #expect(split("ä,ö", at: ",").elementsEqual(["ä", "ö"]) { $0 == $1 })
    #expect(split("", at: ",").isEmpty && split(",", at: ",").isEmpty)
  }

  @Test("only ASCII capitals are lowered")
  func lowering() {
    #expect(asciiLowercased("AZaz09@[`{ ÄÉ") == "azaz09@[`{ ÄÉ")
    #expect(asciiLowercased("") == "")
    for byte in UInt8(0)..<128 {
      let scalar = String(UnicodeScalar(byte))
      #expect(asciiLowercased(scalar) == scalar.lowercased())
    }
  }

  @Test("shapes are shown as torch shows them")
  func shapes() {
    #expect(text(ofShape: []) == "[]" && text(ofShape: [3456]) == "[3456]" && text(ofShape: [3456, 1152, 1]) == "[3456, 1152, 1]")
  }

  @Test("a JSON literal escapes quotes, backslashes and control characters, and nothing else")
  func literals() {
    #expect(jsonLiteral("") == "\"\"" && jsonLiteral("a b/c") == "\"a b/c\"")
    #expect(jsonLiteral("\"\\") == "\"\\\"\\\\\"")
    #expect(jsonLiteral("\n\t\r\u{0}\u{1f}\u{7f}") == "\"\\u000a\\u0009\\u000d\\u0000\\u001f\\u007f\"")
    #expect(jsonLiteral("\u{80}\u{9f}\u{a0}") == "\"\\u0080\\u009f\u{a0}\"")
    #expect(jsonLiteral("ä 🍎 \u{2028}") == "\"ä 🍎 \u{2028}\"")
  }

  @Test("a JSON literal is read back as the same text")
  func roundTrip() throws {
    var random = SplitMix(1)
    var samples = (UInt32(0)..<0x300).compactMap { UnicodeScalar($0).map { "x" + String($0) + "y" } }
    for _ in 0..<200 {
      samples.append(String(String.UnicodeScalarView((0..<20).compactMap { _ in UnicodeScalar(UInt32(random.next() % 0x11_0000)) })))
    }
    for sample in samples {
      let object = try JSONSerialization.jsonObject(with: Data("[\(jsonLiteral(sample))]".utf8)) as? [String]
      #expect(object?.first?.utf8.elementsEqual(sample.utf8) == true)
    }
  }
}
