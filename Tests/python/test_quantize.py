"""ditq_quantize: what it costs the emoji model, against the figures of a reference simulation of the same schemes (plain PyTorch, nobody's
here): teacher-forced SQNR in dB of the predicted noise over 50 DDIM steps at guidance 4, 16 classes, both halves of the guided batch.
Of the first 45 steps every fifth is looked at, for five, and all of the others, where it costs the most: five of these figures moved by 0.01 to 0.06 dB.
All steps are looked at with DITQ_ALL_STEPS (`make test-quality`)."""
import hashlib
import os

import numpy as np
import pytest

import ditq_c as ditq
from conftest import FIXTURES
from ditq_c import DitqFailure

STATIC, STATIC_PER_STEP, NONE = 1, 2, 4  # DITQ_ACTIVATION_…
ROUND, MSE, GPTQ = 1, 2, 3  # DITQ_WEIGHT_…
STEPS, CLASSES = 50, 128
# {step: how many it stands for}
SEEN = {step: 1 for step in range(STEPS)} if "DITQ_ALL_STEPS" in os.environ else {step: 5 if step < 45 else 1 for step in [*range(2, 45, 5), *range(45, STEPS)]}
SMALL = dict(calibration_samples=3, calibration_steps=3, calibration_total_steps=10)  # where it is not about how good the result is

# Scheme: options, and the simulation's SQNR (shared/models/emoji32/QUANTIZATION.md).
FIGURES = {
    "W8 row A32": (dict(weight_bits=8, activation_mode=NONE), 52.4),
    "W4 row A32": (dict(weight_bits=4, weight_group=0, weight_method=ROUND, activation_mode=NONE), 27.3),
    "W4 g128 A32": (dict(weight_bits=4, weight_group=128, weight_method=ROUND, activation_mode=NONE), 29.6),
    "W4 g128 A32 least squares": (dict(weight_bits=4, weight_group=128, weight_method=MSE, activation_mode=NONE), 29.5),
    "W4 g64 A32": (dict(weight_bits=4, weight_group=64, weight_method=ROUND, activation_mode=NONE), 30.6),
    "W4 g64 A32 least squares": (dict(weight_bits=4, weight_group=64, weight_method=MSE, activation_mode=NONE), 30.4),
    "W8 row A8 static, first step": (dict(weight_bits=8, activation_mode=STATIC, calibration_steps=1), 18.4),
    "W8 row A8 static, 8 steps": (dict(weight_bits=8, activation_mode=STATIC, calibration_steps=8), 31.6),
    "W8 row A8 static, 50 steps": (dict(weight_bits=8, activation_mode=STATIC, calibration_steps=50), 31.6),
    "W8 row A8 static, 50 steps, balanced": (dict(weight_bits=8, activation_mode=STATIC, calibration_steps=50, balance_channels=1), 35.8),
    "W8 row A8 static per step": (dict(weight_bits=8, activation_mode=STATIC_PER_STEP, calibration_steps=50), 35.5),
    "W8 row A8 dynamic": (dict(weight_bits=8), 43.4),
    "W4 g128 A8 static, first step": (dict(weight_bits=4, weight_method=ROUND, activation_mode=STATIC, calibration_steps=1), 18.1),
    "W4 g128 A8 dynamic": (dict(weight_bits=4, weight_method=ROUND), 29.5),
    "W4 g64 A8 dynamic, least squares": (dict(weight_bits=4, weight_group=64, weight_method=MSE), 30.2),
}


