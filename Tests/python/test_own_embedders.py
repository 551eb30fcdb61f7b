"""Blocks with embedders of their own, as every DiT has that diffusers trained or tuned: each block is conditioned by its own. That they predict what
diffusers predicts is in test_golden.py, that their files open again in test_ditq_file.py."""
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import FIXTURES
from ditq_c import DitqFailure
from test_compare import Report

OWN = FIXTURES / "diffusers-own/pipeline"
SHARED = FIXTURES / "diffusers-b/pipeline"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
EMBEDDERS = ["t_embedder.mlp.0", "t_embedder.mlp.2"]
SMALL = dict(calibration_samples=2, calibration_steps=3, calibration_total_steps=5)
STATIC, STATIC_PER_STEP = 1, 2


def changed(source, tmp_path, change):
    """A copy of a pipeline whose transformer's tensors `change` was given."""
    folder = shutil.copytree(source, tmp_path / "pipeline")
    tensors = {name: t.copy() for name, t in safetensors_io.read(folder / TRANSFORMER).items()}
    change(tensors)
    (folder / TRANSFORMER).write_bytes(safetensors_io.encode(tensors))
    return folder


def of_embedders(tensors, block):
    return [name for name in tensors if name.startswith(f"transformer_blocks.{block}.norm1.emb.")]


