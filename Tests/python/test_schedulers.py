"""The schedulers of diffusers directories: what runs agrees with diffusers' own (Tests/tools/make_scheduler_golden.py), what does not is refused by name,
and a .ditq file made of such a directory runs the same.

Tolerance as in test_golden.py: 1e-4 of a norm for latents, which are fed back.
"""
import json
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import FIXTURES
from ditq_c import INVALID_ARGUMENT, MALFORMED, UNSUPPORTED
from test_compare import Report
from test_golden import distance

CASES = {case["name"]: case for case in json.loads((FIXTURES / "schedulers/golden.json").read_text())["cases"]}
SAMPLERS = {"DDIMScheduler": ditq.SAMPLER_DDIM, "DDPMScheduler": ditq.SAMPLER_DDPM, "DPMSolverMultistepScheduler": ditq.SAMPLER_DPMPP_2M, "HeunDiscreteScheduler": ditq.SAMPLER_HEUN}
# One of each kind that has settings of its own to keep.
KEPT = ["ddim-clip", "ddim-trained-betas", "ddim-offset", "ddim-zero-snr-eta", "ddpm-large-trailing", "ddpm-linspace-v-clip", "solver-cosine-v", "solver-leading"]


@pytest.fixture(scope="module")
def finals():
    return safetensors_io.read(FIXTURES / "schedulers/golden.safetensors")


