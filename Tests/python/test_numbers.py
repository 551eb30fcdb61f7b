"""NaN, infinities and denormals: refused where a host passes them, carried by the rules of floating point where a float file holds them, never another
size, another result on another instruction set, or the end of the process."""
import ctypes
import json
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import INVALID_ARGUMENT, MALFORMED, DitqFailure, lib, outcome

pytestmark = pytest.mark.isolated

TINY = ditq.ROOT / "Tests/fuzz/models/float.safetensors"
SETS = (0, 1, 2, 3)
CONFIG = {"ditq.config": json.dumps({"head_count": 2})}
CALIBRATED = dict(calibration_steps=1, calibration_total_steps=2, calibration_samples=1)
NO_NUMBERS = [np.nan, np.inf, -np.inf]
TENSORS = ["blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.bias", "blocks.0.adaLN_modulation.1.weight", "pos_embed", "t_embedder.mlp.0.weight", "x_embedder.proj.weight", "final_layer.linear.weight"]


def opened(tensor=None, value=0.0):
    """The tiny model, with this value in the midst of a tensor."""
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(TINY).items()}
    if tensor:
        tensors[tensor].reshape(-1)[3] = value
    return ditq.Model(safetensors_io.encode(tensors, CONFIG))


def results(model):
    """The latents by each set and on one and two threads; each NaN is the same one, because their signs are the CPU's own."""
    found = []
    for isa in SETS:
        for threads in (1, 2):
            with model.session(isa_limit=isa, threads=threads) as session:
                latents = session.denoise([1, 0], [2, 3], steps=2)
            latents[np.isnan(latents)] = np.nan
            found.append(latents)
    return found


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38, 1e-42])
@pytest.mark.parametrize("tensor", TENSORS)
def test_strange_weights_of_a_float_model_are_carried_and_give_the_same_bytes_everywhere(tensor, value):
    with opened(tensor, value) as model:
        found = results(model)
    assert len({each.tobytes() for each in found}) == 1
    if not np.isfinite(value):
        assert not np.isfinite(found[0]).all(), "what is no number went unnoticed"
    elif value < 1:
        assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("value", [*NO_NUMBERS, 2e18])
@pytest.mark.parametrize("options", [{}, dict(weight_bits=4), dict(weight_bits=4, weight_method=1), dict(weight_method=2), dict(activation_mode=1), dict(balance_channels=1), dict(error_budget_db=30.0)])
def test_weights_that_cannot_be_quantized_are_refused_by_name(options, value):
    for tensor in ("blocks.0.attn.qkv.weight", "blocks.0.adaLN_modulation.1.weight"):
        with opened(tensor, value) as model, pytest.raises(DitqFailure) as failure:
            model.quantize(**CALIBRATED, **options)
        assert failure.value.status == MALFORMED and tensor in failure.value.message and "1e+18" in failure.value.message


@pytest.mark.parametrize("options", [{}, dict(weight_bits=4), dict(activation_mode=1), dict(activation_mode=2, balance_channels=1), dict(activation_mode=4)])
@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38])
def test_a_quantized_model_with_strange_biases_gives_the_same_bytes_everywhere(options, value):
    for tensor in ("blocks.0.mlp.fc1.bias", "pos_embed"):
        with opened(tensor, value) as model:
            try:
                quantized = model.quantize(**CALIBRATED, **options)
            except DitqFailure as failure:  # its calibration saw no numbers
                assert failure.status == MALFORMED
                continue
            with quantized:
                assert len({each.tobytes() for each in results(quantized)}) == 1


