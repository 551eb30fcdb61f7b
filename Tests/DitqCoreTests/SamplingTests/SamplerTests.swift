// The steps of DDPM, DPM-Solver++ and flow matching: what they must do whatever the network says, and the public code's own ancestral run
// with the noise that it drew. (Runs as a host takes them are compared with PyTorch's in Tests/python/test_samplers.py.)

import Foundation
import Testing

@testable import DitqCore

/// A step of one image: the latents after it, and its guess of the finished ones.
func sampled(
  _ x: [Float], _ prediction: [Float], variance: [Float]? = nil, noise: [Float]? = nil, lastGuess: [Float]? = nil,
  history: [Float]? = nil, _ apply: (SampledImage) -> Void
) -> (x: [Float], guess: [Float], history: [Float]) {
  let missing = [Float](repeating: .nan, count: x.count)
  let latents = Buffer(x), origin = Buffer(lastGuess ?? missing), kept = Buffer(history ?? missing)
  let predictions = Buffer(prediction), variances = variance.map { Buffer($0) }, noises = noise.map { Buffer($0) }
  apply(
    SampledImage(
      x: latents.floats, origin: origin.floats, history: kept.floats, prediction: UnsafePointer(predictions.floats),
      variance: variances.map { UnsafePointer($0.floats) }, noise: noises.map { UnsafePointer($0.floats) }, count: x.count))
  #expect(
    latents.isIntact && origin.isIntact && kept.isIntact && predictions.isIntact && variances?.isIntact != false
      && noises?.isIntact != false)
  return (latents.values, origin.values, kept.values)
}

@Suite("Samplers")
struct SamplerTests {
  private let alphaBars = NoiseSchedule(SamplingSettings(), .double).alphaBars
  private let origin = Matrix.random(1, 256, 1).values
  private let epsilon = Matrix.random(1, 256, 2, -3, 3).values
  private let noise = Matrix.random(1, 256, 3, -3, 3).values
  private let timesteps: [Int32] = [999, 700, 400, 100]

  private func noised(_ alphaBar: Double) -> [Float] {
    zip(origin, epsilon).map { Float(alphaBar.squareRoot() * Double($0) + (1 - alphaBar).squareRoot() * Double($1)) }
  }

  private func place(_ step: Int) -> StepPlace { StepPlace(step, of: 4, timesteps, alphaBars) }

