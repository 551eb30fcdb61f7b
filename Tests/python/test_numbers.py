"""NaN, infinities and denormals: refused where a host passes them, named with the step that they reach where a float file holds them, never another
size, another result on another instruction set, or the end of the process."""
import ctypes
import json
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import INVALID_ARGUMENT, MALFORMED, DitqFailure, lib, outcome
from test_compare import Report

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


def outcomes(work):
    """What comes of `work` by each set and on one and two threads: bytes, or the status and the sentence."""
    found = set()
    for isa in SETS:
        for threads in (1, 2):
            try:
                found.add(work(isa_limit=isa, threads=threads))
            except DitqFailure as failure:
                found.add((failure.status, failure.message))
    return found


def drawn(model):
    def work(**options):
        with model.session(**options) as session:
            return session.denoise([1, 0], [2, 3], steps=2, sampler=ditq.SAMPLER_DDPM).tobytes()

    return outcomes(work)


def assert_named(found, *parts):
    (status, message), = found
    assert status == MALFORMED and "not finite" in message and all(part in message for part in parts), message


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38, 1e-42])
@pytest.mark.parametrize("tensor", TENSORS)
def test_strange_weights_of_a_float_model_end_the_step_that_they_reach_everywhere_or_give_the_same_bytes(tensor, value):
    """They were carried by the rules of floating point, and pictures of them came with DITQ_OK and no word (issue 18.6)."""
    with opened(tensor, value) as model:
        found = drawn(model)
    assert len(found) == 1
    if not np.isfinite(value):
        assert_named(found, "step 1 of 2", "image 0", "weights")
    elif value < 1:
        assert isinstance(*found, bytes)
    elif not isinstance(*found, bytes):
        assert_named(found, "step 1 of 2", "image")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 2e18])
@pytest.mark.parametrize("options", [{}, dict(weight_bits=4), dict(weight_bits=4, weight_method=1), dict(weight_method=2), dict(activation_mode=1), dict(balance_channels=1), dict(error_budget_db=30.0)])
def test_weights_that_cannot_be_quantized_are_refused_by_name(options, value):
    for tensor in ("blocks.0.attn.qkv.weight", "blocks.0.adaLN_modulation.1.weight"):
        with opened(tensor, value) as model, pytest.raises(DitqFailure) as failure:
            model.quantize(**CALIBRATED, **options)
        assert failure.value.status == MALFORMED and tensor in failure.value.message and "1e+18" in failure.value.message


@pytest.mark.parametrize("options", [{}, dict(weight_bits=4), dict(activation_mode=1), dict(activation_mode=2, balance_channels=1, calibration_samples=2), dict(activation_mode=4)])
@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38])
def test_a_quantized_model_with_strange_biases_says_so_or_gives_the_same_bytes_everywhere(options, value):
    for tensor in ("blocks.0.mlp.fc1.bias", "pos_embed"):
        with opened(tensor, value) as model:
            try:
                quantized = model.quantize(**CALIBRATED | options)
            except DitqFailure as failure:  # its calibration saw no numbers
                assert failure.status == MALFORMED
                continue
            with quantized:
                found = drawn(quantized)
                assert len(found) == 1
                if not isinstance(*found, bytes):
                    assert_named(found, "step 1 of 2")


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
    """What a decoder makes of two images' latents: bytes, and values."""
    latents = np.linspace(-1, 1, 2 * int(np.prod(model.latent_shape)), dtype=np.float32).reshape(2, *model.latent_shape)

    def work(**options):
        with model.session(**options) as session:
            return session.decode(latents).tobytes() + session.decode_float(latents).tobytes()

    return outcomes(work)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 3e38])
@pytest.mark.parametrize("tensor", ["conv_in.weight", "mid_block.attentions.0.to_q.weight", "conv_norm_out.bias", "conv_out.weight"])
def test_a_decoder_of_strange_weights_names_the_image_or_makes_the_same_pictures_everywhere(tensor, value, tmp_path):
    shutil.copytree(ditq.ROOT / "Tests/fuzz/models/pipeline", tmp_path / "pipeline")
    file = tmp_path / "pipeline/vae/diffusion_pytorch_model.safetensors"
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(file).items()}
    tensors["decoder." + tensor].reshape(-1)[1] = value
    file.write_bytes(safetensors_io.encode(tensors))
    with ditq.Model(tmp_path / "pipeline") as model:
        found = pictures(model)
        assert len(found) == 1
        if not np.isfinite(value) or not isinstance(*found, bytes):
            assert_named(found, "pixels of image 0", "decoder")
        options = dict(rules=[dict(pattern=b"vae.*", weight_bits=8)])
        if tensor == "conv_out.weight":  # the others stay in float
            with pytest.raises(DitqFailure) as failure:
                model.quantize(**options)
            assert failure.value.status == MALFORMED and "conv_out" in failure.value.message and "1e+18" in failure.value.message