def test_denormal_weights_are_numbers_like_others():
    tiny = np.float32(2.0**-140)
    weights = np.full((3, 8), tiny, np.float32)
    x = np.full((2, 8), 2.0**20, np.float32)
    for isa in SETS:
        handle, y = ctypes.c_void_p(), np.zeros((2, 3), np.float32)
        options = ditq.LinearOptions(weight_bits=ditq.KEEP_FLOAT, isa_limit=isa)
        ditq.call(lib.ditq_linear_create, ditq.address(weights), None, 3, 8, ctypes.byref(options), ctypes.byref(handle))
        ditq.call(lib.ditq_linear_apply, handle, ditq.address(x), 2, ditq.address(y), 1)
        lib.ditq_linear_destroy(handle)
        assert (y == 2.0**-117).all(), f"set {isa}: denormals were taken for zeros"


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_noise_and_latents_that_are_no_numbers_are_refused_where_they_stand(value):
    with opened() as model, model.session(threads=1) as session:
        latents = np.ones((1, *model.latent_shape), np.float32)
        latents.reshape(-1)[5] = value
        for work in (lambda: session.denoise([0], [1], noise=latents, steps=2), lambda: ditq.Run(model, [0], [1], noise=latents, steps=2)):
            with pytest.raises(DitqFailure) as failure:
                work()
            assert failure.value.status == INVALID_ARGUMENT and "noise[5]" in failure.value.message
        assert np.isfinite(session.denoise([0], [1], steps=2)).all()


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("field", ["guidance_scale", "guidance_begin", "guidance_end", "eta"])
def test_options_that_are_no_numbers_are_refused_by_name(field, value):
    with opened() as model, model.session(threads=1) as session, pytest.raises(DitqFailure) as failure:
        session.denoise([0], [1], steps=2, **{field: value})
    assert failure.value.status == INVALID_ARGUMENT and field in failure.value.message


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_an_error_budget_and_ranges_that_are_no_numbers_are_refused(value):
    with opened() as model, pytest.raises(DitqFailure) as failure:
        model.quantize(error_budget_db=value, **CALIBRATED)
    assert failure.value.status == INVALID_ARGUMENT and "error_budget_db" in failure.value.message
    weights, handle = np.ones((4, 32), np.float32), ctypes.c_void_p()
    for field in ("activation_min", "activation_max"):
        options = ditq.LinearOptions(activation_mode=1, **({"activation_min": -1.0, "activation_max": 1.0} | {field: value}))
        status, message = outcome(lib.ditq_linear_create, ditq.address(weights), None, 4, 32, ctypes.byref(options), ctypes.byref(handle))
        assert status == INVALID_ARGUMENT and "activation" in message and not handle


def pictures(model):
    """What a decoder makes of two images' latents by each set and on one and two threads: bytes, and values with one NaN for all."""
    latents = np.linspace(-1, 1, 2 * int(np.prod(model.latent_shape)), dtype=np.float32).reshape(2, *model.latent_shape)
    made = set()
    for isa in SETS:
        for threads in (1, 2):
            with model.session(isa_limit=isa, threads=threads) as session:
                values = session.decode_float(latents)
                values[np.isnan(values)] = np.nan
                made.add(session.decode(latents).tobytes() + values.tobytes())
    return made


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38])
@pytest.mark.parametrize("tensor", ["conv_in.weight", "mid_block.attentions.0.to_q.weight", "conv_norm_out.bias", "conv_out.weight"])
def test_a_decoder_of_strange_weights_makes_the_same_pictures_everywhere_or_is_refused_by_name(tensor, value, tmp_path):
    shutil.copytree(ditq.ROOT / "Tests/fuzz/models/pipeline", tmp_path / "pipeline")
    file = tmp_path / "pipeline/vae/diffusion_pytorch_model.safetensors"
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(file).items()}
    tensors["decoder." + tensor].reshape(-1)[1] = value
    file.write_bytes(safetensors_io.encode(tensors))
    with ditq.Model(tmp_path / "pipeline") as model:
        assert len(pictures(model)) == 1
        options = dict(rules=[dict(pattern=b"vae.*", weight_bits=8)])
        if tensor == "conv_out.weight":  # the others stay in float
            with pytest.raises(DitqFailure) as failure:
                model.quantize(**options)
            assert failure.value.status == MALFORMED and "conv_out" in failure.value.message and "1e+18" in failure.value.message
        else:
            with model.quantize(**options) as quantized:
                assert len(pictures(quantized)) == 1
