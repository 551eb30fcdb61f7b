// The scheduler of a diffusers pipeline, scheduler/scheduler_config.json, as the settings of a sampler. Every field that changes the
// arithmetic is checked against the one value that is implemented; fields that do not change it are ignored.

func samplingSettings(_ settings: Settings) throws(DitqError) -> SamplingSettings {
  try settings.require("_class_name", "DDIMScheduler")
  try settings.require("beta_schedule", "linear")
  try settings.require("prediction_type", "epsilon", default: "epsilon")
  try settings.require("timestep_spacing", "leading", default: "leading")
  try settings.require("clip_sample", false, default: true)
  try settings.require("set_alpha_to_one", true, default: true)
  for field in ["thresholding", "rescale_betas_zero_snr"] { try settings.require(field, false, default: false) }
  try settings.requireNothing("trained_betas")
  guard try settings.integer("steps_offset", in: 0...1000, default: 0) == 0 else {
    throw settings.wrong("steps_offset", "0", settings.value("steps_offset"))
  }
  var sampling = SamplingSettings()
  sampling.trainSteps = try settings.integer("num_train_timesteps", in: 1...100_000, default: 1000)
  sampling.betaStart = try settings.number("beta_start", above: 0, below: 1, default: 1e-4)
  sampling.betaEnd = try settings.number("beta_end", above: 0, below: 1, default: 0.02)
  return sampling
}
