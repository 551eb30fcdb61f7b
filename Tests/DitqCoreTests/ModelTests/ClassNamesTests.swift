// Class names: labels of names, aliases, the nearest of an unknown one, C strings.

import Testing

@testable import DitqCore

@Suite("Class names")
struct ClassNamesTests {
  private let imageNet = ["tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "Crane , machine", "", "red apple"]

  private func names(_ names: [String], classCount: Int = 10) throws -> ClassNames { try ClassNames(names, classCount: classCount) }

  @Test(
    "a name is found whole, then by its aliases, without regard to ASCII case and spaces around it",
    arguments: [
      ("tench, Tinca tinca", 0), ("TENCH, TINCA TINCA", 0), ("tinca tinca", 0), ("Goldfish", 1), ("  carassius AURATUS ", 1), ("crane", 2),
      ("CRANE", 2), ("machine", 3), ("crane , machine", 3), ("red apple", 5), ("Red Apple", 5),
    ])
  func found(name: String, label: Int) throws { #expect(try names(imageNet).label(of: name) == label) }

  /// As ImageNet has them at 134, 517; 264, 474; 387, 388; 494, 577; 513, 566; 358, 361; 593, 594; 638, 639.
  private let shared = [
    "crane", "crane", "Cardigan, Cardigan Welsh corgi", "cardigan", "lesser panda, red panda, panda, bear cat",
    "giant panda, panda, panda bear",
    "chime, bell, gong", "gong, tam-tam", "cornet, horn, trumpet, trump", "French horn, horn", "polecat, fitch, foulmart",
    "skunk, polecat, wood pussy", "harmonica, mouth organ, harp", "harp", "maillot", "maillot, tank suit",
  ]

  @Test(
    "a name as it is written goes before one in other letters, and an alias of several is the last's, as diffusers has it",
    arguments: [
      ("Cardigan", 2), ("cardigan", 3), ("panda", 5), ("gong", 7), ("horn", 9), ("polecat", 11), ("harp", 13), ("HARP", 13),
      ("CARDIGAN", 3),
      ("maillot, tank suit", 15), ("Red Panda", 4),
    ])
  func precedence(name: String, label: Int) throws { #expect(try names(shared, classCount: 20).label(of: name) == label) }

  @Test(
    "a name of several classes is refused with their labels",
    arguments: [("crane", "0, 1"), ("Crane", "0, 1"), ("maillot", "14, 15"), ("Panda", "4, 5")])
  func several(name: String, labels: String) throws {
    let error = thrown { try names(shared, classCount: 20).label(of: name) }
    #expect(error?.status == .invalidArgument)
    #expect(error?.message == "\(name): a name of one class expected, that of labels \(labels) found; give the label")
  }

  @Test(
    "white space of any kind around names does not count",
    arguments: ["\u{a0}red apple\u{3000}", "\tred apple\r\n", "\u{feff}red apple\u{2009}\u{85}"])
  func space(name: String) throws {
    #expect(try names(imageNet).label(of: name) == 5)
    #expect(try names(["a", "\u{2003}\(name),b\u{a0}"]).label(of: "red apple") == 1)
  }

  @Test("names that contain what was asked are told first")
  func containing() throws {
    let message = thrown { try names(["ox", "fax", "unicorn face", "fox face", "box"]).label(of: "fox") }?.message
    #expect(message == "fox: no such class; the nearest are \"fox face\", \"ox\", \"fax\"")
  }

  @Test("letters beyond ASCII are compared as they are")
  func unicode() throws {
    #expect(try names(["Äpfel"]).label(of: "Äpfel") == 0)
    #expect(try names(["Äpfel"]).label(of: "ÄPFEL") == 0)
    #expect(thrown { try names(["Äpfel"]).label(of: "äpfel") }?.status == .notFound)
    #expect(thrown { try names(["caf\u{e9}"]).label(of: "cafe\u{301}") }?.status == .notFound)
  }

  @Test(
    "an unknown name is told the three nearest, best first",
    arguments: [("rad aple", "\"red apple\""), ("goldfihs", "\"goldfish, Carassius auratus\"")])
  func nearest(name: String, best: String) throws {
    let error = try #require(thrown { try names(imageNet).label(of: name) })
    #expect(error.status == .notFound)
    #expect(error.message.hasPrefix("\(name): no such class; the nearest are \(best), "))
    #expect(error.message.split(separator: "\"").count == 2 * 3, "three names in quotation marks, no empty one")
  }

  @Test("distance is counted in insertions, deletions and substitutions, ties in the order of labels")
  func distance() throws {
    let message = thrown { try names(["abcd", "abxd", "bcd", "zzzzzz", "abcde"]).label(of: "abd") }?.message
    #expect(message == "abd: no such class; the nearest are \"abcd\", \"abxd\", \"bcd\"")
  }

  @Test("a name of nothing, and a model without names, are told apart")
  func empty() throws {
    #expect(thrown { try names(imageNet).label(of: "") }?.status == .invalidArgument)
    #expect(thrown { try names(imageNet).label(of: "   ") }?.status == .invalidArgument)
    let error = thrown { try names([]).label(of: "apple") }
    #expect(error?.status == .notFound && error?.message == "apple: this model names no classes")
    #expect(thrown { try names(imageNet).label(of: ",") }?.status == .notFound)
  }

  @Test("a very long name is answered, and does not cost the square of its length")
  func long() throws {
    let name = String(repeating: "apple", count: 200_000)
    #expect(thrown { try names(imageNet).label(of: name) }?.status == .notFound)
  }

  @Test("labels have their names, as texts and as C strings; others have none")
  func labels() throws {
    let names = try names(imageNet)
    #expect(names.count == 6 && names[0] == "tench, Tinca tinca" && names[5] == "red apple")
    #expect(names[4] == nil && names[6] == nil && names[-1] == nil && names[.max] == nil, "an empty name is none")
    for label in -1...7 { #expect(names.cString(label).map { String(cString: $0) } == names[label]) }
    #expect(names.cString(1) == names.cString(1), "the same address each time")
  }

  @Test("more names than classes, and a name with a NUL, are refused")
  func refusals() {
    #expect(thrown { try names(["a", "b", "c"], classCount: 2) }?.message == "class names: at most 2 expected, 3 found")
    #expect(thrown { try names(["a", "b\u{0}c"]) }?.message == "class names: the name of label 1 contains a NUL")
    #expect(thrown { try names(["a", "b"], classCount: 2) } == nil)
  }
}
