// The JSON reader: what it accepts and what it makes of it, what it refuses and what it says. Relies on Swift Testing, and on the standard
// library's own conversion of numbers as the reference.

import Testing

@testable import DitqCore

private func json(_ bytes: [UInt8]) throws(DitqError) -> JSON {
  // A copy of exactly this size, so that a sanitizer sees a read beyond the end.
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return try JSON(parsing: UnsafeRawBufferPointer(copy))
}

private func json(_ text: String) throws(DitqError) -> JSON { try json(Array(text.utf8)) }

private func refusal(_ bytes: [UInt8]) -> String? {
  do throws(DitqError) {
    _ = try json(bytes)
    return nil
  } catch {
    return error.status == .malformed ? error.message : "not malformed, but \(error.status)"
  }
}

@Suite("JSON")
struct JSONTests {
  @Test("every kind of value is read, in the order of the file")
  func kinds() throws {
    let value = try json(" {\"a\": [null, true, false, -1.5e1, \"x\", {}, []],\r\n\t\"b\": null} ")
    let members = try #require(value.members)
    #expect(members.map { $0.name } == ["a", "b"])
    let a = try #require(value.member("a")?.array)
    #expect(
      a.map { $0.kindName } == ["null", "a boolean", "a boolean", "a number", "a string", "an object", "an array"])
    #expect(a[0].isNull && a[1].bool == true && a[2].bool == false && a[3].number == -15 && a[3].integer == -15 && a[4].string == "x")
    #expect(value.member("b")?.isNull == true)
    #expect(value.member("c") == nil)
    #expect(a[0].member("a") == nil && a[0].array == nil && a[0].members == nil && a[0].string == nil && a[0].bool == nil)
    #expect(a[0].number == nil && a[0].integer == nil && !a[1].isNull)
  }

  @Test(
    "escapes become the characters they stand for",
    arguments: [
      (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"), (#""\u0041\u00e9\u20AC""#, "Aé€"), (#""\ud83d\uDE00""#, "😀"),
      (#""\u0000""#, "\0"), ("\"é€😀\"", "é€😀"), ("\"\u{7f}\"", "\u{7f}"), (#""""#, ""), (#""\uFFFF\ue000""#, "\u{ffff}\u{e000}"),
    ])
  func escapes(text: String, expected: String) throws {
    #expect(try json(text).string.map { Array($0.utf8) } == Array(expected.utf8))
  }

  @Test("Python's words for what is no number are read, and are no integers")
  func notFinite() throws {
    let value = try json("[NaN, Infinity, -Infinity, {\"a\": -Infinity}]")
    #expect(value.array?[0].number?.isNaN == true && value.array?[1].number == .infinity && value.array?[2].number == -.infinity)
    #expect(value.array?.allSatisfy { $0.integer == nil } == true && value.array?[3].member("a")?.number == -.infinity)
    #expect(!value.isStrict && !(value.array?[3].isStrict ?? true))
    #expect(try json("[1e308, {\"a\": [0, null, \"NaN\"]}]").isStrict)
  }

  @Test("names are compared as bytes: canonically equivalent names are two names")
  func names() throws {
    let value = try json("{\"e\u{301}\": 1, \"\u{e9}\": 2}")
    #expect(value.member("\u{e9}")?.integer == 2)
  }

  @Test(
    "what is no JSON is refused, with the place and the reason",
    arguments: [
      ("", "JSON at byte 0: a value expected, the end found"), ("  ", "byte 2: a value expected, the end found"),
      ("\u{feff}1", "byte 0: a value expected, byte 239 found"), ("[1,]", "byte 3: a value expected, ']' found"),
      ("{\"a\":1,}", "byte 7: '\"' expected, '}' found"), ("{\"a\":1 x", "JSON at byte 7: ',' or '}' expected, 'x' found"),
      ("[1 2]", "byte 3: ',' or ']' expected, '2' found"), ("{\"a\" 1}", "byte 5: ':' expected, '1' found"),
      ("{a:1}", "'\"' expected, 'a' found"), ("1 1", "byte 2: the end expected, '1' found"), ("nul", "'null' expected, the end found"),
      ("True", "a value expected, 'T' found"), ("nan", "'null' expected, 'a' found"), ("+Infinity", "a value expected"),
      ("Infinit", "'Infinity' expected, the end found"), ("-Inf", "'Infinity' expected, the end found"),
      ("-NaN", "a digit expected, 'N' found"), ("NaN0", "the end expected, '0' found"),
      ("'a'", "a value expected"), ("[1}", "',' or ']' expected, '}' found"), ("\"a", "a character or '\"' expected, the end found"),
      ("\"a\nb\"", "byte 2: a character or '\"' expected, byte 10 found"), (#""\x""#, "one of \"\\/bfnrtu expected, 'x' found"),
      (#""\u12g4""#, "a hexadecimal digit expected, 'g' found"), (#""\u12"#, "a hexadecimal digit expected, the end found"),
      (#""\ud800""#, "byte 1: a lone surrogate"), (#""\udc00\ud800""#, "a lone surrogate"), (#""\ud800\ud800""#, "a lone surrogate"),
      (#""\ud800\n""#, "a lone surrogate"), (#""\ud800\u0041""#, "a lone surrogate"), ("01", "the end expected, '1' found"),
      ("-", "a digit expected, the end found"), ("+1", "a value expected, '+' found"), (".5", "a value expected, '.' found"),
      ("1.", "a digit expected, the end found"), ("1.e5", "a digit expected, 'e' found"), ("1e", "a digit expected"),
      ("1e+", "a digit expected"), ("0x10", "the end expected, 'x' found"), ("1e309", "byte 0: a number too large for a double"),
      ("-1e999999999999999999999", "a number too large"), ("1.8e308", "a number too large"),
      ("{\"a\":1,\"b\":2,\"\\u0061\":3}", "byte 0: member \"a\" stands twice"), ("[1]//", "the end expected, '/' found"),
      ("[1]\0", "byte 0 found"),
    ])
  func refusals(text: String, reason: String) throws {
    let message = try #require(refusal(Array(text.utf8)), "it was accepted: \(text)")
    #expect(message.contains(reason))
  }

  @Test(
    "ill-formed UTF-8 is refused",
    arguments: [
      [0xff], [0x80], [0xc3], [0xc0, 0x80], [0xe0, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf0, 0x9f, 0x98],
      [0xc3, 0x5c, 0x6e, 0xa9],
    ] as [[UInt8]])
  func illFormed(bytes: [UInt8]) throws {
    #expect(refusal([0x22] + bytes + [0x22])?.contains("byte 0: a string of ill-formed UTF-8") == true)
  }

  @Test("64 levels are read, 65 are refused, and a million do not exhaust the stack")
  func nesting() throws {
    func nested(_ depth: Int) -> [UInt8] {
      Array(repeating: UInt8(ascii: "["), count: depth) + Array(repeating: UInt8(ascii: "]"), count: depth)
    }
    #expect(refusal(nested(64)) == nil)
    #expect(refusal(nested(65))?.contains("byte 64: nested deeper than 64") == true)
    #expect(refusal(nested(1_000_000))?.contains("nested deeper than 64") == true)
    let objects = String(repeating: "{\"a\":", count: 65) + "1" + String(repeating: "}", count: 65)
    #expect(refusal(Array(objects.utf8))?.contains("nested deeper than 64") == true)
  }

  @Test("more values than the limit are refused before they fill the memory")
  func values() throws {
    let many = Array(repeating: Array("0,".utf8), count: Limit.jsonValues).joined()
    #expect(refusal(Array("[".utf8) + many + Array("0]".utf8))?.contains("more than 4194304 values") == true)
  }

  @Test("a repeated name is found among many thousands")
  func manyMembers() throws {
    let distinct = (0..<20_000).map { "\"n\(($0 * 7919) % 20_011)\":0" }.joined(separator: ",")
    #expect(refusal(Array("{\(distinct)}".utf8)) == nil)
    #expect(refusal(Array("{\(distinct),\"n7919\":0}".utf8))?.contains("member \"n7919\" stands twice") == true)
  }

  @Test("truncation at every byte is refused")
  func truncation() throws {
    let text = Array(#"{"a": [null, true, -1.5e-3, "x\u00e9\ud83d\ude00é"], "b": {"c": false}}"#.utf8)
    #expect(refusal(text) == nil)
    for count in text.indices { #expect(refusal(Array(text[..<count])) != nil, "\(count) bytes") }
  }

  @Test("any bit flipped ends in a value or a refusal")
  func corruption() throws {
    let text = Array(#"{"a": [null, true, -1.5e-3, "x\u00e9\ud83d\ude00é"], "b": {"c": false}}"#.utf8)
    for index in text.indices {
      for bit in 0..<8 {
        var flipped = text
        flipped[index] ^= 1 << bit
        _ = refusal(flipped)
      }
    }
  }
}

@Suite("JSON numbers")
struct JSONNumberTests {
  @Test(
    "decimals are rounded to the nearest double",
    arguments: [
      "0", "-0", "0.0", "1", "-1", "10", "0.1", "0.0001", "0.02", "0.18215", "1e-05", "1E+2", "1e0", "0e999999999999999999999", "123456789",
      "9007199254740991", "9007199254740992", "-9007199254740993", "9223372036854775807", "18446744073709551615", "0.13025", "0.00085",
      "0.012",
      "0.18214999999999998", "3.141592653589793", "2.718281828459045", "1e22", "1e23", "1e-22", "1e-23", "6.02214076e23",
      "1.7976931348623157e308",
      "2.2250738585072014e-308", "1e-300", "1e300", "1e-400", "0.30000000000000004", "123456789012345678901234567890", "1e-9999999999999",
      "0.00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001e100",
    ])
  func conversion(text: String) throws {
    let (found, expected) = (try #require(try json(text).number), try #require(Double(text)))
    #expect(found.bitPattern == expected.bitPattern, "\(found) \(expected)")
  }

  @Test("the shortest text of any normal double reads back as that double")
  func roundTrip() throws {
    var generator = Seeded(state: 1)
    for _ in 0..<20_000 {
      let number = Double(bitPattern: generator.next())
      guard number.isNormal else { continue }
      #expect(try json("\(number)").number == number)
      let ordinary = Double(generator.next() % 1_000_000_007) / 1_000_000_007
      #expect(try json("\(ordinary)").number == ordinary)
    }
  }

  @Test("subnormal numbers are read to within one unit")
  func subnormal() throws {
    for text in ["4.9406564584124654e-324", "1e-310", "2.2250738585072009e-308", "3e-320"] {
      let (found, expected) = (try #require(try json(text).number), try #require(Double(text)))
      #expect(abs(Int64(found.bitPattern) - Int64(expected.bitPattern)) <= 1)
    }
  }

  @Test("an integer is one that a double holds without doubt")
  func integers() throws {
    #expect(try json("9007199254740991").integer == 9_007_199_254_740_991)
    #expect(try json("-9007199254740991").integer == -9_007_199_254_740_991)
    #expect(try json("1.5e1").integer == 15)
    #expect(try json("-0").integer == 0)
    for text in ["9007199254740992", "9007199254740993", "1e300", "1.5", "1e-300", "\"1\"", "18446744073709551615"] {
      #expect(try json(text).integer == nil)
    }
  }
}

/// The same numbers in every run: the upper bits of a linear congruential generator.
private struct Seeded {
  var state: UInt64

  mutating func next() -> UInt64 { half() << 32 | half() }

  private mutating func half() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 32
  }
}