@pytest.fixture(scope="module")
def trajectory(model):
    """The float model's inputs at each step, and what it predicts for them: three channels of noise of both halves."""
    noise, labels = np.load(FIXTURES / "emoji/noise.npy"), list(range(0, CLASSES, CLASSES // 16))
    with model("emoji").session(batch_limit=16) as session:
        _, after = session.denoise_steps(labels, noise=noise, steps=STEPS, guidance_scale=4.0)
        assert len(after) == STEPS
        inputs = [noise, *after[:-1]]
        return [(step, inputs[step], predict(session, inputs[step], step, labels)) for step in SEEN], labels


def predict(session, x, step, labels):
    both = np.concatenate([x, x]).astype(np.float32)
    timesteps = np.full(len(both), 980 - 20 * step, np.float32)
    return session.predict(both, timesteps, [*labels, *[CLASSES] * len(labels)])[:, :3]


# What the simulation has no figure for, and must be reached: GPTQ gains 4 dB on rounding, and what weights of 4 bits are made by has to.
LEAST = {
    "W4 g128 A32 GPTQ": (dict(weight_bits=4, weight_method=GPTQ, activation_mode=NONE), 33.5),
    "W4 A8, defaults": (dict(weight_bits=4), 33.0),
}
# Ranges that leave out what min-max holds, at the same steps.
OBSERVED = {name: dict(weight_bits=8, activation_mode=STATIC, observer=number) for name, number in (("percentile", 1), ("mse", 2))}


@pytest.fixture(scope="module")
def measured(model, trajectory):
    """measured(options): the SQNR that the figures are of."""
    reference, labels = trajectory
    found = {}

    def sqnr(options):
        key = tuple(sorted(options.items()))
        if key not in found:
            signal = error = 0.0
            with model("emoji").quantize(**options) as quantized, quantized.session(batch_limit=16) as session:
                for step, x, wanted in reference:
                    difference = wanted.astype(np.float64) - predict(session, x, step, labels)
                    signal += SEEN[step] * np.square(wanted, dtype=np.float64).sum()
                    error += SEEN[step] * np.square(difference).sum()
            found[key] = 10 * np.log10(signal / error)
        return found[key]

    return sqnr


@pytest.mark.parametrize("scheme", FIGURES)
def test_it_costs_what_the_reference_simulation_says_or_less(scheme, measured):
    options, expected = FIGURES[scheme]
    sqnr = measured(options)
    assert sqnr >= expected - 0.3, f"{sqnr:.1f} dB, {expected} expected"


@pytest.mark.parametrize("scheme", LEAST)
def test_four_bits_by_second_moments_cost_less_than_rounding(scheme, measured):
    options, least = LEAST[scheme]
    assert measured(options) >= least, f"{measured(options):.1f} dB"


@pytest.mark.parametrize("observer", OBSERVED)
def test_ranges_that_leave_out_the_outermost_values_cost_no_more_than_min_max(observer, measured):
    plain = measured(FIGURES["W8 row A8 static, 8 steps"][0])
    assert measured(OBSERVED[observer]) >= plain, f"{measured(OBSERVED[observer]):.2f} dB, {plain:.2f} by min-max"


def test_the_first_step_alone_is_not_enough_for_this_model(measured):
    """Its activations grow towards the end of the run, so that ranges of the first step clip them."""
    assert measured(FIGURES["W8 row A8 static, first step"][0]) < measured(FIGURES["W8 row A8 static, 8 steps"][0]) - 10


@pytest.mark.parametrize("options", [
    dict(weight_bits=8), dict(weight_bits=4, weight_method=ROUND), dict(weight_bits=4, weight_group=48, weight_method=ROUND, activation_mode=NONE),
    dict(activation_mode=STATIC, **SMALL), dict(activation_mode=STATIC_PER_STEP, **SMALL), dict(activation_mode=STATIC_PER_STEP, balance_channels=1, **SMALL),
])
def test_a_quantized_model_gives_the_same_bytes_for_every_set_and_thread_count(options, model):
    digests = set()
    with model("emoji").quantize(**options) as quantized:
        for isa in (ditq.ISA_GENERIC, ditq.ISA_AVX2, ditq.ISA_AVX512VNNI):
            for threads in (1, 2, 5):
                with quantized.session(isa_limit=isa, threads=threads) as session:
                    digests.add(hashlib.sha256(session.denoise([3], [7], steps=2).tobytes()).hexdigest())
        with quantized.session(batch_limit=3) as session:
            digests.add(hashlib.sha256(session.denoise([9, 3, 5], [1, 7, 2], steps=2)[1].tobytes()).hexdigest())
    assert len(digests) == 1


def test_the_result_describes_itself_and_outlives_its_source():
    source = ditq.Model(ditq.ROOT / "examples/models/emoji/emoji.safetensors")
    size, quantized = source.info.weights_size, source.quantize(weight_bits=4, weight_method=ROUND)
    source.close()
    info, layers = quantized.info, quantized.json()["layers"]
    assert (info.weight_bits, info.weight_group, info.activation_bits) == (4, 128, 8) and info.weights_size < 0.4 * size
    assert layers["blocks.0.attn.qkv"]["weights"] == "W4A8" and layers["blocks.5.adaLN_modulation.1"]["weights"] == "W4"
    assert layers["final_layer.linear"]["weights"] == layers["x_embedder.proj"]["weights"] == "F16"
    with quantized.session() as session:
        assert session.generate([0], [7], steps=2).shape == (1, 32, 32, 3)
    quantized.close()


def test_rules_change_the_layers_that_they_match_and_the_last_one_wins(model):
    rules = [
        dict(pattern=b"blocks.*.mlp.*", weight_bits=4, weight_group=32),
        dict(pattern=b"*.fc2", weight_bits=8, weight_group=0, activation_bits=32),
        dict(pattern=b"blocks.3.attn.qkv", weight_bits=32, weight_group=-1),
        dict(pattern=b"final_layer.linear", weight_bits=8, weight_group=-1),
    ]
    with model("emoji").quantize(rules=rules, weight_method=ROUND) as quantized:
        layers = {name: layer["weights"] for name, layer in quantized.json()["layers"].items()}
    assert layers["blocks.0.mlp.fc1"] == "W4A8" and layers["blocks.5.mlp.fc2"] == "W8" and layers["blocks.3.attn.qkv"] == "F16"
    assert layers["blocks.2.attn.qkv"] == layers["final_layer.linear"] == "W8A8"


@pytest.mark.parametrize("options, status, parts", [
    (dict(weight_bits=3), ditq.INVALID_ARGUMENT, ["weight_bits", "8 or 4", "3"]),
    (dict(weight_group=24), ditq.INVALID_ARGUMENT, ["weight_group", "16", "24"]),
    (dict(weight_group=-16), ditq.INVALID_ARGUMENT, ["weight_group", "-16"]),
    (dict(weight_method=7), ditq.UNSUPPORTED, ["weight_method", "7"]),
    (dict(activation_bits=4), ditq.UNSUPPORTED, ["activation_bits", "8", "4"]),
    (dict(activation_mode=9), ditq.UNSUPPORTED, ["activation_mode", "9"]),
    (dict(threads=-1), ditq.INVALID_ARGUMENT, ["threads", "-1"]),
    (dict(error_budget_db=-1.0), ditq.INVALID_ARGUMENT, ["error_budget_db", "0 to 200", "-1"]),
    (dict(error_budget_db=200.5), ditq.INVALID_ARGUMENT, ["error_budget_db", "0 to 200", "200.5"]),
    (dict(error_budget_db=float("nan")), ditq.INVALID_ARGUMENT, ["error_budget_db", "nan"]),
    (dict(observer=3), ditq.UNSUPPORTED, ["observer", "MSE", "3"]),
    (dict(balance_channels=2), ditq.INVALID_ARGUMENT, ["balance_channels", "0 or 1", "2"]),
    (dict(calibration_steps=0), ditq.INVALID_ARGUMENT, ["calibration_steps", "1 to 50", "0"]),
    (dict(calibration_steps=51), ditq.INVALID_ARGUMENT, ["calibration_steps", "1 to 50", "51"]),
    (dict(calibration_total_steps=4), ditq.INVALID_ARGUMENT, ["calibration_steps", "1 to 4", "8"]),
    (dict(calibration_total_steps=0), ditq.INVALID_ARGUMENT, ["calibration_total_steps", "1 to 1000", "0"]),
    (dict(calibration_total_steps=1001), ditq.INVALID_ARGUMENT, ["calibration_total_steps", "1 to 1000", "1001"]),
    (dict(calibration_samples=0), ditq.INVALID_ARGUMENT, ["calibration_samples", "1 to 4096", "0"]),
    (dict(calibration_samples=4097), ditq.INVALID_ARGUMENT, ["calibration_samples", "1 to 4096", "4097"]),
    (dict(rules=[dict(pattern=b"blocks.9.*")]), ditq.NOT_FOUND, ["rules[0]", "blocks.9.*"]),
    (dict(rules=[dict(pattern=b"*", weight_bits=5)]), ditq.INVALID_ARGUMENT, ["weight_bits", "5"]),
    (dict(rules=[dict(pattern=b"*.fc1", weight_bits=4, weight_group=20)]), ditq.INVALID_ARGUMENT, ["blocks.0.mlp.fc1", "20"]),
])
def test_what_it_cannot_do_is_refused_and_named(options, status, parts, model):
    with pytest.raises(DitqFailure) as failure:
        model("emoji").quantize(**options)
    assert failure.value.status == status and all(part in failure.value.message for part in parts), failure.value.message


def test_a_quantized_model_is_not_quantized_again(model):
    with model("official-a").quantize() as quantized, pytest.raises(DitqFailure) as failure:
        quantized.quantize()
    assert failure.value.status == ditq.UNSUPPORTED and "float" in failure.value.message


def test_progress_counts_layers_and_may_end_the_call(model):
    seen = []
    model("emoji").quantize(progress=lambda p: seen.append((p.phase, p.done, p.total))).close()
    assert seen == [(ditq.PHASE_QUANTIZE, done, 35) for done in range(1, 36)]
    with pytest.raises(DitqFailure) as failure:
        model("emoji").quantize(progress=lambda p: p.done == 3)
    assert failure.value.status == ditq.CANCELLED
