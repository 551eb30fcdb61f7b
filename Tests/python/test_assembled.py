"""Files whose parts are each right by themselves and not of one another's sizes: refused, whichever reader opens them, before anything runs on them.

A decoder of other latents than its transformer's was opened once: decoding read behind the host's latents. Every one here keeps tensors and config in agreement."""
import json
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import MALFORMED, UNSUPPORTED
from test_bad_input import not_opened, opened

pytestmark = pytest.mark.isolated

TINY, PIPELINE = ditq.ROOT / "Tests/fuzz/models/float.safetensors", ditq.ROOT / "Tests/fuzz/models/pipeline"
VAE = "vae/diffusion_pytorch_model.safetensors"
OFFICIAL = {"head_count": 2, "compatibility": "official"}


def vae(latents=4, images=3):
    """(the config, the tensors) of the tiny decoder for so many channels."""
    config = json.loads((PIPELINE / "vae/config.json").read_text()) | {"latent_channels": latents, "out_channels": images}
    tensors = dict(safetensors_io.read(PIPELINE / VAE))
    random = np.random.default_rng(latents)

    def shaped(name, *shape):
        tensors[name] = (0.2 * random.standard_normal(shape)).astype(np.float16)

    shaped("post_quant_conv.weight", latents, latents, 1, 1), shaped("post_quant_conv.bias", latents)
    shaped("decoder.conv_in.weight", 8, latents, 3, 3)
    shaped("decoder.conv_out.weight", images, 4, 3, 3), shaped("decoder.conv_out.bias", images)
    return config, tensors


def transformer(channels=4, grid=2):
    """The tiny transformer for so many channels and a grid of so many tokens."""
    tensors, random = dict(safetensors_io.read(TINY)), np.random.default_rng(channels)

    def shaped(name, *shape):
        tensors[name] = (0.2 * random.standard_normal(shape)).astype(np.float16)

    shaped("x_embedder.proj.weight", 16, channels, 2, 2), shaped("pos_embed", 1, grid * grid, 16)
    shaped("final_layer.linear.weight", 2 * channels * 4, 16), shaped("final_layer.linear.bias", 2 * channels * 4)
    return tensors


def file(decoder=None, channels=4, grid=2, **config):
    """The bytes of a safetensors file of these parts."""
    tensors = transformer(channels, grid)
    if decoder:
        config["decoder"] = decoder[0]
        tensors |= {"vae." + name: tensor for name, tensor in decoder[1].items()}
    return safetensors_io.encode(tensors, {"ditq.config": json.dumps(OFFICIAL | config)})


@pytest.mark.parametrize("latents", [1, 2, 3, 5, 8, 1024])
def test_a_decoder_of_other_latents_is_refused_by_both_sizes(latents):
    not_opened(file(vae(latents), pixel_space=False), MALFORMED, "decoder", "latent_channels", latents, 4)


def test_a_decoder_of_other_latents_is_refused_in_a_directory_too(tmp_path):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    config, tensors = vae(8)
    (folder / "vae/config.json").write_text(json.dumps(config))
    (folder / VAE).write_bytes(safetensors_io.encode(tensors))
    not_opened(folder, MALFORMED, "latent_channels", 8, 4)


def test_a_decoder_of_other_latents_is_refused_in_a_ditq_file_too(tmp_path):
    path = tmp_path / "x.ditq"
    with ditq.Model(PIPELINE) as model, model.quantize(rules=[dict(pattern=b"vae.*", weight_bits=8)]) as quantized:
        quantized.save(path)
    data = path.read_bytes()
    header, start = safetensors_io.read_header(data)
    tensors = safetensors_io.read(path)
    for name, tensor in vae(8)[1].items():
        if name.startswith(("post_quant_conv", "decoder.conv_in")):
            tensors["vae." + name] = tensor
    config = json.loads(header["__metadata__"]["ditq.config"])
    assert opened(safetensors_io.encode(tensors, header["__metadata__"]))[0] == MALFORMED  # now the tensors alone say it
    config["decoder"]["latent_channels"] = 8
    not_opened(safetensors_io.encode(tensors, header["__metadata__"] | {"ditq.config": json.dumps(config)}), MALFORMED, "latent_channels", 8, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_pixels_has_no_decoder(channels):
    assert opened(file(channels=channels, pixel_space=True))[0] == ditq.OK
    not_opened(file(vae(channels), channels=channels, pixel_space=True), MALFORMED, "decoder", "pixel_space")


def test_latents_with_three_channels_have_one():
    with ditq.Model(file(vae(3), channels=3, pixel_space=False)) as model, model.session(threads=1) as session:
        assert session.generate([1], [2], steps=2).shape == (1, 8, 8, 3)


@pytest.mark.parametrize("images, expected", [(1, ditq.OK), (3, ditq.OK), (2, UNSUPPORTED), (4, UNSUPPORTED)])
def test_a_decoder_makes_grey_pictures_or_coloured_ones(images, expected):
    assert opened(file(vae(images=images), pixel_space=False))[0] == expected


@pytest.mark.parametrize("grid, expected", [(2, ditq.OK), (129, UNSUPPORTED)])
def test_a_decoder_has_no_more_tokens_than_the_limit(grid, expected):
    assert opened(file(vae(), grid=grid, pixel_space=False))[0] == expected


def test_two_channels_are_no_pixels():
    not_opened(file(channels=2, pixel_space=True), UNSUPPORTED, "pixel_space", 2)


def test_what_fits_decodes_quantizes_and_generates():
    with ditq.Model(file(vae(), pixel_space=False)) as model, model.quantize(rules=[dict(pattern=b"vae.*", weight_bits=8)]) as quantized:
        for each in (model, quantized):
            with each.session(threads=1) as session:
                assert session.decode(np.ones((2, *each.latent_shape), np.float32)).shape == (2, 8, 8, 3)
