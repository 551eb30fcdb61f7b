#!/usr/bin/env python3
"""Makes Tests/Fixtures/schedulers from diffusers' own schedulers around the network of Tests/Fixtures/diffusers-b.

    pip install torch diffusers safetensors        # only to make them anew, never to run the tests
    Tests/tools/make_scheduler_golden.py

golden.json          a list of cases: the scheduler class that model_index.json names, the whole scheduler_config.json, how it was run, and the timesteps
golden.safetensors   NAME.final [1, 4, 8, 8]: the latents after the last step of DiTPipeline's loop, label 3, guidance 4, the noise of torch's seed 5
                     schedule.NAME [T]: alphas_cumprod of DDIMScheduler
"""

import json
import pathlib
import tempfile

import diffusers
import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent / "Fixtures"
DDIM, DDPM, SOLVER, HEUN = "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"
PLAIN = {"clip_sample": False}
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}
COSINE = PLAIN | {"beta_schedule": "squaredcos_cap_v2"}
SNR = PLAIN | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
TINY = PLAIN | {"beta_start": 1e-6, "beta_end": 1e-4}  # where single precision is far from the formula
TRAINED = {"num_train_timesteps": 20, "trained_betas": [round(0.01 + 0.004 * i * (i % 3), 6) for i in range(20)]}