# ---- Which step, image, class and layer it was ----


def test_the_step_and_the_image_are_named_and_what_was_finished_is_there():
    """A row of the label table that is no number: of one class, or of "no class", which only guided steps look at."""
    table = "y_embedder.embedding_table.weight"
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(TINY).items()}
    classes = len(tensors[table]) - 1
    for row, name in ((1, "step 1 of 4: the latents of image 2"), (classes, "step 3 of 4: the latents of image 0")):
        changed = dict(tensors)
        changed[table] = tensors[table].copy()
        changed[table][row] = np.nan
        with ditq.Model(safetensors_io.encode(changed, CONFIG)) as model, model.session() as session:
            latents = np.zeros((3, *model.latent_shape), np.float32)
            fields = dict(steps=4, guidance_begin=0.5)
            with pytest.raises(DitqFailure) as failure:
                session.run(lib.ditq_denoise, [0, 0, 1], [1, 2, 3], latents, fields)
            assert failure.value.status == MALFORMED and name in failure.value.message and "guidance_scale of 4.0" in failure.value.message
            assert np.isfinite(latents).all() and [bool(each.any()) for each in latents] == ([True, True, False] if row == 1 else [False] * 3)
            assert session.denoise([0], [1], steps=4, guidance_scale=1).any(), "the session is usable"


def test_a_step_of_a_run_that_ends_in_no_numbers_did_not_happen():
    table = "y_embedder.embedding_table.weight"
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(TINY).items()}
    tensors[table][-1] = np.inf
    with ditq.Model(safetensors_io.encode(tensors, CONFIG)) as model, model.session() as session:
        with ditq.Run(model, [0, 1], [1, 2], steps=4, guidance_begin=0.25) as run:
            assert run.step(session) == 3
            before = run.save()
            for _ in range(2):
                with pytest.raises(DitqFailure) as failure:
                    run.step(session)
                assert failure.value.status == MALFORMED and "step 2 of 4: the latents of image 0 are not finite" in failure.value.message
                assert run.save() == before
            ditq.Run(model, saved=before).destroy()


def test_latents_that_outgrow_a_float_are_named_as_well():
    """Finite noise and weights whose product is not."""
    with opened() as model, model.session() as session:
        noise = np.full((1, *model.latent_shape), 3e38, np.float32)
        with pytest.raises(DitqFailure) as failure:
            session.denoise([0], noise=noise, steps=2)
        assert failure.value.status == MALFORMED and "step 1 of 2" in failure.value.message
        with pytest.raises(DitqFailure) as failure:
            session.predict(noise, [5.0], [0])
        assert failure.value.status == MALFORMED and "predicted values of image 0" in failure.value.message


def test_a_learned_variance_that_is_no_number_is_not_taken_for_none():
    tensors = {name: array.astype(np.float32) for name, array in safetensors_io.read(TINY).items()}
    bias = tensors["final_layer.linear.bias"].reshape(-1, 8)
    bias[:, 4:] = np.nan
    with ditq.Model(safetensors_io.encode(tensors, CONFIG)) as model, model.session() as session:
        assert session.denoise([0], [1], steps=3, sampler=ditq.SAMPLER_DDIM).any(), "DDIM does not look at it"
        with pytest.raises(DitqFailure) as failure:
            session.denoise([0], [1], steps=3, sampler=ditq.SAMPLER_DDPM)
        assert failure.value.status == MALFORMED and "step 1 of 3" in failure.value.message


@pytest.mark.parametrize("options", [dict(activation_mode=1), dict(weight_bits=4), dict(activation_mode=2, observer=2), dict(weight_bits=4, error_budget_db=30.0)])
@pytest.mark.parametrize("tensor, layer", [("blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2"), ("pos_embed", "blocks.0.attn.qkv"), ("t_embedder.mlp.0.bias", "t_embedder.mlp.2"), ("final_layer.linear.bias", "last layer")])
def test_calibrating_names_the_layer_and_the_class(tensor, layer, options):
    with opened(tensor, np.nan) as model, pytest.raises(DitqFailure) as failure:
        model.quantize(**CALIBRATED | dict(calibration_steps=2) | options)
    assert failure.value.status == MALFORMED and layer in failure.value.message and "class" in failure.value.message and "step 1 of 2" in failure.value.message


def test_comparing_names_the_step_and_the_model():
    with opened() as fine, opened("blocks.0.mlp.fc1.bias", np.nan) as strange:
        for models, name in (((strange, fine), "the reference"), ((fine, strange), "the model")):
            with pytest.raises(DitqFailure) as failure:
                Report(*models, steps=2, samples=1)
            message = failure.value.message
            assert failure.value.status == MALFORMED and f"step 1 of 2: what {name} predicts for sample 0, class 0, is not finite" in message
