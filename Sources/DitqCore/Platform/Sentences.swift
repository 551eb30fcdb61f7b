// How sentences are put together. The standard library's own pieces of an interpolation, and its joining of texts, are inlined wherever a sentence
// is made; in the shipped library that was a fifth of the code. These shadow them, in the facade too, by calls: sentences are never in a hurry.

extension DefaultStringInterpolation {
  @export(interface)
  @inline(never)
  package mutating func appendLiteral(_ literal: String) { literal.write(to: &self) }

  @export(interface)
  @inline(never)
  package mutating func appendInterpolation(_ text: String) { text.write(to: &self) }

  @export(interface)
  @inline(never)
  package mutating func appendInterpolation(_ number: Int) { String(number).write(to: &self) }

  @export(interface)
  @inline(never)
  package mutating func appendInterpolation(_ number: Float) { number.write(to: &self) }

  @export(interface)
  @inline(never)
  package mutating func appendInterpolation(_ number: Double) { number.write(to: &self) }
}

extension String {
  @export(interface)
  @inline(never)
  package static func + (a: String, b: String) -> String {
    var sum = a
    b.write(to: &sum)
    return sum
  }

  @export(interface)
  @inline(never)
  package static func += (a: inout String, b: String) { b.write(to: &a) }

  @export(interface)
  @inline(never)
  package var isEmpty: Bool { utf8.count == 0 }
}

extension String.UTF8View {
  @export(interface)
  @inline(never)
  package var count: Int { distance(from: startIndex, to: endIndex) }
}
