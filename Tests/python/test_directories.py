"""What stands in directories: a decoder from another place, variants of weights, configurations that leave to diffusers what it has defaults for."""
import json
import os
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
import torch_io
from conftest import FIXTURES, Golden, open_fixture

PIPELINE = FIXTURES / "diffusers-b/pipeline"
STEM = "diffusion_pytorch_model"


def refused(source, status, *words, **options):
    with pytest.raises(ditq.DitqFailure) as failure:
        ditq.Model(source, **options)
    message = str(failure.value)
    assert failure.value.status == status and all(word in message for word in words), message


def copy_of(tmp_path, name="diffusers-b"):
    return shutil.copytree(FIXTURES / name / "pipeline", tmp_path / name)


def edited(folder, file, **fields):
    """Fields of a JSON file changed; those whose value is ... are taken out."""
    settings = json.loads((folder / file).read_text()) | fields
    (folder / file).write_text(json.dumps({k: v for k, v in settings.items() if v is not ...}))
    return folder


def path(text):
    return os.fsencode(text)


def decoded(model, z):
    with model.session() as session:
        return session.decode_float(z)


# ---- A decoder from another place ----


@pytest.fixture(params=["folder", "pipeline", "bin", "old names"])
def decoder(request, tmp_path):
    """The decoder of diffusers-a, as people have it."""
    vae = FIXTURES / "diffusers-a/pipeline/vae"
    if request.param == "folder":
        return vae
    if request.param == "pipeline":
        return FIXTURES / "diffusers-a/pipeline"
    folder = shutil.copytree(vae, tmp_path / "vae")
    file = folder / f"{STEM}.safetensors"
    tensors = safetensors_io.read(file)
    if request.param == "bin":
        file.unlink()
        (folder / f"{STEM}.bin").write_bytes(torch_io.save({name: torch_io.Tensor(w) for name, w in tensors.items()}))
    else:
        former = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
        for new, old in former.items():
            tensors = {name.replace(new, old): w for name, w in tensors.items()}
        file.write_bytes(safetensors_io.encode(tensors))
    return folder


def test_a_decoder_from_another_place_joins_a_public_checkpoint(decoder):
    case = Golden("diffusers-a")
    with open_fixture("official-a", decoder=path(decoder)) as model, open_fixture("diffusers-a") as own:
        assert model.image_shape == own.image_shape and model.info.has_decoder == 1
        assert np.array_equal(decoded(model, case["vae.z"]), decoded(own, case["vae.z"]))
        files = model.json()["files"]
        assert files[0] == "model.safetensors" and len(files) == 2 and files[1].startswith(str(decoder)) and STEM in files[1]
        with model.session() as session:
            assert session.generate([1], seeds=[3], steps=2).shape == (1, *model.image_shape)


def test_it_goes_with_a_model_from_memory_and_is_saved_and_quantized_with_it(tmp_path):
    folder, data = path(FIXTURES / "diffusers-a/pipeline/vae"), (FIXTURES / "official-a/model.safetensors").read_bytes()
    z = Golden("diffusers-a")["vae.z"]
    with ditq.Model(data, head_count=2, decoder=folder) as model, model.quantize(rules=[dict(pattern=b"vae.*", weight_bits=8, weight_group=-1, activation_bits=8)]) as quantized:
        quantized.save(tmp_path / "m.ditq")
        picture = decoded(quantized, z)
        assert not np.array_equal(picture, decoded(model, z))
    with ditq.Model(tmp_path / "m.ditq") as opened:
        assert np.array_equal(decoded(opened, z), picture) and opened.json()["files"] == ["m.ditq"]
    # In place of the packed one that the file has.
    with ditq.Model(tmp_path / "m.ditq", decoder=folder) as opened, open_fixture("diffusers-a") as own:
        assert np.array_equal(decoded(opened, z), decoded(own, z))


def test_it_stands_in_for_the_decoder_of_a_directory_which_may_be_missing(tmp_path):
    folder, z = copy_of(tmp_path), Golden("diffusers-a")["vae.z"]
    shutil.rmtree(folder / "vae")
    refused(folder, ditq.NOT_FOUND, "vae")
    edited(folder, "model_index.json", vae=[None, None])
    with ditq.Model(folder, decoder=path(FIXTURES / "diffusers-a/pipeline")) as model, open_fixture("diffusers-a") as own:
        assert np.array_equal(decoded(model, z), decoded(own, z))
        assert model.json()["files"][0] == f"transformer/{STEM}.safetensors"


