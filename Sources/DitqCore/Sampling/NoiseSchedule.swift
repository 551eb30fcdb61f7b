// NoiseSchedule: ᾱ of every training timestep, and which timesteps a run of n steps visits.

struct NoiseSchedule {
  /// ᾱ_t = Π (1 − β), t from 0.
  let alphaBars: [Double]

  init(_ settings: SamplingSettings) {
    var alphaBars: [Double] = []
    var product = 1.0
    let last = Double(max(1, settings.trainSteps - 1))
    for t in 0..<settings.trainSteps {
      product *= 1 - (settings.betaStart + (settings.betaEnd - settings.betaStart) * Double(t) / last)
      alphaBars.append(product)
    }
    self.alphaBars = alphaBars
  }

  /// The timesteps of a run, the noisiest first, into `timesteps` [count]; 1 ≤ count ≤ the training steps.
  ///
  /// diffusers' "leading" spacing: i · ⌊T / n⌋. The official code has the same where n divides T ("ddimN"); elsewhere it respaces with the
  /// fractional stride (T − 1) / (n − 1), rounded half to even, which includes both ends.
  func fillTimesteps(_ timesteps: UnsafeMutablePointer<Int32>, count: Int, _ compatibility: Compatibility) {
    let total = alphaBars.count
    let isRespaced = compatibility == .official && total % count != 0
    let stride = isRespaced ? Double(total - 1) / Double(count - 1) : Double(total / count)
    var current = 0.0
    for i in 0..<count {
      timesteps[count - 1 - i] = Int32(isRespaced ? current.rounded(.toNearestOrEven) : Double(i) * stride)
      current += stride
    }
  }
}
