// The DDIM step and guidance: what they must do whatever the network says, and the first step of the official golden run.

import Foundation
import Testing

@testable import DitqCore

private func stepped(_ step: DDIMStep, _ x: [Float], _ prediction: [Float], noise: [Float]? = nil) -> [Float] {
  sampled(x, prediction, noise: noise) { step.apply($0) }.x
}

@Suite("DDIM")
struct DDIMTests {
  private let alphaBars = NoiseSchedule(SamplingSettings(), .double).alphaBars
  private let origin = Matrix.random(1, 256, 1).values
  private let epsilon = Matrix.random(1, 256, 2, -3, 3).values

  /// x at a noise level: √ᾱ · x₀ + √(1 − ᾱ) · ε.
  private func noised(_ alphaBar: Double) -> [Float] {
    zip(origin, epsilon).map { Float(alphaBar.squareRoot() * Double($0) + (1 - alphaBar).squareRoot() * Double($1)) }
  }

  @Test(
    "told the exact noise, a step without new noise moves to the next noise level", arguments: [(999, 874), (500, 375), (125, 0), (1, 0)])
  func exactNoise(from: Int, to: Int) {
    let step = DDIMStep(alphaBar: alphaBars[from], nextAlphaBar: alphaBars[to], eta: 0)
    let found = stepped(step, noised(alphaBars[from]), epsilon)
    // x was rounded before the step, of at most 4 in size, and the step enlarges that by √(ᾱ' / ᾱ); the two results are rounded again.
    let tolerance = 4 * roundoff * (alphaBars[to] / alphaBars[from]).squareRoot() + 8 * roundoff
    #expect(largestDifference(found, noised(alphaBars[to])) <= tolerance)
  }

  @Test("the last step gives the origin itself, with or without eta", arguments: [0, 0.5, 1])
  func lastStep(eta: Double) {
    let alphaBar = alphaBars[125], step = DDIMStep(alphaBar: alphaBar, nextAlphaBar: 1, eta: eta), x = noised(alphaBar)
    #expect(step.sigma == 0)
    let found = stepped(step, x, epsilon)
    for i in x.indices {
      #expect(found[i] == Float((Double(x[i]) - (1 - alphaBar).squareRoot() * Double(epsilon[i])) / alphaBar.squareRoot()))
    }
    #expect(largestDifference(found, origin) <= 4 * roundoff / alphaBar.squareRoot() + roundoff)
    #expect(same(stepped(step, x, epsilon, noise: epsilon), found), "noise of no size changes nothing")
  }

  @Test("eta 1 is the variance of DDPM's posterior, eta its square root, and 0 none", arguments: [(999, 874), (500, 375), (125, 0)])
  func sigma(from: Int, to: Int) {
    let (now, next) = (alphaBars[from], alphaBars[to])
    let posterior = (1 - next) / (1 - now) * (1 - now / next)
    #expect(abs(DDIMStep(alphaBar: now, nextAlphaBar: next, eta: 1).sigma - posterior.squareRoot()) < 1e-15)
    #expect(abs(DDIMStep(alphaBar: now, nextAlphaBar: next, eta: 0.25).sigma - 0.25 * posterior.squareRoot()) < 1e-15)
    #expect(DDIMStep(alphaBar: now, nextAlphaBar: next, eta: 0).sigma == 0)
  }

  /// With x = √(1 − ᾱ) ε the origin is 0, and the result is direction · ε + σ · noise.
  @Test("new noise takes the place of old: their variances add up to that of the next level", arguments: [0, 0.3, 1])
  func variance(eta: Double) {
    let (now, next) = (alphaBars[600], alphaBars[400]), step = DDIMStep(alphaBar: now, nextAlphaBar: next, eta: eta)
    let x = [Float((1 - now).squareRoot()), 0]
    let found = stepped(step, x, [1, 0], noise: [0, 1])
    #expect(abs(Double(found[1]) - step.sigma) <= roundoff)
    // x was rounded, and divided by √ᾱ, before it was multiplied by √ᾱ'.
    let tolerance = 3 * roundoff * (1 + (next / now).squareRoot())
    #expect(abs(Double(found[0]) * Double(found[0]) + step.sigma * step.sigma - (1 - next)) <= tolerance)
  }
}

@Suite("Guidance")
struct GuidanceTests {
  private func guidance(scale: Double = 4, _ begin: Double = 0, _ end: Double = 1, channels: Int = 3, isOff: Bool = false) -> Guidance {
    Guidance(scale: scale, begin: begin, end: end, channels: channels, isOff: isOff)
  }

  @Test("guidance acts from its beginning up to, but not at, its end")
  func interval() {
    func active(_ guidance: Guidance) -> [Int] { (0..<8).filter { guidance.isActive(step: $0, of: 8) } }
    #expect(active(guidance()) == Array(0..<8))
    #expect(active(guidance(scale: 4, 0.5, 1)) == [4, 5, 6, 7])
    #expect(active(guidance(scale: 4, 0, 0.5)) == [0, 1, 2, 3])
    #expect(active(guidance(scale: 4, 0.25, 0.25)).isEmpty && active(guidance(scale: 4, 0.3, 0.4)) == [3])
    #expect(active(guidance(isOff: true)).isEmpty && active(guidance(scale: 4, 1, 1)).isEmpty)
  }