def directory(folder, config, index=None, tensors=None):
    """diffusers-b with another scheduler: what the file says, and the class that model_index.json names, where it is another."""
    path = folder / "pipeline"
    shutil.copytree(FIXTURES / "diffusers-b/pipeline", path)
    (path / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    described = json.loads((path / "model_index.json").read_text())
    described["scheduler"] = ["diffusers", index or config["_class_name"]]
    (path / "model_index.json").write_text(json.dumps(described))
    if tensors:
        file = path / "transformer/diffusion_pytorch_model.safetensors"
        file.write_bytes(safetensors_io.encode(safetensors_io.read(file) | tensors, {"format": "pt"}))
    return path


def opened(folder, case, **options):
    return ditq.Model(directory(folder, {"_class_name": case["class"]} | case["config"], case["class"]), **options)


def run(session, how):
    """The run of a case, without any noise but torch's of seed 5."""
    sampler = SAMPLERS[how["sampler"]] if "sampler" in how else ditq.SAMPLER_AUTO
    return session.denoise([3], [5], steps=how.get("steps", 6), guidance_scale=4, sampler=sampler, eta=how.get("eta", 0))


@pytest.mark.parametrize("name", CASES)
def test_the_scheduler_of_a_directory_is_run_as_diffusers_runs_it(name, finals, tmp_path):
    case = CASES[name]
    with opened(tmp_path, case) as model, model.session() as session:
        found = run(session, case["how"])
        assert distance(found, finals[name + ".final"]) <= 1e-4


@pytest.mark.parametrize("name", KEPT)
def test_a_ditq_file_of_such_a_directory_runs_the_same_and_older_libraries_refuse_it(name, tmp_path):
    case = CASES[name]
    with opened(tmp_path, case) as model, model.quantize(calibration_steps=1, calibration_samples=1, calibration_total_steps=5) as small:
        small.save(tmp_path / "small.ditq")
        with ditq.Model(tmp_path / "small.ditq") as again, small.session() as a, again.session() as b:
            assert again.json()["sampling"] == small.json()["sampling"] == model.json()["sampling"]
            assert run(a, case["how"]).tobytes() == run(b, case["how"]).tobytes()
        assert safetensors_io.read_header((tmp_path / "small.ditq").read_bytes())[0]["__metadata__"]["ditq.format"] == "3"


def test_what_a_model_is_sampled_with_is_in_its_json(tmp_path):
    case = {"class": "DDPMScheduler", "config": {"timestep_spacing": "trailing", "prediction_type": "v_prediction", "beta_schedule": "scaled_linear", "steps_offset": 3}}
    with opened(tmp_path, case) as model:
        assert model.json()["sampling"] == {
            "sampler": "ddpm", "prediction": "v_prediction", "train_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "scaled_linear",
            "timestep_spacing": "trailing", "steps_offset": 3, "clip_sample_range": 1.0, "variance_type": "fixed_small",
        }


DDIM, DDPM, SOLVER, _ = SAMPLERS
NO_NUMBER = [0.5] * 19 + [1.5]


@pytest.mark.parametrize(
    "kind, config, status, parts",
    [
        (DDIM, {"thresholding": True}, UNSUPPORTED, ["thresholding", "false expected", "true"]),
        (DDIM, {"beta_schedule": "sigmoid"}, UNSUPPORTED, ["beta_schedule", "linear", "sigmoid"]),
        (DDIM, {"prediction_type": "flow_prediction"}, UNSUPPORTED, ["prediction_type", "v_prediction", "flow_prediction"]),
        (DDIM, {"timestep_spacing": "even"}, UNSUPPORTED, ["timestep_spacing", "trailing", "even"]),
        (DDIM, {"steps_offset": -1}, MALFORMED, ["steps_offset", "-1"]),
        (DDIM, {"clip_sample": "yes"}, MALFORMED, ["clip_sample", "true or false"]),
        (DDIM, {"clip_sample_range": 0}, MALFORMED, ["clip_sample_range", "0 found"]),
        (DDIM, {"clip_sample_range": float("nan")}, MALFORMED, ["clip_sample_range", "nan"]),
        (DDIM, {"beta_end": float("inf")}, MALFORMED, ["beta_end", "inf"]),
        (DDIM, {"num_train_timesteps": float("-inf")}, MALFORMED, ["num_train_timesteps", "inf"]),
        (DDIM, {"trained_betas": [0.1, 0.2]}, MALFORMED, ["trained_betas", "1000 numbers"]),
        (DDIM, {"num_train_timesteps": 20, "trained_betas": NO_NUMBER}, MALFORMED, ["trained_betas", "0 to 1", "1.5"]),
        (DDIM, {"num_train_timesteps": 1, "trained_betas": [float("nan")]}, MALFORMED, ["trained_betas", "nan"]),
        *((DDPM, {"variance_type": kind}, UNSUPPORTED, ["variance_type", "fixed_small", kind]) for kind in ("learned", "learned_range", "fixed_large_log")),
        (DDPM, {"thresholding": True}, UNSUPPORTED, ["thresholding"]),
        (SOLVER, {"solver_order": 1}, UNSUPPORTED, ["solver_order", "2 or 3 expected", "1 found"]),
        (SOLVER, {"solver_order": 3, "lower_order_final": False}, UNSUPPORTED, ["lower_order_final", "true expected"]),
        *((SOLVER, {"algorithm_type": kind}, UNSUPPORTED, ["algorithm_type", "dpmsolver++", kind]) for kind in ("dpmsolver", "sde-dpmsolver++", "deis")),
        (SOLVER, {"solver_type": "heun"}, UNSUPPORTED, ["solver_type", "midpoint", "heun"]),
        (SOLVER, {"final_sigmas_type": "sigma_min"}, UNSUPPORTED, ["final_sigmas_type", "zero", "sigma_min"]),
        *(
            (SOLVER, {field: True}, UNSUPPORTED, [field, "false expected"])
            for field in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas", "thresholding")
        ),
        (SOLVER, {"lambda_min_clipped": -5.1}, UNSUPPORTED, ["lambda_min_clipped", "-Infinity", "-5.1"]),
        (SOLVER, {"variance_type": "learned_range"}, UNSUPPORTED, ["variance_type", "learned_range"]),
        ("EulerDiscreteScheduler", {}, UNSUPPORTED, ["model_index.json: scheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"]),
    ],
)
def test_what_a_scheduler_would_do_otherwise_is_refused_by_name(kind, config, status, parts, tmp_path):
    with pytest.raises(ditq.DitqFailure) as caught:
        ditq.Model(directory(tmp_path, {"_class_name": DDIM} | config, kind))
    assert caught.value.status == status and all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    "config, steps, parts",
    [
        ({"steps_offset": 500}, 10, ["steps", "steps_offset 500", "1400"]),
        ({"timestep_spacing": "trailing"}, 61, ["steps", "trailing", "62 timesteps"]),
    ],
)
def test_steps_that_lead_out_of_the_training_are_refused(config, steps, parts, tmp_path):
    with opened(tmp_path, {"class": DDIM, "config": config}) as model, model.session() as session:
        for call in (lambda: session.denoise([3], [5], steps=steps), lambda: model.quantize(calibration_total_steps=steps, activation_mode=1), lambda: Report(model, model, steps=steps)):
            with pytest.raises(ditq.DitqFailure) as caught:
                call()
            assert caught.value.status == INVALID_ARGUMENT and all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_run_goes_on_only_with_the_sampling_it_began_with(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with opened(tmp_path / "a", CASES["ddim-clip"]) as clipped, opened(tmp_path / "b", {"class": DDIM, "config": {"clip_sample": False}}) as plain:
        with ditq.Run(clipped, [3], [5], steps=4) as begun:
            record = begun.save()
        ditq.Run(clipped, saved=record).destroy()
        with pytest.raises(ditq.DitqFailure) as caught:
            ditq.Run(plain, saved=record)
        assert caught.value.status == INVALID_ARGUMENT and "model" in str(caught.value)


def test_a_stored_table_of_positions_is_not_used_as_diffusers_does_not(tmp_path, session):
    x = np.random.default_rng(1).standard_normal((1, 4, 8, 8), np.float32)
    config = json.loads((FIXTURES / "diffusers-b/pipeline/scheduler/scheduler_config.json").read_text())
    path = directory(tmp_path, config, tensors={"pos_embed.pos_embed": np.full((1, 16, 128), 2, np.float32)})
    with ditq.Model(path) as model, model.session() as other:
        assert np.array_equal(other.predict(x, [500], [3]), session("diffusers-b").predict(x, [500], [3]))
