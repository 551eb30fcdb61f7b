// Compatibility: which public code base's arithmetic a model follows. The network's share of it is in Model/DiTConfig.swift, that of sampling
// beside each sampler.

package enum Compatibility: Int32, NamedChoice {
  case official = 1
  case diffusers = 2

  package var name: String { self == .official ? "official" : "diffusers" }
}
