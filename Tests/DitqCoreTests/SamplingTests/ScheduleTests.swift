// Noise schedules and the timesteps of a run, against the settings that the golden cases were made with.

import Foundation
import Testing

@testable import DitqCore

private func timesteps(_ count: Int, _ compatibility: Compatibility, of total: Int = 1000, _ sampler: Sampler = .ddim) -> [Int] {
  var settings = SamplingSettings()
  settings.trainSteps = total
  let timesteps = sampler.row.timesteps(count, settings, compatibility)
  return (0..<count).map { Int(timesteps[$0]) }
}

@Suite("Noise schedules")
struct ScheduleTests {
  @Test("ᾱ is the product of 1 − β over linear betas")
  func alphaBars() {
    let alphaBars = NoiseSchedule(SamplingSettings(), .double).alphaBars
    #expect(alphaBars.count == 1000 && alphaBars[0] == 1 - 1e-4)
    // As a sum of logarithms, whose thousand roundings are below 1e-12.
    var logarithm = 0.0
    for t in 0..<1000 {
      logarithm += log1p(-(1e-4 + (0.02 - 1e-4) * Double(t) / 999))
      #expect(abs(alphaBars[t] / exp(logarithm) - 1) < 1e-12)
    }
    #expect(zip(alphaBars, alphaBars.dropFirst()).allSatisfy { $0 > $1 } && alphaBars[999] > 0)
    #expect(abs(alphaBars[999] - 4.0358e-5) < 1e-9, "the number that DDPM is known by")
  }

  @Test("the settings of a file are followed")
  func settings() {
    var settings = SamplingSettings()
    (settings.trainSteps, settings.betaStart, settings.betaEnd) = (3, 0.1, 0.3)
    let found = NoiseSchedule(settings, .double).alphaBars
    for (a, b) in zip(found, [0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7]) { #expect(abs(a - b) < 1e-15) }
    settings.trainSteps = 1
    #expect(NoiseSchedule(settings, .double).alphaBars == [0.9])
  }

  @Test(
    "diffusers' schedules are torch's to the last bit, but where it takes square roots",
    arguments: ["linear", "linear-333", "scaled_linear", "squaredcos_cap_v2", "zero-snr", "tiny"])
  func single(name: String) throws {
    var settings = SamplingSettings()
    switch name {
    case "linear-333": settings.trainSteps = 333
    case "scaled_linear": (settings.betaSchedule, settings.betaStart, settings.betaEnd) = (.scaledLinear, 0.00085, 0.012)
    case "squaredcos_cap_v2": settings.betaSchedule = .squaredCosine
    case "zero-snr": settings.rescalesToZeroSNR = true
    case "tiny": (settings.betaStart, settings.betaEnd) = (1e-6, 1e-4)
    default: break
    }
    let expected = try Fixture.tensors("schedulers/golden.safetensors").floats("schedule." + name)
    let found = NoiseSchedule(settings, .single).alphaBars
    if name == "zero-snr" {
      // torch takes the square roots from MKL, whose last bit is not the nearest and may be another on other CPUs.
      for (a, b) in zip(found, expected) { #expect(abs(a.squareRoot() - Double(b).squareRoot()) <= 4 * roundoff) }
    } else {
      #expect(found == expected.map { Double($0) })
    }
    let formula = NoiseSchedule(settings, .double).alphaBars
    // Of all roundings that a product of a thousand numbers close to 1 can have.
    for (a, b) in zip(found, formula) { #expect(abs(a - b) <= 1000 * roundoff * max(b, 1e-4)) }
    if name == "zero-snr" { #expect(found.last == 0 && NoiseSchedule(settings, .single).alphaBar(999, isDivisor: true) == 0x1p-24) }
  }

  @Test("the golden runs visit the timesteps that their code bases listed")
  func golden() throws {
    #expect(timesteps(8, .official) == (try Fixture.integers("ddim.timesteps", in: "official-a/golden.json")))
    #expect(timesteps(8, .diffusers) == (try Fixture.integers("ddim.timesteps", in: "diffusers-a/golden.json")))
    #expect(timesteps(12, .diffusers) == (try Fixture.integers("ddim.timesteps", in: "diffusers-b/golden.json")))
    #expect(timesteps(8, .official) == [875, 750, 625, 500, 375, 250, 125, 0])
    #expect(timesteps(12, .diffusers).prefix(2) == [913, 830] && timesteps(12, .diffusers).last == 0)
  }

  @Test("where the steps do not divide the training steps, the official code respaces over both ends", arguments: [3, 7, 12, 30, 300, 999])
  func respacing(count: Int) {
    let found = timesteps(count, .official)
    #expect(found.first == 999 && found.last == 0 && found.count == count)
    #expect(zip(found, found.dropFirst()).allSatisfy { $0 > $1 }, "no timestep twice")
    let stride = 999 / Double(count - 1)
    for (i, t) in found.reversed().enumerated() { #expect(abs(Double(t) - stride * Double(i)) <= 0.5 + 1e-9) }
  }

  @Test("DDPM is respaced as the public code lists it, and as diffusers' scheduler does it")
  func ancestral() throws {
    #expect(timesteps(8, .official, of: 1000, .ddpm) == (try Fixture.integers("ddpm.timesteps", in: "official-a/golden.json")))
    let sevenths = (0..<8).reversed().map { (index: Int) -> Int in Int((Double(index) * 1000 / 7).rounded(.toNearestOrEven)) }
    #expect(timesteps(8, .official, of: 1001) == sevenths)
    #expect(timesteps(250, .official, of: 1000, .ddpm).first == 999 && timesteps(1, .official, of: 1000, .ddpm) == [0])
    #expect(timesteps(8, .diffusers, of: 1000, .ddpm) == timesteps(8, .diffusers))
  }

  @Test(
    "DPM-Solver++ visits what diffusers listed, and no timestep twice however many there are",
    arguments: [Compatibility.official, .diffusers])
  func solver(compatibility: Compatibility) throws {
    #expect(timesteps(8, compatibility, of: 1000, .dpmpp2M) == (try Fixture.integers("dpmpp2m.timesteps", in: "diffusers-a/golden.json")))
    #expect(timesteps(12, compatibility, of: 1000, .dpmpp2M) == (try Fixture.integers("dpmpp2m.timesteps", in: "diffusers-b/golden.json")))
    for total in [1, 2, 3, 10, 1000] {
      for count in 1...max(1, total - 1) {
        let found = timesteps(count, compatibility, of: total, .dpmpp2M)
        let isRight = found[0] == total - 1 && found.last! >= 0 && zip(found, found.dropFirst()).allSatisfy { $0 > $1 }
        #expect(isRight, "\(count) steps of \(total)")
      }
    }
  }

  @Test(
    "every number of steps visits so many timesteps of the training, downwards to the first",
    arguments: [Compatibility.official, .diffusers])
  func everyCount(compatibility: Compatibility) {
    for count in 1...1000 {
      let found = timesteps(count, compatibility)
      let isRight = found.last == 0 && found[0] < 1000 && zip(found, found.dropFirst()).allSatisfy { $0 > $1 }
      #expect(isRight, "\(count) steps")
    }
    #expect(timesteps(1000, compatibility) == (0..<1000).reversed())
    #expect(timesteps(1, compatibility) == [0])
  }

  @Test("a training of few steps is visited as well", arguments: [1, 2, 3, 10])
  func shortTraining(total: Int) {
    for compatibility in [Compatibility.official, .diffusers] {
      for count in 1...total { #expect(timesteps(count, compatibility, of: total).allSatisfy { (0..<total).contains($0) }) }
    }
  }
}