  @Test("every sampler that goes by noise guesses the finished image from the exact noise, and ends in its guess", arguments: 0..<4)
  func guess(step: Int) throws {
    let place = place(step), x = noised(place.alphaBar)
    for sampler in Sampler.allCases where sampler.goes(by: .epsilon) {
      var options = SamplingOptions()
      (options.sampler, options.steps) = (sampler, 4)
      let run = try SamplingRun(options, SampledModel())
      let result = sampled(x, epsilon, noise: noise, lastGuess: origin, history: origin) { run.apply($0, at: place) }
      // x, of at most 4, was rounded, and is divided by √ᾱ.
      #expect(largestDifference(result.guess, origin) <= 4 * roundoff / place.alphaBar.squareRoot() + roundoff, "\(sampler)")
      // Heun's method comes to it by way of ε, which is rounded too, and divided.
      if place.isLast { #expect(largestDifference(result.x, result.guess) <= (sampler == .heun ? 8 * roundoff : 0), "\(sampler)") }
    }
  }

  @Test("told the exact noise, DPM-Solver++ moves to the next noise level in either order", arguments: 0..<3)
  func solver(step: Int) {
    let place = place(step), next = place.nextAlphaBar
    let result = sampled(noised(place.alphaBar), epsilon, lastGuess: origin) { DPMSolverStep(place).apply($0) }
    // The second order carries on what rounding changed in the guess, by at most twice as much.
    let tolerance = 16 * roundoff / place.alphaBar.squareRoot() * next.squareRoot() + 8 * roundoff
    #expect(largestDifference(result.x, noised(next)) <= tolerance)
  }

  @Test("told the exact noise, the third order moves to the next noise level, whatever its order there is", arguments: 0..<5)
  func third(step: Int) {
    for timesteps: [Int32] in [[999, 800, 600, 400, 200], (0..<20).map { 999 - 50 * $0 }] {
      let place = StepPlace(step, of: timesteps.count, timesteps, alphaBars), next = place.nextAlphaBar
      let result = sampled(noised(place.alphaBar), epsilon, lastGuess: origin, history: origin) { DPMSolverThirdStep(place).apply($0) }
      let tolerance = 32 * roundoff / place.alphaBar.squareRoot() * next.squareRoot() + 8 * roundoff
      #expect(largestDifference(result.x, next == 1 ? origin : noised(next)) <= tolerance)
      #expect(same(result.history, origin), "the guess before becomes history")
    }
  }

  @Test("of second order in a run of few steps, the third order's last but one step is that of the second", arguments: [5, 14])
  func lowerOrder(steps: Int) {
    let timesteps = (0..<steps).map { Int32(999 - 60 * $0) }, place = StepPlace(steps - 2, of: steps, timesteps, alphaBars)
    let x = noised(place.alphaBar), last = Matrix.random(1, 256, 4).values
    let third = sampled(x, epsilon, lastGuess: last, history: noise) { DPMSolverThirdStep(place).apply($0) }
    let second = sampled(x, epsilon, lastGuess: last) { DPMSolverStep(place).apply($0) }
    #expect(largestDifference(third.x, second.x) <= 8 * roundoff)
  }

  @Test("told the exact noise, both of Heun's predictions lead to the next noise level", arguments: 0..<3)
  func heun(step: Int) throws {
    var options = SamplingOptions(), place = place(step)
    (options.sampler, options.steps) = (.heun, 4)
    let run = try SamplingRun(options, SampledModel()), next = noised(place.nextAlphaBar)
    let first = sampled(noised(place.alphaBar), epsilon) { HeunStep(place, run).apply($0) }
    place.prediction = 1
    let second = sampled(first.x, epsilon, history: first.history) { HeunStep(place, run).apply($0) }
    let tolerance = 16 * roundoff / place.alphaBar.squareRoot() * place.nextAlphaBar.squareRoot() + 8 * roundoff
    #expect(largestDifference(first.x, next) <= tolerance && largestDifference(second.x, next) <= tolerance)
    #expect(largestDifference(second.guess, origin) <= 16 * roundoff / place.alphaBar.squareRoot() + roundoff)
  }

  @Test("DPM-Solver++'s second order is the published formula")
  func secondOrder() {
    let place = place(2), x = noised(place.alphaBar), last = Matrix.random(1, 256, 4).values
    let result = sampled(x, epsilon, lastGuess: last) { DPMSolverStep(place).apply($0) }
    func lambda(_ a: Double) -> Double { log(a.squareRoot() / (1 - a).squareRoot()) }
    let h = lambda(place.nextAlphaBar) - lambda(place.alphaBar), before = lambda(place.alphaBar) - lambda(place.previousAlphaBar)
    for i in x.indices {
      let now = (Double(x[i]) - (1 - place.alphaBar).squareRoot() * Double(epsilon[i])) / place.alphaBar.squareRoot()
      let slope = (now - Double(last[i])) / (before / h), factor = place.nextAlphaBar.squareRoot() * (exp(-h) - 1)
      let expected =
        ((1 - place.nextAlphaBar) / (1 - place.alphaBar)).squareRoot() * Double(x[i]) - factor * now - 0.5 * factor * slope
      #expect(abs(Double(result.x[i]) - expected) <= 1e-6 * max(1, abs(expected)))
    }
  }

  @Test("DDPM's mean is the posterior's, and its variance between the posterior's and β as the network says", arguments: 0..<3)
  func ancestral(step: Int) {
    let place = place(step), x = noised(place.alphaBar), zeros = [Float](repeating: 0, count: 256)
    let (now, next) = (place.alphaBar, place.nextAlphaBar), beta = 1 - now / next, posterior = beta * (1 - next) / (1 - now)
    func stepped(_ noise: [Float], _ share: Float?, large: Bool = true) -> [Float] {
      let variance = share.map { [Float](repeating: $0, count: 256) }
      return sampled(x, epsilon, variance: variance, noise: noise) { DDPMStep(place, hasLargeVariance: large).apply($0) }.x
    }
    let mean = stepped(zeros, nil)
    for i in x.indices {
      let expected = (beta * next.squareRoot() * Double(origin[i]) + (1 - next) * (now / next).squareRoot() * Double(x[i])) / (1 - now)
      #expect(abs(Double(mean[i]) - expected) <= 16 * roundoff / now.squareRoot())
    }
    for (share, variance) in [(Float(1), beta), (-1, posterior), (0, (beta * posterior).squareRoot())] {
      let found = zip(stepped(noise, share), mean).map { $0 - $1 }
      #expect(largestDifference(found, noise.map { Float(variance.squareRoot()) * $0 }) <= 16 * roundoff * 4)
    }
    #expect(same(stepped(noise, nil), stepped(noise, 1)), "the official code's fixed variance is β")
    #expect(same(stepped(noise, nil, large: false), stepped(noise, -1)), "diffusers' is the posterior's")
  }

  @Test("a variance out of all proportion is bounded", arguments: [Float.infinity, -.infinity, .nan, 1e30, -1e30])
  func wildVariance(share: Float) {
    let variance = [Float](repeating: share, count: 256), x = noised(place(0).alphaBar)
    _ = sampled(x, epsilon, variance: variance, noise: noise) { DDPMStep(place(0), hasLargeVariance: true).apply($0) }
  }

  @Test("the last step of DDPM adds no noise")
  func lastStep() {
    let x = noised(place(3).alphaBar)
    let with = sampled(x, epsilon, noise: noise) { DDPMStep(place(3), hasLargeVariance: true).apply($0) }
    #expect(same(with.x, sampled(x, epsilon) { DDPMStep(place(3), hasLargeVariance: true).apply($0) }.x) && same(with.x, with.guess))
  }

  /// From noise at t = 0, v = image − noise; from noise at t = 1, its opposite.
  @Test("on a straight path Euler's steps are exact, in either direction of t", arguments: [0, 1], [1, 2, 7, 50])
  func straightPath(noiseTimestep: Double, steps: Int) throws {
    let velocity = zip(origin, epsilon).map { noiseTimestep == 0 ? $0 - $1 : $1 - $0 }
    var settings = SamplingSettings(), options = SamplingOptions()
    (settings.prediction, settings.sampler, settings.noiseTimestep, options.steps) = (.velocity, .flowEuler, noiseTimestep, steps)
    let run = try SamplingRun(options, SampledModel(settings))
    var x = epsilon
    for step in 0..<steps {
      let t = Timesteps.flow(step, of: steps, noiseTimestep: noiseTimestep)
      #expect(t == (noiseTimestep == 0 ? Double(step) / Double(steps) : 1 - Double(step) / Double(steps)))
      let place = run.place(step)
      let result = sampled(x, velocity) { FlowEulerStep(place, noiseTimestep: noiseTimestep).apply($0) }
      // A rounding of at most 4 in size each step.
      #expect(largestDifference(result.guess, origin) <= 4 * roundoff * Double(step + 2))
      x = result.x
      if step == steps - 1 { #expect(same(x, result.guess)) }
    }
  }

  @Test("outside its interval guidance costs nothing: one branch is computed instead of two")
  func branches() throws {
    let session = try Session(Fixture.officialModel(), SessionOptions())
    var options = SamplingOptions(), rows: [Int] = []
    (options.steps, options.guidanceBegin, options.guidanceEnd) = (8, 0.25, 0.75)
    let run = try session.model.run(options)
    for step in 0..<8 {
      try session.take(step, of: run, images: 1) {
        rows.append($0)
        return .new
      }
    }
    #expect(rows == [1, 1, 2, 2, 2, 2, 1, 1])
  }

  @Test("DDPM with the recorded noise makes every step of the public code's run")
  func golden() throws {
    let golden = try Fixture.tensors("official-a/golden.safetensors")
    let timesteps = try Fixture.integers("ddpm.timesteps", in: "official-a/golden.json")
    let session = try Session(Fixture.officialModel(), SessionOptions())
    let recorded = try golden.floats("ddpm.steps_noise"), listed = timesteps.map { Int32($0) }
    var x = try golden.floats("ddpm.noise")
    for step in 0..<8 {
      let out = Buffer(count: 2 * session.model.config.outputCount), t = Float(timesteps[step])
      try session.predict(x: x + x, timesteps: [t, t], labels: [3, 10], output: out)
      Guidance(scale: 1.5, begin: 0, end: 1, channels: 3, isOff: false).mix(out.floats, none: out.floats + 512, area: 64)
      let values = out.values, place = StepPlace(step, of: 8, listed, session.model.sampled.schedule.alphaBars)
      x =
        sampled(x, Array(values[..<256]), variance: Array(values[256..<512]), noise: Array(recorded[256 * step..<256 * (step + 1)])) {
          DDPMStep(place, hasLargeVariance: true).apply($0)
        }.x
      // The tolerance of the issue for a sampler, which feeds its result back.
      #expect(distance(x, try golden.floats("ddpm.step.\(step)")) <= 1e-4, "step \(step)")
      #expect(out.isIntact)
    }
  }
}

@Suite("Philox")
struct PhiloxTests {
  /// Random123's kat_vectors, "philox4x32 10".
  @Test(
    "the known answers of its authors",
    arguments: [
      ([0, 0, 0, 0], [0, 0], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
      (
        [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff], [0xffff_ffff, 0xffff_ffff],
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
      ),
      (
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
      ),
    ] as [([UInt32], [UInt32], [UInt32])])
  func knownAnswers(counter: [UInt32], key: [UInt32], expected: [UInt32]) {
    #expect(Philox.block(SIMD4(counter), key: SIMD2(key)) == SIMD4(expected))
  }

  private func normals(_ count: Int, seed: UInt64, draw: Int) -> [Float] {
    let values = Buffer(count: count, filledWith: .nan)
    Philox.fillNormal(values.floats, count: count, seed: seed, draw: draw)
    #expect(values.isIntact)
    return values.values
  }

  @Test("a value depends on its place alone, not on how many there are")
  func places() {
    let many = normals(1000, seed: 7, draw: 3)
    for count in [1, 2, 3, 4, 5, 15, 16, 17, 999] { #expect(same(normals(count, seed: 7, draw: 3), Array(many[..<count]))) }
    #expect(many != normals(1000, seed: 7, draw: 4) && many != normals(1000, seed: 8, draw: 3))
    #expect(many != normals(1000, seed: 7 + 1 << 32, draw: 3), "all 64 bits of a seed count")
  }

  @Test("they are standard normals: moments of a million, to four standard errors")
  func moments() {
    let values = normals(1_000_000, seed: 1, draw: 0).map { Double($0) }, n = 1e6
    let mean = values.reduce(0, +) / n, second = values.reduce(0) { $0 + $1 * $1 } / n
    let third = values.reduce(0) { $0 + $1 * $1 * $1 } / n, fourth = values.reduce(0) { $0 + $1 * $1 * $1 * $1 } / n
    #expect(abs(mean) < 4e-3 && abs(second - 1) < 4 * 1.415e-3 && abs(third) < 4 * 3.88e-3 && abs(fourth - 3) < 4 * 9.8e-3)
    #expect(values.allSatisfy { $0.isFinite && abs($0) < 6.7 })
  }
}
