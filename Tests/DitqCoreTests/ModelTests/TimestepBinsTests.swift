// Which range of timesteps a timestep belongs to.

import Testing

@testable import DitqCore

@Suite("Timestep bins")
struct TimestepBinsTests {
  @Test(
    "a timestep belongs to the nearest, whatever their order; halfway to the one that comes first",
    arguments: [(980, 0), (999, 0), (745, 0), (740, 0), (735, 1), (500, 1), (250.5, 1), (250, 1), (249.5, 2), (0, 2), (-5, 2)])
  func nearest(timestep: Float, number: Int) {
    #expect(TimestepBins(timesteps: [980, 500, 0]).number(of: timestep) == number)
    let backwards = TimestepBins(timesteps: [0, 500, 980]).number(of: timestep)
    if timestep != 740 && timestep != 250 { #expect(backwards == 2 - number) }
  }

  @Test("a single one has all of them, and no number goes anywhere")
  func single() {
    for timestep in [Float(0), 999, -.infinity, .infinity, .nan] { #expect(TimestepBins().number(of: timestep) == 0) }
    #expect(TimestepBins(timesteps: [980, 0]).number(of: .nan) == 0)
  }
}
