"""The decoder of a latent model: its memory, and its convolutions in 8-bit weights, which a rule of the pattern "vae.…" asks for."""
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import FIXTURES, Golden, open_fixture
from test_compare import Report

CASES = ["diffusers-a", "diffusers-b"]
SCALING_FACTOR = 0.18215
EIGHT_BITS = dict(pattern=b"vae.*", weight_bits=8, weight_group=-1, activation_bits=8)


AUTO, ROUND, MSE, GPTQ = range(4)  # DITQ_WEIGHT_…


def rule(**fields):
    return EIGHT_BITS | fields


def quantized(name, rules=(EIGHT_BITS,), **fields):
    with open_fixture(name) as source:
        return source.quantize(rules=rules, **fields)


def latents_of(name):
    """The golden case's, as the transformer leaves them, and others."""
    z = Golden(name)["vae.z"] * np.float32(SCALING_FACTOR)
    return np.concatenate([z, np.random.default_rng(8).standard_normal((2, *z.shape[1:])).astype(np.float32)])


def sqnr(reference, found):
    reference, found = reference.astype(np.float64), found.astype(np.float64)
    return 10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum())


def digest(model, name, **options):
    with model.session(**options) as session:
        return hashlib.sha256(session.decode_float(latents_of(name)).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """files(name): a .ditq file whose decoder is in 8 bits, and what the model said of itself before it was saved."""
    made = {}

    def of(name):
        if name not in made:
            path = tmp_path_factory.mktemp("decoder") / f"{name}.ditq"
            with quantized(name) as model:
                model.save(path)
                made[name] = path, model.json(), bytes(model.info), digest(model, name, threads=1)
        return made[name]

    return of


@pytest.mark.parametrize("name", CASES)
def test_in_8_bits_the_decoder_is_35_db_from_pytorch_and_from_float(name, session):
    with quantized(name) as model, model.session() as decoder:
        found = decoder.decode_float(latents_of(name))
    expected = session(name).decode_float(latents_of(name))
    pytorch = Golden(name)["vae.out"].transpose(0, 2, 3, 1)
    assert sqnr(pytorch, 2 * found[:1].astype(np.float64) - 1) >= 35
    for one, other in zip(expected, found):
        assert sqnr(2 * one.astype(np.float64) - 1, 2 * other.astype(np.float64) - 1) >= 35


@pytest.mark.parametrize("name", CASES)
def test_errors_that_are_spread_are_smaller_than_rounded_ones(name, session):
    expected, levels = session(name).decode_float(latents_of(name)), {}
    for method in (AUTO, ROUND, MSE, GPTQ):
        with quantized(name, weight_method=method, calibration_steps=1, calibration_samples=1) as model, model.session() as decoder:
            levels[method] = sqnr(2 * expected - 1, 2 * decoder.decode_float(latents_of(name)) - 1)
    assert levels[AUTO] == levels[GPTQ] > levels[ROUND] + 1
    assert min(levels.values()) > 30


@pytest.mark.parametrize("name", CASES)
def test_an_8_bit_decoder_is_saved_and_used_in_place(name, files, model):
    path, described, info, expected = files(name)
    header, _ = safetensors_io.read_header(path.read_bytes())
    metadata = header["__metadata__"]
    with ditq.Model(path) as opened:
        opened.verify()
        assert digest(opened, name, threads=2) == expected and bytes(opened.info) == info
        assert opened.json()["decoder"] == described["decoder"]
        assert opened.info.weights_size < model(name).info.weights_size and opened.info.parameter_count == model(name).info.parameter_count
    layers = described["decoder"]["layers"]
    assert {layer["weights"] for layer in layers.values()} == {"W8A8"} and "decoder.conv_out" in layers
    assert {f"vae.{layer}" for layer in layers} <= set(json.loads(metadata["ditq.layers"])) and metadata["ditq.format"] == "2"
    assert not [layer for layer in layers if f"vae.{layer}.weight.scales" not in header]


def test_without_a_rule_the_decoder_stays_float_and_the_file_as_old_readers_know_it(tmp_path):
    with quantized("diffusers-b", rules=[rule(pattern=b"*")]) as model:
        assert {layer["weights"] for layer in model.json()["decoder"]["layers"].values()} == {"F32"}
        model.save(tmp_path / "float.ditq")
    header, _ = safetensors_io.read_header((tmp_path / "float.ditq").read_bytes())
    assert header["__metadata__"]["ditq.format"] == "1"


def test_the_last_rule_that_matches_a_convolution_wins():
    rules = [EIGHT_BITS, rule(pattern=b"vae.decoder.mid_block.*", weight_bits=ditq.KEEP_FLOAT, activation_bits=0)]
    with quantized("diffusers-b", rules=rules) as model:
        for name, layer in model.json()["decoder"]["layers"].items():
            assert layer["weights"] == ("F32" if "mid_block" in name else "W8A8"), name


@pytest.mark.parametrize("fields, status, part", [
    (dict(weight_bits=4), ditq.UNSUPPORTED, "8-bit weights"), (dict(weight_group=64), ditq.UNSUPPORTED, "8-bit weights"),
    (dict(activation_bits=32), ditq.UNSUPPORTED, "8-bit activations"), (dict(pattern=b"vae.blocks.*"), ditq.NOT_FOUND, "vae.blocks.*"),
])
def test_what_a_decoder_cannot_be_is_refused(fields, status, part):
    with pytest.raises(ditq.DitqFailure) as failure:
        quantized("diffusers-b", rules=[rule(**fields)])
    assert failure.value.status == status and part in failure.value.message


def test_a_model_without_a_decoder_has_no_such_layers():
    with pytest.raises(ditq.DitqFailure) as failure:
        quantized("emoji")
    assert failure.value.status == ditq.NOT_FOUND and "vae.*" in failure.value.message


@pytest.mark.parametrize("before, after", [
    (b'"bits": 8, "group": 0, "activation_bits": 8', b'"bits": 4, "group": 0, "activation_bits": 8'),
    (b'"bits": 8, "group": 0, "activation_bits": 8', b'"bits": 8, "group": 8, "activation_bits": 8'),
    (b'"vae.decoder.conv_out', b'"vae.decoder.conv_in\\"'), (b"ditq.format\": \"2\"", b"ditq.format\": \"3\""),
])
def test_a_file_whose_decoder_is_described_otherwise_is_refused(before, after, files):
    content = files("diffusers-b")[0].read_bytes()
    length = 8 + struct.unpack("<Q", content[:8])[0]
    start = content.index(b"vae.decoder.conv_out") if b"bits" in before else 0
    quote = before.replace(b'"', b'\\"') if b"bits" in before else before
    place = content.index(quote, start)
    assert place < length
    changed = content[:place] + (after.replace(b'"', b'\\"') if b"bits" in before else after) + content[place + len(quote) :]
    with pytest.raises(ditq.DitqFailure) as failure:
        ditq.Model(changed)
    assert failure.value.status in (ditq.UNSUPPORTED, ditq.MALFORMED, ditq.NOT_FOUND)


@pytest.mark.parametrize("isa", [ditq.ISA_GENERIC, ditq.ISA_AVX2, ditq.ISA_AVX512VNNI])
@pytest.mark.parametrize("name", CASES)
def test_an_8_bit_decoder_gives_the_same_bytes_on_every_set_and_number_of_threads(name, isa, files):
    path, _, _, expected = files(name)
    with ditq.Model(path) as model:
        for threads in (1, 2, 3, 7):
            assert digest(model, name, threads=threads, isa_limit=isa) == expected


@pytest.mark.parametrize("name", CASES)
def test_the_regular_build_quantizes_and_decodes_to_the_same_bytes(name, files):
    regular = os.environ.get("DITQ_REGULAR_LIBRARY")
    if not regular:
        pytest.skip("DITQ_REGULAR_LIBRARY names no library built with regular Swift")
    program = "import sys, test_decoder as t; print(t.digest(t.quantized(sys.argv[1], threads=3), sys.argv[1], threads=2))"
    environment = os.environ | {"DITQ_LIBRARY": regular}
    found = subprocess.run([sys.executable, "-c", program, name], cwd=pathlib.Path(__file__).parent, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == files(name)[3]


def test_a_comparison_tells_what_the_decoder_costs(files, model):
    with ditq.Model(files("diffusers-b")[0]) as small:
        found = Report(model("diffusers-b"), small, steps=2, samples=1).json
        assert 35 <= found["decoder_sqnr_db"] < 60
        assert Report(small, small, steps=1, samples=1).json["decoder_sqnr_db"] == 300
    assert Report(model("diffusers-b"), model("diffusers-b"), steps=1, samples=1).json["decoder_sqnr_db"] is None


# ---- Memory ----


def published(folder, latent_size):
    """A model with a decoder of the public shape, all zeros, beside a transformer of a golden case."""
    source = FIXTURES / "diffusers-b/pipeline"
    for name in ("model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        settings = json.loads((source / name).read_text())
        if name.startswith("transformer"):
            settings["sample_size"] = latent_size
        if name.startswith("vae"):
            settings |= dict(block_out_channels=[128, 256, 512, 512], layers_per_block=2, norm_num_groups=32, up_block_types=["UpDecoderBlock2D"] * 4)
        (folder / name).write_text(json.dumps(settings))
    weights = "transformer/diffusion_pytorch_model.safetensors"
    (folder / weights).write_bytes((source / weights).read_bytes())
    tensors = {}

    def affine(name, *shape):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.zeros(shape, np.float16), np.zeros(shape[:1], np.float16)

    def resnet(name, inputs, outputs):
        affine(f"{name}.norm1", inputs), affine(f"{name}.norm2", outputs)
        affine(f"{name}.conv1", outputs, inputs, 3, 3), affine(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            affine(f"{name}.conv_shortcut", outputs, inputs, 1, 1)

    affine("post_quant_conv", 4, 4, 1, 1), affine("decoder.conv_in", 512, 4, 3, 3)
    for i in range(2):
        resnet(f"decoder.mid_block.resnets.{i}", 512, 512)
    affine("decoder.mid_block.attentions.0.group_norm", 512)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        affine(f"decoder.mid_block.attentions.0.{part}", 512, 512)
    inputs = 512
    for block, outputs in enumerate((512, 512, 256, 128)):
        for layer in range(3):
            resnet(f"decoder.up_blocks.{block}.resnets.{layer}", inputs if layer == 0 else outputs, outputs)
        if block < 3:
            affine(f"decoder.up_blocks.{block}.upsamplers.0.conv", outputs, outputs, 3, 3)
        inputs = outputs
    affine("decoder.conv_norm_out", 128), affine("decoder.conv_out", 3, 128, 3, 3)
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(safetensors_io.encode(tensors))
    return folder


@pytest.mark.parametrize("latent_size, limit", [(32, 200e6), (64, 600e6)])
def test_the_public_decoder_works_in_less_memory_than_was_promised(latent_size, limit, tmp_path):
    with ditq.Model(published(tmp_path, latent_size)) as source:
        assert source.image_shape == (8 * latent_size, 8 * latent_size, 3)
        for threads in (1, 2, 8):
            assert source.session_memory(threads=threads) < limit
        with source.quantize(rules=[EIGHT_BITS], weight_method=ROUND) as small:
            assert small.session_memory(threads=8) < limit
            assert 40e6 < small.info.weights_size < 60e6 < 190e6 < source.info.weights_size
            assert 300e9 < small.json()["decoder"]["macs"] * (32 / latent_size) ** 2 < 330e9
