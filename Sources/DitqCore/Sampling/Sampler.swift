// Samplers: a row for each says what it needs and how it takes a step. A new one is a file with its row, and its number and name here. Its step
// is made value by value, in double precision: sampling is a thousandth of the work, and this way the order of operations is beyond doubt.
// Refuses nothing: SamplingRun has seen the numbers.

/// Numbers are those of ditq.h.
package enum Sampler: Int32, CaseIterable {
  case ddim = 1
  case ddpm = 2
  case dpmpp2M = 3
  case flowEuler = 4
  case heun = 5
  case dpmpp3M = 6

  var row: SamplerRow {
    switch self {
    case .ddim: .ddim
    case .ddpm: .ddpm
    case .dpmpp2M: .dpmpp2M
    case .flowEuler: .flowEuler
    case .heun: .heun
    case .dpmpp3M: .dpmpp3M
    }
  }

  /// As model files have it.
  package var staticName: StaticString { row.name }
  var name: String { String(staticName) }

  func goes(by prediction: Prediction) -> Bool { row.kinds.contains(prediction) }
}

struct SamplerRow {
  /// Which predictions it goes by.
  enum Kinds {
    case ofDiffusion, ofFlow, ofBoth

    func contains(_ prediction: Prediction) -> Bool {
      switch self {
      case .ofDiffusion: prediction != .velocity
      case .ofFlow: prediction == .velocity
      case .ofBoth: true
      }
    }
  }

  enum Noise {
    case none, byEta, always
  }

  /// ᾱ after the last step.
  enum Ending {
    /// 1: the image.
    case image
    /// What the schedule records. Where timesteps are spaced, a step goes as far as leading spacing would: diffusers' DDIM.
    case recorded
  }

  let name: StaticString
  let kinds: Kinds
  /// What it takes a network's output for where nobody says.
  let prediction: Prediction
  /// Of the network, in each step but the last, which takes one.
  var predictions = 1
  /// Whether it keeps values beside x and x₀ from one prediction to the next.
  var hasHistory = false
  var noise = Noise.none
  var ending = Ending.image
  /// Whether x₀ is clipped where the model's settings say so.
  var clips = false
  /// Whether it divides by ᾱ, which a rescaled schedule ends with as 0.
  var dividesByAlphaBar = false
  /// Whether a run of spaced timesteps begins at √(1 − ᾱ) of the noise.
  var beginsAtSpread = false
  let timesteps: (_ steps: Int, SamplingSettings, Compatibility) -> Timesteps
  /// Takes an image on.
  let apply: (SampledImage, StepPlace, SamplingRun) -> Void
}

/// One image in a step: `count` values each.
struct SampledImage {
  /// The latents, taken on in place.
  let x: UnsafeMutablePointer<Float>
  /// x₀, what the finished latents are taken for: the last prediction's on entry, this one's on return.
  let origin: UnsafeMutablePointer<Float>
  /// What a sampler keeps beside.
  let history: UnsafeMutablePointer<Float>
  /// What the network says, guided.
  let prediction: UnsafePointer<Float>
  /// What it says of the variance; nil where it learned none.
  let variance: UnsafePointer<Float>?
  /// Standard normals; nil for a sampler that draws none.
  let noise: UnsafePointer<Float>?
  let count: Int

  /// Some of its values.
  subscript(range: Range<Int>) -> SampledImage {
    let first = range.lowerBound
    return SampledImage(
      x: x + first, origin: origin + first, history: history + first, prediction: prediction + first, variance: variance.map { $0 + first },
      noise: noise.map { $0 + first }, count: range.count)
  }
}

/// Where a prediction stands in its run.
struct StepPlace {
  let step: Int
  let steps: Int
  /// Which of the step's predictions, from 0 on.
  var prediction = 0
  let timestep: Double
  /// ᾱ of the timesteps two and one before, or the first's where there are none; of this one; and of the next, or what it is after the last.
  let earlierAlphaBar: Double
  let previousAlphaBar: Double
  let alphaBar: Double
  let nextAlphaBar: Double
  let precision: SchedulePrecision

  var isFirst: Bool { step == 0 }
  var isLast: Bool { step == steps - 1 }
  /// ᾱ of this timestep in proportion to the next one's, of which 1 − β̃ is made: rounded, it is most of what single precision changes.
  var ratio: Double { precision(alphaBar / nextAlphaBar) }
}
