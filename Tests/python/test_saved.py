"""What is saved opens, and means the same: small models with extreme numbers in one place, quantized in several ways, are refused by name, or saved,
opened again and equal to the bit, in predictions and in pictures. Of 3,353 such models 361 were saved once and refused when they were opened."""
import itertools
import json

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import MALFORMED, UNSUPPORTED, DitqFailure
from test_assembled import OFFICIAL, file, transformer, vae
from test_bad_input import not_opened, opened

pytestmark = pytest.mark.isolated(seconds=400)

FEW = dict(calibration_samples=1, calibration_steps=2, calibration_total_steps=3, threads=1)
BALANCED = dict(balance_channels=1, calibration_samples=4)  # fewer are too few to balance by
DECODER = dict(pattern=b"vae.*", weight_bits=8)
OPTIONS = {
    "8 bits": {}, "4 bits": dict(weight_bits=4, weight_group=16), "rounded": dict(weight_bits=4, weight_method=1), "least squares": dict(weight_method=2),
    "static": dict(activation_mode=1), "per step": dict(activation_mode=2, weight_bits=4, **BALANCED), "clipped": dict(activation_mode=1, observer=2, **BALANCED),
    "float activations": dict(activation_mode=4), "a budget": dict(error_budget_db=40.0, weight_bits=4, weight_group=16, **BALANCED),
    "every layer": dict(rules=[dict(pattern=b"*", weight_bits=8), DECODER]), "float but the decoder": dict(rules=[dict(pattern=b"*", weight_bits=32), DECODER]),
}  # fmt: skip
VALUES = [np.nan, np.inf, -np.inf, 1e20, -1e20, 1e38, 3.4e38, 1e-42]
BLOCK = "blocks.0."
PLACES = [
    "x_embedder.proj.weight", "x_embedder.proj.bias", "pos_embed", "t_embedder.mlp.0.weight", "t_embedder.mlp.0.bias", "t_embedder.mlp.2.weight", "y_embedder.embedding_table.weight",
    BLOCK + "adaLN_modulation.1.weight", BLOCK + "adaLN_modulation.1.bias", BLOCK + "attn.qkv.weight", BLOCK + "attn.qkv.bias", BLOCK + "attn.proj.bias", BLOCK + "mlp.fc1.bias", BLOCK + "mlp.fc2.weight",
    "final_layer.adaLN_modulation.1.bias", "final_layer.linear.weight", "final_layer.linear.bias", "vae.post_quant_conv.weight", "vae.decoder.conv_in.bias", "vae.decoder.mid_block.resnets.0.conv1.weight",
    "vae.decoder.mid_block.resnets.0.norm1.weight", "vae.decoder.mid_block.attentions.0.to_q.weight", "vae.decoder.conv_norm_out.bias", "vae.decoder.conv_out.bias",
]  # fmt: skip


def model_with(place, value, **config):
    config["decoder"], decoder = vae()
    tensors = transformer() | {"vae." + name: tensor for name, tensor in decoder.items()}
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    tensors[place].reshape(-1)[1] = value
    return safetensors_io.encode(tensors, {"ditq.config": json.dumps(OFFICIAL | {"pixel_space": False} | config)})


def made(call):
    """The bytes of what a call makes, each NaN the same; or the sentence that it ends with."""
    try:
        values = np.array(call())
    except DitqFailure as failure:
        return failure.status, failure.message
    if values.dtype == np.float32:
        values[np.isnan(values)] = np.nan
    return values.tobytes()


def all_made(model):
    latents = np.linspace(-1, 1, int(np.prod(model.latent_shape)), dtype=np.float32).reshape(1, *model.latent_shape)
    with model.session(threads=1) as session:
        return [
            made(lambda: session.predict(latents, [500.0], [1])), made(lambda: session.decode_float(latents)), made(lambda: session.decode(latents)),
            made(lambda: session.generate([1], [2], steps=2)),
        ]  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_model_of_extreme_numbers_is_refused_by_name_or_saved_and_the_same(name, tmp_path):
    refused = saved = 0
    for place, value in itertools.product(PLACES, VALUES):
        with ditq.Model(model_with(place, value)) as model:
            try:
                quantized = model.quantize(**FEW | OPTIONS[name])
            except DitqFailure as failure:
                assert failure.status == MALFORMED, f"{place} {value}: {failure}"
                assert any(word in failure.message for word in ("blocks.", "layer", "embedder", "conv", "predict", "step", "sample")), failure.message
                refused += 1
                continue
            with quantized:
                path = tmp_path / "x.ditq"
                quantized.save(path)
                json.loads(json.dumps(quantized.json()))
                with ditq.Model(path) as again:
                    again.verify()
                    assert all_made(again) == all_made(quantized), f"{place} {value}"
                    assert again.json()["calibration"] == quantized.json()["calibration"]
            saved += 1
    assert saved > 20 and refused + saved == len(PLACES) * len(VALUES)


