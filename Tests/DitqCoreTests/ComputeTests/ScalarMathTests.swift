// sin, cos, exp and log against the system's, which are good to an ulp or so: 1e-15 is what ours promise, and 2.2e-16 is an ulp of 1.

import Foundation
import Testing

@testable import DitqCore

@Suite("Scalar mathematics")
struct ScalarMathTests {
  private let tolerance = 1e-15

  private func expectSineAndCosine(_ x: Double) {
    let (sine, cosine) = sineAndCosine(x)
    if !(abs(sine - sin(x)) <= tolerance && abs(cosine - cos(x)) <= tolerance) {
      Issue.record("\(x): sine \(sine) and cosine \(cosine), \(sin(x)) and \(cos(x)) expected")
    }
  }

  @Test("sine and cosine are right over a million in both directions", arguments: [1, 10, 1000, 1e5, 1e6])
  func sines(limit: Double) {
    var random = SplitMix(1)
    for _ in 0..<20_000 { expectSineAndCosine(random.uniform(-limit, limit)) }
    expectSineAndCosine(limit)
    expectSineAndCosine(-limit)
  }

  @Test("sine and cosine are right around every boundary of an octant")
  func boundaries() {
    for k in -4000...4000 {
      let boundary = Double(k) * .pi / 4
      for x in [boundary, boundary.nextUp, boundary.nextDown, boundary + 1e-9, boundary - 1e-9] { expectSineAndCosine(x) }
    }
    // Where the reduction has the fewest bits left: multiples of π / 2 near a million.
    for k in 636_000...636_600 { expectSineAndCosine(Double(k) * .pi / 2) }
  }

  @Test("sine keeps small arguments, is odd to the bit, and cosine even")
  func symmetry() {
    var random = SplitMix(2)
    #expect(sineAndCosine(0) == (0, 1))
    for x in [1e-300, 1e-20, 1e-10] { #expect(sineAndCosine(x).sine == x && sineAndCosine(x).cosine == 1) }
    for _ in 0..<10_000 {
      let x = random.uniform(-1e4, 1e4), plus = sineAndCosine(x), minus = sineAndCosine(-x)
      #expect(plus.sine == -minus.sine && plus.cosine == minus.cosine)
    }
  }

  @Test("the exponential is right to 1e-15 of itself from e⁻⁷⁰⁰ to e⁷⁰⁰", arguments: [1e-8, 0.3, 1, 30, 700])
  func exponentials(limit: Double) {
    var random = SplitMix(3)
    for _ in 0..<20_000 {
      let x = random.uniform(-limit, limit), expected = exp(x), found = exponential(x)
      if !(abs(found - expected) <= tolerance * expected) { Issue.record("exp(\(x)) = \(found), \(expected) expected") }
    }
  }

  @Test("the exponential is right where its argument is divided, at odd multiples of half of ln 2")
  func exponentialBoundaries() {
    #expect(exponential(0) == 1)
    for n in -1000...1000 {
      let boundary = (Double(n) + 0.5) * 0.693_147_180_559_945_3
      for x in [boundary, boundary.nextUp, boundary.nextDown, Double(n) * 0.693_147_180_559_945_3] {
        #expect(abs(exponential(x) - exp(x)) <= tolerance * exp(x))
      }
    }
  }

  @Test("the logarithm is right to 1e-15 of itself over all normal numbers")
  func logarithms() {
    var random = SplitMix(4)
    for _ in 0..<50_000 {
      let x = Double(sign: .plus, exponent: Int(random.next() % 2046) - 1022, significand: 1 + random.unit())
      if !(abs(logarithm(x) - log(x)) <= tolerance * abs(log(x))) { Issue.record("log(\(x)) = \(logarithm(x)), \(log(x)) expected") }
    }
    #expect(logarithm(1) == 0)
    #expect(abs(logarithm(.leastNormalMagnitude) - log(.leastNormalMagnitude)) <= tolerance * 709)
  }

  @Test("the logarithm is right near 1 and near √2, where its argument is divided")
  func logarithmBoundaries() {
    var random = SplitMix(5)
    for _ in 0..<20_000 {
      for x in [1 + random.uniform(-1e-6, 1e-6), random.uniform(0.7, 1.5), 1 - random.unit() * 0x1p-24] {
        if !(abs(logarithm(x) - log(x)) <= tolerance * abs(log(x))) { Issue.record("log(\(x)) = \(logarithm(x)), \(log(x)) expected") }
      }
    }
    for x in [Double(2).squareRoot(), Double(0.5).squareRoot()] {
      for x in [x, x.nextUp, x.nextDown] { #expect(abs(logarithm(x) - log(x)) <= tolerance) }
    }
    for e in [-24, -53, -1, 1, 10] { #expect(abs(logarithm(scalbn(1, e)) - Double(e) * M_LN2) <= tolerance * abs(Double(e))) }
  }
}