  @Test("the guided channels are mixed, the others stay the class's own")
  func mixing() {
    let own = Matrix.random(4, 6, 1).values, none = Matrix.random(4, 6, 2).values, scale: Float = 2.5
    for channels in 0...4 {
      let buffer = Buffer(own)
      guidance(scale: 2.5, channels: channels).mix(buffer.floats, none: none, area: 6)
      let found = buffer.values
      #expect((0..<24).allSatisfy { found[$0] == ($0 < 6 * channels ? none[$0] + scale * (own[$0] - none[$0]) : own[$0]) })
      #expect(buffer.isIntact)
    }
  }

  @Test("scale 0 is the unguided prediction, and scale 1 the class's own to a rounding")
  func ends() {
    let own = Matrix.random(1, 64, 3).values, none = Matrix.random(1, 64, 4).values
    let zero = Buffer(own), one = Buffer(own)
    guidance(scale: 0, channels: 1).mix(zero.floats, none: none, area: 64)
    guidance(scale: 1, channels: 1).mix(one.floats, none: none, area: 64)
    #expect(zero.values == none)
    // The difference, of at most 2, and the sum are rounded.
    #expect(largestDifference(one.values, own) <= 3 * roundoff)
  }
}

@Suite("Guided channels")
struct GuidedChannelsTests {
  @Test("the official code guides three channels, diffusers all")
  func guidedChannels() {
    func guided(_ channels: Int, _ outputs: Int, _ compatibility: Compatibility = .official) -> Int {
      SampledModel(SamplingSettings(), compatibility, channels: channels, outputChannels: outputs).guidedChannels
    }
    #expect(guided(4, 8) == 3 && guided(256, 512) == 3)
    // With a learned variance the third is one of its channels.
    #expect(guided(2, 4) == 3 && guided(2, 2) == 2 && guided(4, 4, .diffusers) == 4 && guided(4, 8, .diffusers) == 4)
  }
}

@Suite("Sampling as the official code does it")
struct OfficialSamplingTests {
  /// Predictions for two halves of a guided batch: label 3 and "no class" of the ten.
  private func predict(_ session: Session, _ x: [Float], t: [Float], labels: [Int32]) throws -> [Float] {
    let output = Buffer(count: labels.count * session.model.config.outputCount)
    try session.predict(x: x, timesteps: t, labels: labels, output: output)
    #expect(output.isIntact)
    return output.values
  }

  @Test("guidance on three of four channels is the official forward_with_cfg")
  func guidance() throws {
    let golden = try Fixture.tensors("official-a/golden.safetensors")
    let session = try Session(Fixture.officialModel(), SessionOptions())
    let out = try predict(session, golden.floats("cfg.x"), t: golden.floats("cfg.t"), labels: golden.integers("cfg.y"))
    let expected = try golden.floats("cfg.out"), scale = Double(try golden.floats("cfg.scale")[0]), half = out.count / 2
    let mixed = Buffer(Array(out[..<half]))
    Guidance(scale: scale, begin: 0, end: 1, channels: session.model.sampled.guidedChannels, isOff: false)
      .mix(mixed.floats, none: Array(out[half...]), area: 64)
    #expect(session.model.sampled.guidedChannels == 3)
    // 2e-5: float sums of a few hundred terms in another order, over three blocks.
    #expect(distance(mixed.values, Array(expected[..<half])) <= 2e-5)
    let guided = 3 * 64
    #expect(largestDifference(mixed.values, Array(out[..<half])) > 1e-3, "guidance did something")
    #expect(same(Array(mixed.values[guided...]), Array(out[guided..<half])))
    // The official code's other half has the same guided channels, and its own of the rest.
    #expect(distance(Array(mixed.values[..<guided]) + Array(out[(half + guided)...]), Array(expected[half...])) <= 2e-5)
  }

  @Test("prediction, guidance and a DDIM step make the first and the last step of the golden run", arguments: [0, 7])
  func step(index: Int) throws {
    let golden = try Fixture.tensors("official-a/golden.safetensors")
    let steps = try Fixture.integers("ddim.timesteps", in: "official-a/golden.json")
    let session = try Session(Fixture.officialModel(), SessionOptions())
    let x = try golden.floats(index == 0 ? "ddim.noise" : "ddim.step.\(index - 1)")
    let t = Float(steps[index]), out = try predict(session, x + x, t: [t, t], labels: [3, 10]), half = out.count / 2
    let mixed = Buffer(Array(out[..<half]))
    Guidance(scale: 1.5, begin: 0, end: 1, channels: 3, isOff: false).mix(mixed.floats, none: Array(out[half...]), area: 64)
    let alphaBars = session.model.sampled.schedule.alphaBars
    let step = DDIMStep(alphaBar: alphaBars[steps[index]], nextAlphaBar: index == 7 ? 1 : alphaBars[steps[index + 1]], eta: 0)
    // The prediction's 2e-5, enlarged by at most 2 where ᾱ is small.
    #expect(distance(stepped(step, x, Array(mixed.values[..<256])), try golden.floats("ddim.step.\(index)")) <= 4e-5)
  }
}