NORM_EPS = [1e-50, 0.99999999999, 1e-46, 5e-324]


@pytest.mark.parametrize("value", NORM_EPS)
def test_a_norm_eps_that_a_float_does_not_hold_is_refused_on_opening(value):
    for compatibility in ("official", "diffusers"):
        not_opened(file(norm_eps=value, compatibility=compatibility), MALFORMED, "norm_eps")


@pytest.mark.parametrize("value", [1e-45, 1e-40, 1e-5, 0.1, 0.9999999, 3.3333333e-7])
def test_any_other_is_the_same_after_saving(value, tmp_path):
    with ditq.Model(file(norm_eps=value, compatibility="diffusers")) as model, model.quantize(threads=1) as quantized:
        quantized.save(tmp_path / "x.ditq")
        with ditq.Model(tmp_path / "x.ditq") as again:
            latents = np.ones((1, *again.latent_shape), np.float32)
            with quantized.session(threads=1) as one, again.session(threads=1) as other:
                assert one.predict(latents, [5.0], [1]).tobytes() == other.predict(latents, [5.0], [1]).tobytes()
        again = safetensors_io.read_header((tmp_path / "x.ditq").read_bytes())[0]["__metadata__"]["ditq.config"]
        assert np.float32(json.loads(again)["norm_eps"]) == np.float32(value)


@pytest.mark.parametrize("place", ["blocks.0.mlp.fc2", "blocks.0.attn.qkv", "blocks.0.adaLN_modulation.1", "x_embedder.proj", "final_layer.linear"])
def test_factors_of_inputs_that_nobody_would_mind_are_refused(place):
    """In a float file they were dropped when it was quantized, and ignored in most layers."""
    tensors = transformer()
    tensors[place + ".input_factors"] = np.ones(52, np.float32)
    not_opened(safetensors_io.encode(tensors, {"ditq.config": json.dumps(OFFICIAL)}), UNSUPPORTED, place + ".input_factors")


def saved_file(tmp_path, **options):
    """(the tensors, the metadata) of a .ditq file with a decoder."""
    path = tmp_path / "x.ditq"
    with ditq.Model(file(vae(), pixel_space=False)) as model, model.quantize(**FEW | options) as quantized:
        quantized.save(path)
    return safetensors_io.read(path), safetensors_io.read_header(path.read_bytes())[0]["__metadata__"]


def with_layer(metadata, name):
    layers = json.loads(metadata["ditq.layers"]) | {name: {"bits": 8, "group": 0, "activation_bits": 8}}
    return metadata | {"ditq.layers": json.dumps(layers)}


@pytest.mark.parametrize("name", ["blocks.1.attn.qkv", "blocks.0.mlp.fc3", "final_layer", "vae.decoder.conv_on", "vae.decoder.conv_in", "vae.decoder.mid_block.attentions.0.to_q", "vae.encoder.conv_in"])
def test_layers_that_are_never_packed_are_refused(name, tmp_path):
    tensors, metadata = saved_file(tmp_path, rules=[DECODER])
    assert opened(safetensors_io.encode(tensors, metadata))[0] == ditq.OK
    not_opened(safetensors_io.encode(tensors, with_layer(metadata, name)), (UNSUPPORTED, MALFORMED, ditq.NOT_FOUND), name.removeprefix("vae."))


def test_the_decoders_attention_is_not_packed_even_where_its_tensors_are(tmp_path):
    """It ran, and its file could not be saved again."""
    tensors, metadata = saved_file(tmp_path, rules=[DECODER])
    name = "vae.decoder.mid_block.attentions.0.to_out.0"
    tensors[name + ".weight"] = np.ones((1, 8 * 32), np.uint8)
    tensors[name + ".weight.scales"], tensors[name + ".weight.sums"] = np.ones((1, 1, 32), np.float32), np.ones((1, 32), np.float32)
    not_opened(safetensors_io.encode(tensors, with_layer(metadata, name)), UNSUPPORTED, name.removeprefix("vae."))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_factors_that_no_balance_has_are_refused(value, tmp_path):
    tensors, metadata = saved_file(tmp_path, activation_mode=1, **BALANCED)
    tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    tensors["blocks.0.mlp.fc2.input_factors"][3] = value
    not_opened(safetensors_io.encode(tensors, metadata), MALFORMED, "blocks.0.mlp.fc2.input_factors")