def test_their_layers_are_named_under_their_blocks_and_counted(model):
    m = model("diffusers-own")
    depth, layers = m.info.depth, list(m.json()["layers"])
    own = [f"blocks.{block}.{name}" for block in range(1, depth) for name in EMBEDDERS]
    assert [name for name in layers if "embedder.mlp" in name] == EMBEDDERS + own
    assert layers.index("blocks.1.t_embedder.mlp.0") + 2 == layers.index("blocks.1.adaLN_modulation.1")  # in the order in which they run
    tensors = safetensors_io.read(OWN / TRANSFORMER)
    vae = {n: t for n, t in safetensors_io.read(OWN / "vae/diffusion_pytorch_model.safetensors").items() if not n.startswith(("encoder.", "quant_conv."))}
    positions = m.info.hidden_size * (m.info.latent_height // m.info.patch_size) ** 2  # diffusers computes them
    assert m.info.parameter_count == sum(t.size for t in (*tensors.values(), *vae.values())) + positions
    width = m.info.hidden_size
    assert m.info.macs_per_forward == m.json()["macs_per_forward"]
    blocks = depth * (16 * (4 * width**2 + 2 * width * 4 * width) + 2 * 16 * 16 * width + 6 * width**2)
    assert m.info.macs_per_forward == blocks + 16 * width * (16 + 32) + 2 * width**2 + depth * width * (256 + width)


def test_one_value_of_one_block_makes_them_differ(tmp_path, golden):
    """Copies that are equal are one embedder; a single different number in the last block changes what is predicted."""
    case = golden("diffusers-b")

    def change(tensors):
        tensors["transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"][case.settings["label"], 5] += 1

    arguments = [case["forward.x"], case["forward.t"], case["forward.y"]]
    with ditq.Model(SHARED) as same, ditq.Model(changed(SHARED, tmp_path, change)) as other:
        assert "blocks.1.t_embedder.mlp.0" not in same.json()["layers"] and "blocks.1.t_embedder.mlp.0" in other.json()["layers"]
        assert other.info.parameter_count - same.info.parameter_count == sum(
            t.size for name, t in safetensors_io.read(SHARED / TRANSFORMER).items() if ".1.norm1.emb." in name)
        with same.session() as one, other.session() as two:
            outputs = one.predict(*arguments), two.predict(*arguments)
        assert np.abs(outputs[0][0] - outputs[1][0]).max() > 1e-3  # of the label that was changed
        assert np.array_equal(outputs[0][1], outputs[1][1])  # of "no class"


def test_equal_copies_are_one_embedder_and_take_less(tmp_path):
    def change(tensors):
        for block in (1, 2):
            for name in of_embedders(tensors, block):
                tensors[name] = tensors[name.replace(f"blocks.{block}.", "blocks.0.")]

    with ditq.Model(changed(OWN, tmp_path, change)) as equal, ditq.Model(OWN) as own:
        assert len(own.json()["layers"]) - len(equal.json()["layers"]) == 4
        more = own.session_memory(threads=1, batch_limit=64) - equal.session_memory(threads=1, batch_limit=64)
        assert more == 2 * 64 * own.info.hidden_size * 4  # a block's conditioning, of both halves; decoding needs less than so many images
        with equal.session() as one, own.session() as two:
            assert not np.array_equal(one.denoise([3], [7], steps=2), two.denoise([3], [7], steps=2))


def test_a_block_without_one_is_told_of(tmp_path):
    name = "transformer_blocks.2.norm1.emb.timestep_embedder.linear_1.bias"
    with pytest.raises(DitqFailure) as failure:
        ditq.Model(changed(OWN, tmp_path, lambda tensors: tensors.pop(name)))
    assert name in str(failure.value)


@pytest.mark.parametrize("options", [
    dict(weight_bits=8), dict(weight_bits=8, activation_mode=STATIC, **SMALL), dict(weight_bits=8, activation_mode=STATIC, observer=1, **SMALL),
    dict(weight_bits=4, activation_mode=STATIC_PER_STEP, balance_channels=1, calibration_samples=4, calibration_steps=4, calibration_total_steps=8),
    dict(weight_bits=4, error_budget_db=30.0, **SMALL),
], ids=str)  # fmt: skip
def test_they_stay_in_float_and_the_rest_is_quantized(options, model):
    source = model("diffusers-own")
    with source.quantize(**options) as quantized:
        layers, report = quantized.json()["layers"], Report(source, quantized, steps=5, samples=2)
        assert all(layer["weights"] == "F32" for name, layer in layers.items() if "t_embedder" in name)
        assert sum(layer["weights"] != "F32" for layer in layers.values()) >= source.info.depth
        assert report.json["sqnr_db"] > (10 if options["weight_bits"] == 4 else 25)


def test_a_rule_quantizes_them_and_comparing_tells_of_each(model, tmp_path):
    source = model("diffusers-own")
    everywhere = dict(calibration_samples=2, calibration_steps=4, calibration_total_steps=4)  # the steps that are compared: nothing is clipped
    with source.quantize(rules=[dict(pattern=b"*t_embedder*", weight_bits=8)], activation_mode=STATIC, **everywhere) as quantized:
        names = [f"blocks.{block}.{name}" for block in (1, 2) for name in EMBEDDERS]
        assert {quantized.json()["layers"][name]["weights"] for name in EMBEDDERS + names} == {"W8A8"}
        told = {layer["name"]: layer for layer in Report(source, quantized, steps=4, samples=1).json["layers"]}
        assert [told[name]["macs"] for name in names[:2]] == [256 * 32, 32 * 32] and all(min(told[name]["output_sqnr_db"]) > 25 for name in names)
        quantized.save(tmp_path / "own.ditq")
        with ditq.Model(tmp_path / "own.ditq") as opened, opened.session() as one, quantized.session() as other:
            opened.verify()
            assert np.array_equal(one.denoise([3], [7], steps=3), other.denoise([3], [7], steps=3))


def test_models_with_and_without_are_not_compared(tmp_path):
    def change(tensors):
        for block in (1, 2):
            for name in of_embedders(tensors, block):
                tensors[name] = tensors[name.replace(f"blocks.{block}.", "blocks.0.")]

    with ditq.Model(OWN) as own, ditq.Model(changed(OWN, tmp_path, change)) as equal:
        for pair in [(own, equal), (equal, own)]:
            with pytest.raises(DitqFailure, match="embedders"):
                Report(*pair, steps=2, samples=1)