def test_what_is_no_decoder_of_these_latents_is_refused(tmp_path):
    refused(FIXTURES / "official-a/model.safetensors", ditq.NOT_FOUND, "decoder", "config.json", head_count=2, decoder=path(tmp_path))
    refused(FIXTURES / "official-a/model.safetensors", ditq.NOT_FOUND, "decoder", "config.json", head_count=2, decoder=b"/no/such/place")
    refused(FIXTURES / "official-a/model.safetensors", ditq.UNSUPPORTED, "_class_name", head_count=2, decoder=path(PIPELINE / "transformer"))
    refused(ditq.ROOT / "examples/models/emoji/emoji.safetensors", ditq.MALFORMED, "decoder", "pixel_space", decoder=path(PIPELINE))
    vae = shutil.copytree(FIXTURES / "diffusers-a/pipeline/vae", tmp_path / "vae")
    edited(vae, "config.json", latent_channels=3)
    refused(FIXTURES / "official-a/model.safetensors", ditq.MALFORMED, "post_quant_conv", head_count=2, decoder=path(vae))


# ---- Variants ----


def with_variant(folder, parts=("transformer", "vae"), variant="fp16", keeps_plain=True, factor=0.5):
    """Weights of half the size beside the plain ones."""
    for part in parts:
        file = folder / part / f"{STEM}.safetensors"
        tensors = safetensors_io.read(file)
        (folder / part / f"{STEM}.{variant}.safetensors").write_bytes(
            safetensors_io.encode({name: (w * np.float32(factor)).astype(np.float16) for name, w in tensors.items()}))
        if not keeps_plain:
            file.unlink()
    return folder


def files(model):
    return [name.removesuffix(".safetensors") for name in model.json()["files"]]


def test_a_variant_is_read_where_it_is_asked_for(tmp_path):
    folder = with_variant(copy_of(tmp_path))
    with ditq.Model(folder) as plain, ditq.Model(folder, variant=b"fp16") as half:
        assert files(plain) == [f"transformer/{STEM}", f"vae/{STEM}"]
        assert files(half) == [f"transformer/{STEM}.fp16", f"vae/{STEM}.fp16"]
        assert 2 * half.info.weights_size < 1.2 * plain.info.weights_size
        z = Golden("diffusers-b")["vae.z"]
        assert not np.array_equal(decoded(plain, z), decoded(half, z))


def test_a_part_without_the_variant_is_taken_as_it_is(tmp_path):
    folder = with_variant(copy_of(tmp_path), parts=["transformer"])
    with ditq.Model(folder, variant=b"fp16") as model:
        assert files(model) == [f"transformer/{STEM}.fp16", f"vae/{STEM}"]
    refused(folder, ditq.NOT_FOUND, "variant", "bf16", variant=b"bf16")


def test_where_only_variants_are_there_they_are_named(tmp_path):
    folder = with_variant(with_variant(copy_of(tmp_path)), variant="ema", keeps_plain=False)
    refused(folder, ditq.NOT_FOUND, "transformer", f"{STEM}.safetensors", '"ema"', '"fp16"')


def test_a_variant_in_shards(tmp_path):
    folder, case = copy_of(tmp_path), Golden("diffusers-b")
    part = folder / "transformer"
    tensors = safetensors_io.read(part / f"{STEM}.safetensors")
    (part / f"{STEM}.safetensors").unlink()
    safetensors_io.write_shards(part, f"{STEM}.fp16", tensors, 2)
    (part / f"{STEM}.fp16.safetensors.index.json").rename(part / f"{STEM}.safetensors.index.fp16.json")
    with ditq.Model(folder, variant=b"fp16") as model, open_fixture("diffusers-b") as whole, model.session() as a, whole.session() as b:
        assert model.json()["files"][0] == f"transformer/{STEM}.safetensors.index.fp16.json"
        assert np.array_equal(*(s.predict(case["forward.x"], case["forward.t"], case["forward.y"]) for s in (a, b)))
    refused(folder, ditq.NOT_FOUND, '"fp16"')


@pytest.mark.parametrize("variant", [b"", b"../x", b"a.b", b"a b", b"x\n"])
def test_a_variant_is_a_name(variant):
    refused(PIPELINE, ditq.INVALID_ARGUMENT, "variant", variant=variant)


def test_a_single_file_has_no_variants():
    refused(FIXTURES / "official-a/model.safetensors", ditq.INVALID_ARGUMENT, "variant", "fp16", head_count=2, variant=b"fp16")


# ---- Configurations ----

DEFAULTS = [
    ("transformer/config.json", dict(activation_fn="gelu-approximate", norm_type="ada_norm_zero", attention_bias=True, norm_elementwise_affine=False)),
    ("transformer/config.json", dict(norm_eps=1e-5, in_channels=4, patch_size=2, out_channels=None)), ("transformer/config.json", dict(_class_name="DiTTransformer2DModel")),
    ("vae/config.json", dict(_class_name="AutoencoderKL", act_fn="silu", latent_channels=4, out_channels=3, mid_block_add_attention=True, use_post_quant_conv=True)),
]