# name: (class, what scheduler_config.json says, how it is run)
CASES = {
    "ddim-nothing-said": (DDIM, {}, {}),
    "ddim-clip": (DDIM, {"clip_sample": True, "clip_sample_range": 0.5}, {}),
    "ddim-clip-null": (DDIM, {"clip_sample": None}, {}),
    "ddim-scaled-linear": (DDIM, PLAIN | {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, {}),
    "ddim-cosine": (DDIM, COSINE, {}),
    "ddim-trained-betas": (DDIM, PLAIN | TRAINED | {"beta_schedule": "of nobody", "beta_start": "x"}, {}),
    "ddim-trailing": (DDIM, PLAIN | {"timestep_spacing": "trailing"}, {}),
    "ddim-trailing-48": (DDIM, PLAIN | {"timestep_spacing": "trailing"}, {"steps": 48}),
    "ddim-linspace": (DDIM, PLAIN | {"timestep_spacing": "linspace"}, {}),
    "ddim-linspace-one-step": (DDIM, PLAIN | {"timestep_spacing": "linspace"}, {"steps": 1}),
    "ddim-offset": (DDIM, PLAIN | {"steps_offset": 1, "set_alpha_to_one": False}, {}),
    "ddim-large-offset": (DDIM, PLAIN | {"steps_offset": 145}, {"steps": 7}),
    "ddim-v": (DDIM, PLAIN | {"prediction_type": "v_prediction"}, {}),
    "ddim-sample": (DDIM, PLAIN | {"prediction_type": "sample"}, {}),
    "ddim-sample-clip": (DDIM, {"prediction_type": "sample"}, {}),
    "ddim-zero-snr": (DDIM, SNR, {}),
    "ddim-zero-snr-eta": (DDIM, SNR, {"eta": 0.7}),
    "ddim-eta-tiny-betas": (DDIM, TINY, {"eta": 1.0, "steps": 50}),
    "ddim-trailing-eta": (DDIM, PLAIN | {"timestep_spacing": "trailing", "set_alpha_to_one": False}, {"eta": 0.5}),
    "ddim-use-default-values": (DDIM, PLAIN | {"timestep_spacing": "trailing", "steps_offset": 7, "_use_default_values": ["timestep_spacing", "steps_offset"]}, {}),
    "ddim-of-solver": (DDIM, PLAIN | {"algorithm_type": "sde", "lambda_min_clipped": float("-inf"), "solver_order": "?", "thresholding": None, "unknown": [float("nan")], "_something": {}}, {}),
    "index-names-ddpm": (DDPM, {"_class_name": DDIM} | PLAIN, {}),
    "index-names-solver": (SOLVER, {"_class_name": DDIM, "timestep_spacing": "trailing"} | PLAIN, {}),
    "ddpm-nothing-said": (DDPM, {}, {}),
    "ddpm-small": (DDPM, PLAIN, {}),
    "ddpm-small-log": (DDPM, PLAIN | {"variance_type": "fixed_small_log"}, {}),
    "ddpm-large": (DDPM, PLAIN | {"variance_type": "fixed_large"}, {}),
    "ddpm-large-trailing": (DDPM, PLAIN | {"variance_type": "fixed_large", "timestep_spacing": "trailing"}, {}),
    "ddpm-linspace-v-clip": (DDPM, {"timestep_spacing": "linspace", "prediction_type": "v_prediction", "clip_sample_range": 2.0}, {}),
    "ddpm-sample-offset": (DDPM, {"prediction_type": "sample", "steps_offset": 3}, {}),
    "ddpm-zero-snr": (DDPM, SNR, {}),
    "ddpm-cosine": (DDPM, COSINE, {}),
    "ddpm-tiny-betas": (DDPM, TINY, {"steps": 100}),
    "ddpm-trained-betas": (DDPM, PLAIN | TRAINED, {"steps": 20}),
    "solver-nothing-said": (SOLVER, {}, {}),
    "solver-20": (SOLVER, {"lower_order_final": False}, {"steps": 20}),
    "solver-leading": (SOLVER, {"timestep_spacing": "leading", "steps_offset": 1}, {}),
    "solver-trailing": (SOLVER, {"timestep_spacing": "trailing"}, {}),
    "solver-cosine-v": (SOLVER, {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}, {}),
    "solver-sample": (SOLVER, {"prediction_type": "sample", "solver_type": "bh2"}, {}),
    "solver-zero-snr": (SOLVER, {k: v for k, v in SNR.items() if k != "clip_sample"}, {}),
    "solver-scaled-linear": (SOLVER, {"beta_schedule": "scaled_linear", "variance_type": "fixed_small", "euler_at_final": True, "clip_sample": True}, {}),
    "solver-third": (SOLVER, {"solver_order": 3}, {"steps": 20}),
    "solver-third-few": (SOLVER, {"solver_order": 3, "timestep_spacing": "trailing"}, {}),
    "solver-third-two": (SOLVER, {"solver_order": 3}, {"steps": 2}),
    "solver-third-v-cosine": (SOLVER, {"solver_order": 3, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}, {"steps": 17}),
    "solver-third-zero-snr": (SOLVER, {k: v for k, v in SNR.items() if k != "clip_sample"} | {"solver_order": 3}, {}),
    # Another sampler than the model's, as from_config of its scheduler makes it.
    "trailing-ddim-by-solver": (DDIM, PLAIN | {"timestep_spacing": "trailing"}, {"sampler": SOLVER}),
    "linspace-clip-ddim-by-ddpm": (DDIM, {"timestep_spacing": "linspace"}, {"sampler": DDPM}),
    "solver-by-ddpm-large": (SOLVER, PLAIN | {"variance_type": "fixed_large"}, {"sampler": DDPM}),
    "ddim-by-ddpm-small": (DDIM, PLAIN | {"variance_type": "fixed_small"}, {"sampler": DDPM}),
    "v-solver-by-ddim": (SOLVER, {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "clip_sample": False}, {"sampler": DDIM}),
    # What a file leaves out has the defaults of its own class and then of the sampler's, which has other betas: so they are said. Between timesteps of
    # the training; in few steps and one; of what else is predicted; and where the first noise is small.
    "ddim-by-heun": (DDIM, PLAIN | BETAS, {"sampler": HEUN}),
    "ddim-by-heun-23": (DDIM, PLAIN | BETAS, {"sampler": HEUN, "steps": 23}),
    "ddim-by-heun-one": (DDIM, PLAIN | BETAS, {"sampler": HEUN, "steps": 1}),
    "trailing-v-by-heun": (DDIM, PLAIN | BETAS | {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}, {"sampler": HEUN}),
    "linspace-clip-by-heun": (DDIM, BETAS | {"timestep_spacing": "linspace", "clip_sample": True}, {"sampler": HEUN}),
    "scaled-linear-by-heun": (DDIM, PLAIN | {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, {"sampler": HEUN}),
    "tiny-by-heun": (DDIM, TINY, {"sampler": HEUN}),
    "offset-ddpm-by-ddim": (DDPM, PLAIN | {"steps_offset": 2}, {"sampler": DDIM}),
}

# name: settings of which alphas_cumprod is kept, to the last bit
SCHEDULES = {
    "linear": {},
    "linear-333": {"num_train_timesteps": 333},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "zero-snr": {"rescale_betas_zero_snr": True},
    "tiny": {"beta_start": 1e-6, "beta_end": 1e-4},
}


def loaded(name, config):
    """The scheduler as DiTPipeline.from_pretrained has it."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "scheduler_config.json").write_text(json.dumps(config))
        return getattr(diffusers, name).from_pretrained(folder)


def run(dit, name, config, how):
    scheduler = loaded(name, config)
    learned = how.get("sampler") == DDPM and "variance_type" not in config  # the library's own choice where nobody names one: what the network learned
    if "sampler" in how:
        scheduler = getattr(diffusers, how["sampler"]).from_config(scheduler.config, **({"variance_type": "learned_range"} if learned else {}))
    scheduler.set_timesteps(how.get("steps", 6))
    generator = torch.Generator().manual_seed(5)
    x, labels = torch.randn((1, 4, 8, 8), generator=generator), torch.tensor([3, dit.config.num_embeds_ada_norm])
    module = diffusers.schedulers.scheduling_ddpm
    drawn = module.randn_tensor
    if isinstance(scheduler, diffusers.HeunDiscreteScheduler):  # it has x / √ᾱ; DiTPipeline does not know that it is to be scaled
        x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        mine, none = dit(torch.cat([scaled, scaled]), timestep=t.expand(2), class_labels=labels).sample.chunk(2)
        guided = none[:, :4] + 4 * (mine - none)[:, :4]
        if learned:
            guided = torch.cat([guided, mine[:, 4:]], 1)
            module.randn_tensor = lambda *_, **__: torch.randn(x.shape, generator=generator)
        noise = {"eta": how["eta"], "generator": generator} if "eta" in how else {"generator": generator} if isinstance(scheduler, diffusers.DDPMScheduler) else {}
        x = scheduler.step(guided, t, x, **noise).prev_sample.float()
    module.randn_tensor = drawn
    return x, scheduler.timesteps.tolist()


def main():
    torch.set_grad_enabled(False)
    dit = diffusers.DiTTransformer2DModel.from_pretrained(ROOT / "diffusers-b/pipeline/transformer").eval()
    tensors, cases = {}, []
    for case, (name, config, how) in CASES.items():
        x, timesteps = run(dit, name, config, how)
        assert x.isfinite().all(), case
        tensors[case + ".final"] = x.contiguous()
        cases.append({"name": case, "class": name, "config": config, "how": how, "timesteps": timesteps})
    for name, config in SCHEDULES.items():
        tensors["schedule." + name] = diffusers.DDIMScheduler(**config).alphas_cumprod
    save_file(tensors, ROOT / "schedulers/golden.safetensors")
    (ROOT / "schedulers/golden.json").write_text(json.dumps({"diffusers": diffusers.__version__, "torch": torch.__version__, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
