// What a host asks of a run, and what is to be known of the model that it samples: both whole before a run is made of them.

package struct SamplingOptions {
  /// nil: as the model's file records.
  package var sampler: Sampler?
  package var steps = 50
  package var random = RandomNumbers.torch
  package var guidanceScale = 4.0
  package var guidanceBegin = 0.0
  package var guidanceEnd = 1.0
  /// nil: as the model's compatibility says.
  package var guidanceChannels: Int?
  package var eta = 0.0
  package init() {}
}

/// All that sampling knows of a model.
struct SampledModel {
  let settings: SamplingSettings
  let compatibility: Compatibility
  let schedule: NoiseSchedule
  /// Of the latents, and of what is predicted: twice as many with a learned variance.
  let channels: Int
  let outputChannels: Int
  /// Values of a channel.
  let area: Int
  /// Whether there is a "no class" to be guided away from.
  let hasNullClass: Bool
  /// Whether nobody said what is predicted.
  let assumesPrediction: Bool

  var latentCount: Int { channels * area }
  /// Channels that guidance acts on where the host does not say: the official code guides the first three that the network puts out, a
  /// leftover that its published numbers depend on. With fewer channels of latents a learned variance is among them.
  var guidedChannels: Int { compatibility == .official ? min(3, outputChannels) : channels }
}