@pytest.mark.parametrize("file, defaults", DEFAULTS, ids=[f"{f.split('/')[0]}-{next(iter(d))}" for f, d in DEFAULTS])
@pytest.mark.parametrize("how", ["missing", "unsaid"])
def test_a_field_that_diffusers_has_a_default_for_may_be_missing(tmp_path, file, defaults, how):
    """Or listed as one that had its default when it was saved, whatever stands there."""
    folder = copy_of(tmp_path)
    said = json.loads((folder / file).read_text())
    fields = {k: v for k, v in defaults.items() if said.get(k, v) == v}
    assert fields, "the fixture says something else"
    if how == "missing":
        edited(folder, file, **dict.fromkeys(fields, ...))
    elif "_class_name" in fields and len(fields) == 1:
        pytest.skip("a class is no setting")
    else:
        fields.pop("_class_name", None)
        edited(folder, file, **dict.fromkeys(fields, "nonsense"), _use_default_values=list(fields))
    with ditq.Model(folder) as model, ditq.Model(PIPELINE) as whole:
        assert model.json() == whole.json()


SIZES = dict(num_attention_heads=16, attention_head_dim=72, in_channels=4, num_layers=28, patch_size=2, sample_size=32, num_embeds_ada_norm=1000)


@pytest.mark.parametrize("field", SIZES)
def test_a_size_that_is_missing_has_diffusers_default(tmp_path, field):
    """Which the tensors of this small model are not of: the error tells what was expected of them, as does that of the default said."""
    folder, messages = copy_of(tmp_path), []
    for value in (..., SIZES[field]):
        edited(folder, "transformer/config.json", **{field: value})
        try:
            ditq.Model(folder).close()
            messages.append("")
        except ditq.DitqFailure as failure:
            messages.append(str(failure))
    assert messages[0] == messages[1]


def test_a_block_of_64_channels_is_the_default_of_a_decoder(tmp_path):
    folder = edited(copy_of(tmp_path), "vae/config.json", block_out_channels=..., up_block_types=..., layers_per_block=..., norm_num_groups=...)
    refused(folder, ditq.MALFORMED, "vae", "[64, 4, 3, 3]")


def test_the_former_class_needs_the_norm_that_says_which_it_is_now(tmp_path):
    folder = edited(copy_of(tmp_path), "transformer/config.json", _class_name="Transformer2DModel", norm_type=...)
    edited(folder, "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    refused(folder, ditq.UNSUPPORTED, "norm_type")
    edited(folder, "transformer/config.json", norm_type="ada_norm_zero")
    ditq.Model(folder).close()


@pytest.mark.parametrize("part, name", [("transformer", "PixArtTransformer2DModel"), ("vae", "AutoencoderTiny")])
def test_the_class_that_the_index_names_counts(tmp_path, part, name):
    refused(edited(copy_of(tmp_path), "model_index.json", **{part: ["diffusers", name]}), ditq.UNSUPPORTED, "model_index.json", part, name)


IGNORED = dict(attention_type="gated", double_self_attention=True, only_cross_attention=True, use_linear_projection=True, use_additional_conditions=True,
               cross_attention_dim=768, caption_channels=[4], num_vector_embeds=-3, dropout=0.3, upcast_attention=True, norm_num_groups="x")  # fmt: skip


def test_what_nobody_reads_costs_nothing(tmp_path):
    """DiTTransformer2DModel of diffusers has no such parameters, or does nothing with them while it predicts."""
    folder = edited(copy_of(tmp_path), "transformer/config.json", **IGNORED)
    edited(folder, "vae/config.json", force_upcast="never", sample_size=[1, {}], down_block_types=7, use_quant_conv=None, in_channels="?")
    with ditq.Model(folder) as model, ditq.Model(PIPELINE) as whole:
        assert model.json() == whole.json()


def test_labels_may_have_gaps(tmp_path):
    folder = edited(copy_of(tmp_path), "model_index.json", id2label={"7": "seven", "2": "two, deux"})
    with ditq.Model(folder) as model:
        assert [model.class_name(label) for label in range(10)] == [None, None, "two, deux"] + 4 * [None] + ["seven", None, None]
        assert model.find_class("deux") == 2 and model.find_class("seven") == 7
        with model.quantize() as quantized:
            quantized.save(tmp_path / "m.ditq")
    with ditq.Model(tmp_path / "m.ditq") as model:
        assert model.find_class("seven") == 7 and model.class_name(3) is None
    refused(edited(folder, "model_index.json", id2label={"10": "ten"}), ditq.MALFORMED, "id2label", "0 to 9", "10")
