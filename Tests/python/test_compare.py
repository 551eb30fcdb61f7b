"""ditq_compare: one model measured against another on the same noise."""
import csv
import io
import json
import math
from ctypes import byref, c_void_p

import numpy as np
import pytest

import ditq_c as ditq
from ditq_c import DitqFailure


class Report:
    """What ditq_compare measured, read and destroyed."""

    def __init__(self, reference, model, progress=None, **fields):
        options, handle = ditq.CompareOptions(**fields), c_void_p()
        hook = ditq.PROGRESS_CALLBACK(lambda _, pointer: int(bool(progress(pointer.contents)))) if progress else ditq.PROGRESS_CALLBACK()
        options.progress = hook
        ditq.call(ditq.lib.ditq_compare, reference.handle, model.handle, byref(options), byref(handle))
        self.json = json.loads(ditq.lib.ditq_report_json(handle))
        self.rows = list(csv.DictReader(io.StringIO(ditq.lib.ditq_report_csv(handle).decode())))
        self.sqnr = ditq.lib.ditq_report_sqnr_db(handle, -1)
        self.by_step = [ditq.lib.ditq_report_sqnr_db(handle, step) for step in range(self.json["steps"])]
        self.beyond = ditq.lib.ditq_report_sqnr_db(handle, self.json["steps"])
        ditq.lib.ditq_report_destroy(handle)


@pytest.fixture(scope="module")
def emoji_report(model):
    with model("emoji").quantize(weight_bits=8) as quantized:
        return Report(model("emoji"), quantized, steps=10, samples=3, seed=5)


def test_the_table_says_what_the_json_says_by_step(emoji_report):
    layers, rows = emoji_report.json["layers"], emoji_report.rows
    assert [(int(row["step"]), row["layer"]) for row in rows] == [(step, layer["name"]) for step in range(10) for layer in layers]
    assert all(float(row["prediction_sqnr_db"]) == emoji_report.by_step[int(row["step"])] for row in rows)
    for layer in layers:
        seconds = [float(row["seconds"]) for row in rows if row["layer"] == layer["name"]]
        assert np.isclose(np.mean(seconds), layer["seconds_per_step"]) and layer["seconds_per_step"] > 0


def test_models_of_another_architecture_are_told_apart_by_what_differs(model):
    with pytest.raises(DitqFailure, match="hidden_size 256, 144 found") as failure:
        Report(model("emoji"), model("official-a"))
    assert failure.value.status == ditq.INVALID_ARGUMENT


def test_a_model_differs_from_itself_by_nothing(model):
    with model("official-a").quantize(weight_bits=4) as quantized:
        report = Report(quantized, quantized, steps=3, samples=5)
    assert report.sqnr == 300 and all(layer["output_sqnr_db_all"] == 300 for layer in report.json["layers"])


