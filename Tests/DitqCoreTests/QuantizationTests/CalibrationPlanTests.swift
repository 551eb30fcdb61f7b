// Which steps on the way to a calibration's latents the network predicts at.

import Testing

@testable import DitqCore

@Suite("Calibration plan") struct CalibrationPlanTests {
  private func predictions(of totalSteps: Int, each: Bool = false) -> [Int] {
    let plan = CalibrationPlan(steps: [0], totalSteps: totalSteps, samples: 1, seed: 0, threads: 1, predictsEachStep: each)
    return Array(sequence(first: 0) { plan.nextPrediction(after: $0) }.prefix { $0 < totalSteps - 1 })
  }

  @Test("each prediction serves for a third of the steps that are left")
  func thirds() {
    #expect(predictions(of: 50) == [0, 17, 28, 36, 41, 44, 46, 48])
    #expect(predictions(of: 2) == [0])
  }

  @Test("predictions go on to the end of any run, and are at every step where that is asked for", arguments: [2, 3, 4, 10, 999, 1000])
  func everyLength(totalSteps: Int) {
    let found = predictions(of: totalSteps)
    #expect(found == Array(Set(found)).sorted() && found.last! == totalSteps - 2)
    #expect(predictions(of: totalSteps, each: true) == Array(0..<totalSteps - 1))
  }
}