@pytest.mark.parametrize("free", [0, 1])
def test_the_output_sqnr_is_that_of_the_predictions(free, model):
    steps, seed, labels = 4, 11, [0, 64]
    with model("emoji").quantize(weight_bits=4, weight_method=1) as quantized:
        report = Report(model("emoji"), quantized, steps=steps, samples=2, seed=seed, free_running=free)
        signal = noise = 0.0
        with model("emoji").session(batch_limit=2) as one, quantized.session(batch_limit=2) as other:
            runs = [session.denoise_steps(labels, [seed, seed + 1], steps=steps)[1] for session in (one, other)]
            reference = noises(one, labels, seed, runs[0])
            own = noises(one, labels, seed, runs[1]) if free else reference
            for step in range(steps):
                a, b = (predict(session, x[step], 1000 // steps * (steps - 1 - step), labels) for session, x in ((one, reference), (other, own)))
                signal, noise = signal + np.square(a).sum(), noise + np.square(a - b).sum()
    assert abs(report.sqnr - 10 * np.log10(signal / noise)) < 1e-3


def noises(session, labels, seed, after):
    """The inputs of each step, the seeds' noise first."""
    shape = session.model.latent_shape
    noise = [torch_randn(seed + index, int(np.prod(shape))).reshape(shape) for index in range(len(labels))]
    return [np.stack(noise).astype(np.float32), *after[:-1]]


def torch_randn(seed, count):
    """torch.randn of 16 numbers or more: numpy's mt19937 has the same words."""
    state = np.random.RandomState(seed)
    uniform = (state.randint(0, 2**32, count, dtype=np.uint32) & 0xFFFFFF).astype(np.float64) / 2**24
    blocks = uniform.reshape(-1, 2, 8)
    radius, angle = np.sqrt(-2 * np.log(1 - blocks[:, 0])), 2 * np.pi * blocks[:, 1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def predict(session, x, timestep, labels):
    both = np.concatenate([x, x])
    output = session.predict(both, np.full(len(both), timestep, np.float32), [*labels, *[128] * len(labels)])
    return output[:, :3].astype(np.float64)


def test_each_quantized_layer_is_told_at_each_step(emoji_report):
    report = emoji_report
    names = [layer["name"] for layer in report.json["layers"]]
    assert len(names) == 30 and names[:5] == ["blocks.0." + name for name in ("adaLN_modulation.1", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
    assert len(report.rows) == 300 and report.rows[7]["layer"] == names[7] and report.rows[299]["timestep"] == "0"
    for layer in report.json["layers"]:
        assert len(layer["input_sqnr_db"]) == len(layer["output_sqnr_db"]) == 10 and 0 < layer["bytes"] < layer["reference_bytes"]
        assert all(5 < value <= 300 for value in layer["input_sqnr_db"] + layer["output_sqnr_db"])
    first = report.json["layers"][0]
    assert first["input_sqnr_db_all"] == 300, "nothing before the first layer is quantized"
    assert [float(row["output_sqnr_db"]) for row in report.rows if row["layer"] == names[3]] == report.json["layers"][3]["output_sqnr_db"]
    fc1 = report.json["layers"][3]
    assert (fc1["weight_bits"], fc1["activation_bits"], fc1["macs"], fc1["clipped"]) == (8, 8, 64 * 256 * 1024, 0)


def test_the_numbers_of_a_report_agree(emoji_report):
    report = emoji_report
    assert report.json["sqnr_db"] == report.sqnr and report.json["sqnr_db_by_step"] == report.by_step and math.isnan(report.beyond)
    assert min(report.by_step) <= report.sqnr <= max(report.by_step) and 30 < report.sqnr < 70
    assert report.json["timesteps"] == list(range(900, -1, -100))


def test_more_bits_cost_less(model):
    sqnr = []
    for options in (dict(weight_bits=4, weight_group=0, weight_method=1), dict(weight_bits=4, weight_method=1), dict(weight_bits=8)):
        with model("emoji").quantize(**options) as quantized:
            sqnr.append(Report(model("emoji"), quantized, steps=5, samples=2).sqnr)
    assert sqnr == sorted(sqnr) and sqnr[2] > sqnr[1] + 5


def test_the_same_report_for_any_number_of_threads(model):
    with model("official-a").quantize(weight_bits=4) as quantized:
        reports = [Report(model("official-a"), quantized, steps=2, samples=3, threads=threads) for threads in (1, 3)]
    for row in (row for report in reports for row in report.rows):
        assert float(row.pop("seconds")) > 0
    assert reports[0].rows == reports[1].rows and reports[0].by_step == reports[1].by_step


@pytest.mark.parametrize("fields, part", [
    (dict(steps=-1), "steps"), (dict(steps=1001), "1001"), (dict(samples=-2), "samples"), (dict(threads=-1), "threads"), (dict(free_running=2), "free_running"),
])
def test_options_out_of_range_are_refused(fields, part, model):
    with pytest.raises(DitqFailure) as failure:
        Report(model("emoji"), model("emoji"), **fields)
    assert failure.value.status == ditq.INVALID_ARGUMENT and part in failure.value.message


def test_models_of_different_architecture_are_refused(model):
    with pytest.raises(DitqFailure) as failure:
        Report(model("emoji"), model("official-a"))
    assert failure.value.status == ditq.INVALID_ARGUMENT and "architecture" in failure.value.message


def test_progress_counts_steps_and_may_end_the_call(model):
    seen = []
    Report(model("official-a"), model("official-a"), steps=2, samples=5, progress=lambda p: seen.append((p.done, p.total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(DitqFailure) as failure:
        Report(model("official-a"), model("official-a"), steps=2, progress=lambda p: True)
    assert failure.value.status == ditq.CANCELLED
