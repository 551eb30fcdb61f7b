"""Whatever a file holds and whatever a host passes, a call answers with a status and a sentence, and what it did not make it did not touch.

Every test here runs in a process of its own (`isolated`), so that a crash is reported with the place where it happened. ditq_c.outcome checks every
error: the status is one of ditq.h, the same in the struct, and the message is not empty, NUL-terminated and whole UTF-8.
"""
import ctypes
import json
import math
import mmap
import os
import shutil
from ctypes import byref, c_int32, c_size_t, c_void_p

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import EMOJI, FIXTURES, note, open_fixture
from ditq_c import INVALID_ARGUMENT, IO_FAILED, MALFORMED, NOT_FOUND, OK, OUT_OF_MEMORY, UNSUPPORTED, lib, outcome

pytestmark = pytest.mark.isolated

OFFICIAL = FIXTURES / "official-a/model.safetensors"
PIPELINE = FIXTURES / "diffusers-b/pipeline"
TRANSFORMER, VAE = "transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"
PIPELINE_FILES = ["model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json", TRANSFORMER, VAE]
UNTOUCHED = 0x5A5A5A5A
BIG = 9223372036854775807


def refused(expected, words, function, *arguments):
    """The call fails with this status (or one of these), and its sentence has these words."""
    status, message = outcome(function, *arguments)
    statuses = (expected,) if isinstance(expected, int) else expected
    assert status in statuses, f"{ditq.STATUS_NAMES[status]} ({message}), expected {' or '.join(ditq.STATUS_NAMES[s] for s in statuses)}"
    for word in words:
        assert str(word) in message, f"{word!r} is not in: {message}"
    return message


def opened(source, **options):
    """(status, message) of opening a path or bytes; what opened is closed again, and what did not has left the handle alone."""
    handle, options = c_void_p(UNTOUCHED), ditq.ModelOptions(**options)
    if isinstance(source, (bytes, np.ndarray)):
        data = np.frombuffer(source, np.uint8)
        status, message = outcome(lib.ditq_model_open_memory, ditq.address(data), data.size, byref(options), byref(handle))
    else:
        status, message = outcome(lib.ditq_model_open, os.fsencode(source), byref(options), byref(handle))
    if status == OK:
        lib.ditq_model_close(handle)
    else:
        assert handle.value == UNTOUCHED, "a handle was written although the call failed"
    return status, message


def not_opened(source, expected, *words, **options):
    status, message = opened(source, **options)
    statuses = (expected,) if isinstance(expected, int) else expected
    assert status in statuses, f"{ditq.STATUS_NAMES[status]} ({message}), expected {' or '.join(ditq.STATUS_NAMES[s] for s in statuses)}"
    for word in words:
        assert str(word) in message, f"{word!r} is not in: {message}"
    return message


def tried(source, **options):
    """Opens, and where that works runs: any status will do, a crash will not. Returns the status of opening."""
    try:
        model = ditq.Model(source, **options)
    except ditq.DitqFailure as failure:
        return failure.status
    with model:
        try:
            if model.session_memory(threads=1) < 1 << 30:
                with model.session(threads=1) as session:
                    shape = (1, *model.latent_shape)
                    session.predict(np.ones(shape, np.float32), [1.0], [0])
        except ditq.DitqFailure:
            pass
    return OK


# ---- Files that are cut ----


def cuts(data, most):
    """Sizes to cut a safetensors file to: every 97th byte of its header and of the first tensors, then `most` more up to the end."""
    header, size = safetensors_io.read_header(bytes(data[: 1 << 20]))[1], len(data)
    return [*range(97, min(header + 5000, size), 97), *range(header + 5000, size, max(97, (size - header) // most)), size - 1]


@pytest.mark.parametrize("file, options", [(EMOJI, {}), (OFFICIAL, {"head_count": 2})], ids=["emoji", "official-a"])
def test_a_file_cut_anywhere_is_malformed(file, options):
    data, options, handle = np.frombuffer(file.read_bytes(), np.uint8), ditq.ModelOptions(**options), c_void_p()
    address = ditq.address(data)
    for size in cuts(data, 3000):
        note(size)
        status, message = outcome(lib.ditq_model_open_memory, address, size, byref(options), byref(handle))
        assert status == MALFORMED, f"cut at {size}: {status} {message}"


def test_no_byte_past_the_end_of_a_cut_header_is_read():
    """Every length up to the first tensors, with the data lying right before a page that may not be read."""
    data = OFFICIAL.read_bytes()
    length = safetensors_io.read_header(data)[1] + 64
    page, pages = mmap.PAGESIZE, -(-length // mmap.PAGESIZE)
    area = mmap.mmap(-1, (pages + 1) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(c_void_p(base + pages * page), c_size_t(page), 0) == 0
    options, handle = ditq.ModelOptions(head_count=2), c_void_p()
    for size in range(length):
        note(size)
        start = pages * page - size
        ctypes.memmove(base + start, data, size)
        status, message = outcome(lib.ditq_model_open_memory, base + start, size, byref(options), byref(handle))
        assert status == MALFORMED or size == 0 and status == INVALID_ARGUMENT, f"cut at {size}: {status} {message}"


@pytest.mark.parametrize("file", PIPELINE_FILES)
def test_a_directory_with_a_file_cut_anywhere_is_malformed(tmp_path, file):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    path, data = os.fsencode(folder), (folder / file).read_bytes()
    handle = c_void_p()
    sizes = range(len(data.rstrip())) if file.endswith(".json") else cuts(data, 500)  # JSON without its last newline is whole
    for size in sorted(sizes, reverse=True):
        note(size)
        os.truncate(folder / file, size)
        status, message = outcome(lib.ditq_model_open, path, None, byref(handle))
        assert status == MALFORMED, f"cut at {size}: {status} {message}"


def test_a_sharded_directory_with_a_cut_index_or_shard_is_malformed(tmp_path):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    tensors = safetensors_io.read(folder / TRANSFORMER)
    (folder / TRANSFORMER).unlink()
    safetensors_io.write_shards(folder / "transformer", "diffusion_pytorch_model", tensors, 4)
    assert opened(folder)[0] == OK
    for file in ("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model-00002-of-00004.safetensors"):
        data = (folder / "transformer" / file).read_bytes()
        for size in list(range(0, min(len(data), 10_000), 97))[::-1]:
            note(size)
            os.truncate(folder / "transformer" / file, size)
            not_opened(folder, MALFORMED)
        (folder / "transformer" / file).write_bytes(data)
    (folder / "transformer" / file).unlink()
    not_opened(folder, NOT_FOUND, file)


# ---- Files with flipped bytes ----


def flips(data, seed, header=None):
    """200 (position, bytes) with one byte changed, of all or of the first `header` bytes."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        position = int(rng.integers(header or len(data)))
        yield position, bytes([data[position] ^ int(rng.integers(1, 256))])


@pytest.mark.parametrize("where", ["anywhere", "in the header"])
@pytest.mark.parametrize("file, options", [(EMOJI, {}), (OFFICIAL, {"head_count": 2})], ids=["emoji", "official-a"])
def test_a_file_with_a_flipped_byte_answers_with_a_status(file, options, where):
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    header = safetensors_io.read_header(data)[1]
    for position, byte in flips(data, 97, None if where == "anywhere" else header):
        note(position)
        kept, data[position] = data[position], byte[0]
        tried(data, **options)
        data[position] = kept


@pytest.mark.parametrize("file, where", [(file, "anywhere") for file in PIPELINE_FILES] + [(file, "in the header") for file in (TRANSFORMER, VAE)])
def test_a_directory_with_a_flipped_byte_answers_with_a_status(tmp_path, file, where):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    data = (folder / file).read_bytes()
    header = None if where == "anywhere" else safetensors_io.read_header(data)[1]
    with open(folder / file, "r+b", buffering=0) as handle:
        for position, byte in flips(data, 98, header):
            note(position)
            os.pwrite(handle.fileno(), byte, position)
            tried(folder)
            os.pwrite(handle.fileno(), data[position : position + 1], position)


# ---- Files that are whole and wrong ----


def official(change=lambda tensors: None, metadata=None):
    """official-a, its tensors changed."""
    tensors = safetensors_io.read(OFFICIAL)
    change(tensors)
    return safetensors_io.encode(tensors, metadata)


def test_official_a_itself_opens():
    assert opened(official(), head_count=2)[0] == OK


@pytest.mark.parametrize("name", [
    "blocks.1.mlp.fc1.weight", "blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "blocks.2.adaLN_modulation.1.weight", "final_layer.linear.weight", "final_layer.adaLN_modulation.1.bias",
    "x_embedder.proj.bias", "x_embedder.proj.weight", "pos_embed", "t_embedder.mlp.0.weight", "t_embedder.mlp.2.bias", "y_embedder.embedding_table.weight",
])  # fmt: skip
def test_a_missing_tensor_is_not_found_and_named(name):
    not_opened(official(lambda t: t.pop(name)), NOT_FOUND, name, head_count=2)


@pytest.mark.parametrize("name, shape", [
    ("blocks.1.attn.qkv.weight", (431, 144)), ("blocks.1.attn.qkv.weight", (144, 432)), ("blocks.0.mlp.fc1.bias", (577,)), ("blocks.2.mlp.fc2.weight", (144, 575)),
    ("blocks.0.attn.proj.weight", (144 * 144,)), ("final_layer.linear.bias", (31,)), ("t_embedder.mlp.0.weight", (144, 255)), ("blocks.2.adaLN_modulation.1.bias", (1, 864)),
])  # fmt: skip
def test_a_wrong_shape_is_malformed_with_found_and_expected(name, shape):
    right = safetensors_io.read(OFFICIAL)[name].shape
    text = lambda s: str(list(s))
    not_opened(official(lambda t: t.update({name: np.zeros(shape, np.float32)})), MALFORMED, name, text(shape), text(right), head_count=2)


@pytest.mark.parametrize("field, value, words", [
    ("num_layers", 3, ["transformer_blocks.2."]), ("attention_head_dim", 64, ["[128, ", "256"]), ("num_embeds_ada_norm", 12, ["embedding_table", "[11, 128]", "[13, 128]"]),
    ("in_channels", 3, ["3 or 6", "8"]), ("patch_size", 4, ["[128, 4, 2, 2]", "[128, 4, 4, 4]"]), ("out_channels", 4, []),
])  # fmt: skip
def test_a_config_that_disagrees_with_the_tensors_is_refused(tmp_path, field, value, words):
    not_opened(pipeline(tmp_path, "transformer/config.json", {field: value}), (MALFORMED, NOT_FOUND, UNSUPPORTED), *words)


def test_an_embedder_of_another_shape_is_refused(tmp_path):
    """Embedders that differ in their numbers alone are each block's own: see test_own_embedders.py."""
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    tensors = {name: t.copy() for name, t in safetensors_io.read(folder / TRANSFORMER).items()}
    name = "transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.weight"
    tensors[name] = tensors[name][:-1]
    (folder / TRANSFORMER).write_bytes(safetensors_io.encode(tensors))
    not_opened(folder, (MALFORMED, UNSUPPORTED), name)


@pytest.mark.parametrize("dtype, stored, expected", [
    ("F7", np.float32, UNSUPPORTED), ("F8_E5M2", np.uint8, UNSUPPORTED), ("I32", np.float32, UNSUPPORTED), ("F64", np.float64, UNSUPPORTED), ("", np.float32, (UNSUPPORTED, MALFORMED)),
    (7, np.float32, MALFORMED), (None, np.float32, MALFORMED), (["F32"], np.float32, MALFORMED),
])  # fmt: skip
def test_an_unknown_dtype_is_unsupported_and_named(dtype, stored, expected):
    name = "blocks.1.mlp.fc1.weight"
    data = official(lambda t: t.update({name: t[name].astype(stored)}))
    header, start = safetensors_io.read_header(data)
    header[name]["dtype"] = dtype
    words = [name, dtype] if expected == UNSUPPORTED else []
    not_opened(safetensors_io.join(header, data[start:]), expected, *words, head_count=2)


def entry(**change):
    """A header in which one tensor's entry is changed; a value of None takes the key away."""

    def apply(header):
        for key, value in change.items():
            if value is None:
                del header["blocks.1.mlp.fc1.bias"][key]
            else:
                header["blocks.1.mlp.fc1.bias"][key] = value

    return apply


# blocks.1.mlp.fc1.bias has the shape [576] and 2304 bytes; None where the text is changed below
BROKEN_HEADERS = {
    "offsets reversed": entry(data_offsets=[2304, 0]),
    "offsets negative": entry(data_offsets=[-2304, 0]),
    "offsets past the end": entry(data_offsets=[10**9, 10**9 + 2304]),
    "offsets that overflow": entry(data_offsets=[BIG - 2303, BIG]),
    "offsets beyond 64 bits": entry(data_offsets=[2**64, 2**64 + 2304]),
    "offsets with a fraction": entry(data_offsets=[0.5, 2304.5]),
    "one offset": entry(data_offsets=[0]),
    "three offsets": entry(data_offsets=[0, 1, 2304]),
    "offsets as text": entry(data_offsets=["0", "2304"]),
    "no offsets": entry(data_offsets=None),
    "no shape": entry(shape=None),
    "no dtype": entry(dtype=None),
    "too few bytes for the shape": entry(shape=[577]),
    "a negative dimension": entry(shape=[-576]),
    "two negative dimensions": entry(shape=[-24, -24]),
    "a dimension with a fraction": entry(shape=[576.5]),
    "a shape that overflows": entry(shape=[2**32, 2**32]),
    "a shape that overflows to the right size": entry(shape=[2**62, 2, 2, 2, 576]),
    "a shape beyond 64 bits": entry(shape=[2**70]),
    "a shape as text": entry(shape="576"),
    "a shape of shapes": entry(shape=[[576]]),
}
BROKEN_TEXTS = {
    "an empty file": b"",
    "seven bytes": b"\1\0\0\0\0\0\0",
    "no header": bytes(8),
    "a header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "a header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "a header of 2^64-1 bytes": b"\xff" * 8 + b"{}",
    "a header of 2^63-8 bytes": (2**63 - 8).to_bytes(8, "little") + b"{}",
    "an array": safetensors_io.join(b"[]", b""),
    "a number": safetensors_io.join(b"17", b""),
    "spaces": safetensors_io.join(b"        ", b""),
    "half an object": safetensors_io.join(b'{"a":', b""),
    "two objects": safetensors_io.join(b"{}{}", b""),
    "a comma too many": safetensors_io.join(b'{"a":1,}', b""),
    "single quotes": safetensors_io.join(b"{'a':1}", b""),
    "a bare word": safetensors_io.join(b'{"a":NaN}', b""),
    "an unfinished string": safetensors_io.join(b'{"a', b""),
    "an unfinished escape": safetensors_io.join(b'{"a\\', b""),
    "a bad escape": safetensors_io.join(b'{"a\\q":1}', b""),
    "a bad \\u": safetensors_io.join(b'{"a\\u12G4":1}', b""),
    "a control character in a string": safetensors_io.join(b'{"a\x01":1}', b""),
    "bytes that are not UTF-8": safetensors_io.join(b'{"\xff\xfe":1}', b""),
    "an overlong UTF-8 form": safetensors_io.join(b'{"\xc0\xaf":1}', b""),
    "100 000 brackets": safetensors_io.join(b'{"a":' + b"[" * 100_000, b""),
    "100 000 braces": safetensors_io.join(b'{"a":' * 100_000, b""),
    "a number of 100 000 digits": safetensors_io.join(b'{"a":' + b"9" * 100_000 + b"}", b""),
    "a number with an exponent of 20 digits": safetensors_io.join(b'{"a":1e' + b"9" * 20 + b"}", b""),
    "a leading zero": safetensors_io.join(b'{"a":{"shape":[01]}}', b""),
    "a tensor that is a number": safetensors_io.join(b'{"a":1}', b""),
    "metadata that is an array": safetensors_io.join(b'{"__metadata__":[]}', b""),
}


@pytest.mark.parametrize("case", BROKEN_HEADERS)
def test_a_header_that_contradicts_itself_is_malformed_and_names_the_tensor(case):
    data = OFFICIAL.read_bytes()
    header, start = safetensors_io.read_header(data)
    BROKEN_HEADERS[case](header)
    words = [] if case in ("offsets past the end", "offsets that overflow") else ["blocks.1.mlp.fc1.bias"]  # it leaves a hole, and its neighbour may be named
    not_opened(safetensors_io.join(header, data[start:]), MALFORMED, *words, head_count=2)


@pytest.mark.parametrize("case", BROKEN_TEXTS)
def test_a_header_that_is_no_header_is_malformed(case):
    not_opened(BROKEN_TEXTS[case], MALFORMED if BROKEN_TEXTS[case] else (MALFORMED, INVALID_ARGUMENT))


def test_tensors_that_overlap_or_come_twice_are_malformed():
    data = OFFICIAL.read_bytes()
    header, start = safetensors_io.read_header(data)
    header["blocks.1.mlp.fc1.bias"]["data_offsets"] = header["blocks.0.mlp.fc1.bias"]["data_offsets"]
    not_opened(safetensors_io.join(header, data[start:]), MALFORMED, head_count=2)
    text = data[8:start].rstrip()
    twice = text[:-1] + b',"pos_embed":' + json.dumps(json.loads(text)["pos_embed"]).encode() + b"}"
    not_opened(safetensors_io.join(twice, data[start:]), MALFORMED, "pos_embed", head_count=2)


def test_a_file_without_a_model_in_it_is_refused():
    not_opened(safetensors_io.encode({}), (NOT_FOUND, UNSUPPORTED, MALFORMED))
    not_opened(safetensors_io.encode({"a": np.zeros(3, np.float32)}), (NOT_FOUND, UNSUPPORTED))
    not_opened(FIXTURES / "official-a/golden.safetensors", (NOT_FOUND, UNSUPPORTED))
    not_opened(PIPELINE / VAE, (NOT_FOUND, UNSUPPORTED))


def test_names_in_a_file_may_be_long_and_strange():
    strange = {"é" * 700: 1, "a" + "é" * 700: 1, "𝒟" * 300: 1, 'quote"\\\n': 1, "nul\0nul": 1}
    for name in strange:
        opened(official(lambda t: t.update({name: np.zeros(1, np.float32)})), head_count=2)
        data = OFFICIAL.read_bytes()
        header, start = safetensors_io.read_header(data)
        header[name] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}
        not_opened(safetensors_io.join(header, data[start:]), (MALFORMED, UNSUPPORTED), head_count=2)


BAD_CONFIGS = [
    ("not JSON", (MALFORMED,)), ("[]", (MALFORMED,)), ("", (MALFORMED,)), ('{"head_count": 2', (MALFORMED,)),
    ({"head_count": "2"}, (MALFORMED,)), ({"head_count": -2}, (MALFORMED, UNSUPPORTED)), ({"head_count": 2.5}, (MALFORMED,)), ({"head_count": BIG}, (MALFORMED, UNSUPPORTED)),
    ({"head_count": 1e300}, (MALFORMED, UNSUPPORTED)), ({"head_count": 5}, (MALFORMED, UNSUPPORTED)), ({"head_count": 2, "compatibility": "other"}, (UNSUPPORTED,)),
    ({"head_count": 2, "compatibility": 1}, (MALFORMED,)), ({"head_count": 2, "sampler": "euler"}, (UNSUPPORTED,)), ({"head_count": 2, "sampler": 3}, (MALFORMED,)),
    ({"head_count": 2, "pixel_space": "yes"}, (MALFORMED,)), ({"head_count": 2, "class_names": "red"}, (MALFORMED,)), ({"head_count": 2, "class_names": [1] * 10}, (MALFORMED,)),
    ({"head_count": 2, "class_names": ["x"] * 11}, (MALFORMED,)), ({"head_count": 2, "class_names": ["nul\0nul"]}, (MALFORMED,)),
    ({"head_count": 2, "steps": "many"}, (MALFORMED,)), ({"head_count": 2, "steps": -1}, (MALFORMED, UNSUPPORTED)), ({"head_count": 2, "steps": BIG}, (MALFORMED, UNSUPPORTED)),
    ({"head_count": 2, "guidance_scale": "strong"}, (MALFORMED,)), ({"head_count": 2, "learned_variance": 7}, (MALFORMED,)),
    ({"head_count": 2, "learned_variance": False}, (MALFORMED, UNSUPPORTED)),
]  # fmt: skip


@pytest.mark.parametrize("config, expected", BAD_CONFIGS, ids=[c if isinstance(c, str) else json.dumps(c)[:50] for c, _ in BAD_CONFIGS])
def test_a_bad_setting_in_the_metadata_is_refused_and_named(config, expected):
    text = config if isinstance(config, str) else json.dumps(config)
    message = not_opened(official(metadata={"ditq.config": text}), expected)
    word = "ditq.config" if isinstance(config, str) else list(config)[-1]
    assert word in message or word.replace("_", " ") in message, message


# ---- Directories ----


def pipeline(tmp_path, file, change):
    """A copy of diffusers-b in which some fields of one JSON file are changed."""
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline", dirs_exist_ok=True)
    (folder / file).write_text(json.dumps(json.loads((PIPELINE / file).read_text()) | change))
    return folder


UNSUPPORTED_FIELDS = [
    ("transformer/config.json", "_class_name", "PixArtTransformer2DModel"), ("transformer/config.json", "activation_fn", "geglu"),
    ("transformer/config.json", "activation_fn", "gelu"), ("transformer/config.json", "norm_type", "layer_norm"),
    ("transformer/config.json", "norm_elementwise_affine", True), ("transformer/config.json", "attention_bias", False),
    ("vae/config.json", "_class_name", "AutoencoderTiny"), ("vae/config.json", "act_fn", "relu"),
    ("vae/config.json", "up_block_types", ["AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]),
    ("vae/config.json", "shift_factor", 0.1), ("vae/config.json", "latents_mean", [0, 0, 0, 0]), ("vae/config.json", "mid_block_add_attention", False),
    ("scheduler/scheduler_config.json", "prediction_type", "flow_prediction"), ("scheduler/scheduler_config.json", "beta_schedule", "sigmoid"),
    ("scheduler/scheduler_config.json", "thresholding", True), ("scheduler/scheduler_config.json", "timestep_spacing", "middle"),
    ("model_index.json", "_class_name", "StableDiffusionPipeline"),
]  # fmt: skip


@pytest.mark.parametrize("file, field, value", UNSUPPORTED_FIELDS, ids=[f"{f.split('/')[0]}-{k}-{v}" for f, k, v in UNSUPPORTED_FIELDS])
def test_a_setting_that_is_not_run_is_unsupported_and_named(tmp_path, file, field, value):
    shown = [value] if isinstance(value, str) else []
    not_opened(pipeline(tmp_path, file, {field: value}), UNSUPPORTED, field, *shown)


def test_numbers_out_of_all_proportion_in_configs_answer_with_a_status(tmp_path):
    fields = {
        "transformer/config.json": ["attention_head_dim", "in_channels", "norm_eps", "num_attention_heads", "num_embeds_ada_norm", "num_layers", "out_channels", "patch_size", "sample_size"],
        "vae/config.json": ["block_out_channels", "latent_channels", "layers_per_block", "norm_num_groups", "out_channels", "scaling_factor"],
        "scheduler/scheduler_config.json": ["num_train_timesteps", "beta_start", "beta_end"],
    }  # fmt: skip
    values = [0, -1, 1, 3, 2**31 - 1, 2**31, 2**32 + 8, 2**62, BIG, -BIG - 1, 2**64, 1e300, -1e300, 0.5, "8", "", True, None, [], [0], [8], [BIG, BIG, BIG], [-1, 2, 3], {}]
    place = 0
    for file, names in fields.items():
        for name in names:
            for value in values:
                place += 1
                note(place)
                status = tried(pipeline(tmp_path, file, {name: value}))
                if isinstance(value, (str, dict)) or value is True or value in (0, -1) and name not in ("norm_eps", "beta_start"):
                    assert status != OK, f"{file}: {name} = {value!r} was taken"
        shutil.copyfile(PIPELINE / file, tmp_path / "pipeline" / file)


def test_a_directory_without_one_of_its_files_says_which_it_misses(tmp_path):
    for file in PIPELINE_FILES:
        if file == VAE or file.startswith("scheduler"):
            continue
        folder = shutil.copytree(PIPELINE, tmp_path / "pipeline", dirs_exist_ok=True)
        (folder / file).unlink()
        not_opened(folder, NOT_FOUND, os.path.basename(file).split(".")[0])
        shutil.copyfile(PIPELINE / file, folder / file)
    (folder / VAE).unlink()
    not_opened(folder, NOT_FOUND, "vae")


def test_a_missing_tensor_of_the_decoder_is_not_found_and_named(tmp_path):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    for name in ("decoder.conv_in.weight", "decoder.mid_block.attentions.0.to_q.weight", "decoder.up_blocks.2.resnets.0.conv_shortcut.bias", "post_quant_conv.weight"):
        tensors = safetensors_io.read(PIPELINE / VAE)
        del tensors[name]
        (folder / VAE).write_bytes(safetensors_io.encode(tensors))
        not_opened(folder, NOT_FOUND, name)


def test_a_decoder_without_the_encoder_is_enough(tmp_path):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    tensors = {name: t for name, t in safetensors_io.read(PIPELINE / VAE).items() if not name.startswith(("encoder.", "quant_conv."))}
    (folder / VAE).write_bytes(safetensors_io.encode(tensors))
    assert opened(folder)[0] == OK


def test_an_index_that_lies_is_refused(tmp_path):
    folder = shutil.copytree(PIPELINE, tmp_path / "pipeline")
    tensors = safetensors_io.read(folder / TRANSFORMER)
    (folder / TRANSFORMER).unlink()
    safetensors_io.write_shards(folder / "transformer", "diffusion_pytorch_model", tensors, 3)
    path = folder / "transformer/diffusion_pytorch_model.safetensors.index.json"
    index, name = json.loads(path.read_text()), "transformer_blocks.1.ff.net.2.weight"
    right = index["weight_map"][name]
    for wrong, expected, words in (
        ("diffusion_pytorch_model-00001-of-00003.safetensors", (NOT_FOUND, MALFORMED), [name]), ("nowhere.safetensors", (NOT_FOUND, MALFORMED), []), (7, MALFORMED, [name]),
        ("../../../../../../etc/passwd", (NOT_FOUND, MALFORMED, UNSUPPORTED), []), ("/dev/zero", (NOT_FOUND, MALFORMED, UNSUPPORTED), []), ("", (NOT_FOUND, MALFORMED), []),
    ):  # fmt: skip
        path.write_text(json.dumps(index | {"weight_map": index["weight_map"] | {name: wrong}}))
        not_opened(folder, expected, *words)
    for broken in ({}, {"weight_map": []}, {"weight_map": {}}, []):
        path.write_text(json.dumps(broken))
        not_opened(folder, (MALFORMED, NOT_FOUND))
    path.write_text(json.dumps(index | {"weight_map": index["weight_map"] | {name: right}}))
    assert opened(folder)[0] == OK


# ---- Paths ----


def test_paths_that_lead_nowhere_are_told_apart(tmp_path):
    not_opened(tmp_path / "nothing.safetensors", NOT_FOUND, "nothing.safetensors")
    not_opened(tmp_path / "a/b/c", NOT_FOUND)
    not_opened(EMOJI / "x", (NOT_FOUND, IO_FAILED))
    not_opened(tmp_path, NOT_FOUND, "model_index.json")
    not_opened("", (NOT_FOUND, INVALID_ARGUMENT))
    not_opened("/" + "x" * 100_000, (NOT_FOUND, IO_FAILED, INVALID_ARGUMENT))
    not_opened(str(tmp_path) + "/" + "é" * 120, NOT_FOUND)
    not_opened(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"), INVALID_ARGUMENT, "path", "UTF-8")
    (tmp_path / "empty").write_bytes(b"")
    not_opened(tmp_path / "empty", MALFORMED)
    (tmp_path / "loop").symlink_to("loop")
    not_opened(tmp_path / "loop", (NOT_FOUND, IO_FAILED))


@pytest.mark.isolated(seconds=10)
def test_devices_and_pipes_are_refused_without_waiting_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/null", "/dev/zero", tmp_path / "pipe"):
        not_opened(path, (IO_FAILED, MALFORMED, UNSUPPORTED, INVALID_ARGUMENT))


# ---- The options of opening ----


def test_an_expected_checksum_is_checked(tmp_path):
    import hashlib

    data = OFFICIAL.read_bytes()
    right = hashlib.sha256(data).hexdigest()
    for source in (OFFICIAL, data):
        assert opened(source, head_count=2, expected_sha256=right.encode())[0] == OK
        assert opened(source, head_count=2, expected_sha256=right.upper().encode())[0] == OK
        wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
        not_opened(source, ditq.CHECKSUM_MISMATCH, right, wrong, head_count=2, expected_sha256=wrong.encode())
        for malformed in (b"", b"abc", right[:-1].encode(), right.encode() + b"0", b"g" * 64, b"\xff" * 64, b" " + right[1:].encode()):
            not_opened(source, INVALID_ARGUMENT, "expected_sha256", head_count=2, expected_sha256=malformed)
    assert opened(official(metadata={"a": "b"}), head_count=2, expected_sha256=right.encode())[0] == ditq.CHECKSUM_MISMATCH, "the same tensors in another file"


def test_options_out_of_range_are_refused_and_named():
    for heads in (-1, -(2**31)):
        not_opened(OFFICIAL, INVALID_ARGUMENT, "head_count", head_count=heads)
    for heads in (5, 7, 145, 1025, 2**31 - 1):  # no divisors of 144
        not_opened(OFFICIAL, (INVALID_ARGUMENT, UNSUPPORTED), "head", heads, head_count=heads)
    not_opened(PIPELINE, INVALID_ARGUMENT, "head_count", head_count=2)  # its config says 4
    not_opened(OFFICIAL, (INVALID_ARGUMENT, UNSUPPORTED), "head_count")  # 144 is no public size, and 64 does not divide it
    for compatibility in (3, -1, 99):
        not_opened(OFFICIAL, UNSUPPORTED, "compatibility", head_count=2, compatibility=compatibility)


def test_struct_sizes_that_cannot_be_are_refused(model):
    m, handle, size = model("emoji"), c_void_p(UNTOUCHED), c_size_t(UNTOUCHED)
    for wrong in (0, 3, 4, 7):
        not_opened(OFFICIAL, INVALID_ARGUMENT, "struct_size", struct_size=wrong)
        options = ditq.SessionOptions(struct_size=wrong)
        refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_session_create, m.handle, byref(options), byref(handle))
        refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_session_memory, m.handle, byref(options), byref(size))
        info = ditq.ModelInfo(struct_size=wrong, depth=UNTOUCHED)
        refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_model_describe, m.handle, byref(info))
        assert info.depth == UNTOUCHED
        linear = ditq.LinearOptions(struct_size=wrong)
        refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_linear_create, ditq.address(np.ones((2, 2), np.float32)), None, 2, 2, byref(linear), byref(handle))
        allocator = ditq.CountingAllocator()
        allocator.struct.struct_size = wrong
        refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_session_create, m.handle, byref(ditq.SessionOptions(allocator=ctypes.pointer(allocator.struct))), byref(handle))
        assert handle.value == UNTOUCHED and size.value == UNTOUCHED
        with m.session(threads=1) as s:
            fields = s.generate_options(steps=1)
            fields.struct_size = wrong
            refused(INVALID_ARGUMENT, ["struct_size"], lib.ditq_denoise, s.handle, *one(s), byref(fields), *room(s))


def test_an_error_struct_of_the_wrong_size_is_not_written():
    for wrong in (0, 4, 8, 511):
        error, handle = ditq.Error(struct_size=wrong), c_void_p()
        before = bytes(error)
        assert lib.ditq_model_open(b"/nowhere", None, byref(handle), byref(error)) in (NOT_FOUND, INVALID_ARGUMENT)
        assert bytes(error)[max(wrong, 4) :] == before[max(wrong, 4) :]
    assert lib.ditq_model_open(b"/nowhere", None, byref(c_void_p()), None) == NOT_FOUND


def test_an_allocator_needs_both_functions_and_may_run_out(model):
    m, handle = model("diffusers-b"), c_void_p(UNTOUCHED)
    for missing in ("allocate", "deallocate"):
        allocator = ditq.CountingAllocator()
        setattr(allocator.struct, missing, type(getattr(allocator.struct, missing))())
        options = ditq.SessionOptions(threads=1, allocator=ctypes.pointer(allocator.struct))
        refused(INVALID_ARGUMENT, ["allocat"], lib.ditq_session_create, m.handle, byref(options), byref(handle))
        not_opened(OFFICIAL, INVALID_ARGUMENT, "allocat", head_count=2, allocator=ctypes.pointer(allocator.struct))
    empty = ditq.CountingAllocator(limit=0)
    options = ditq.SessionOptions(threads=1, allocator=ctypes.pointer(empty.struct))
    refused(OUT_OF_MEMORY, [], lib.ditq_session_create, m.handle, byref(options), byref(handle))
    counting = ditq.CountingAllocator()
    assert opened(EMOJI, allocator=ctypes.pointer(counting.struct))[0] == OK
    assert not counting.live and not counting.faults
    for limit in range(min(counting.calls, 40)):
        note(limit)
        failing = ditq.CountingAllocator(limit)
        not_opened(EMOJI, OUT_OF_MEMORY, allocator=ctypes.pointer(failing.struct))
        assert not failing.live and not failing.faults


# ---- Labels, numbers and buffers ----


def one(session, label=0, seed=1):
    """labels, seeds, count of one image; the arrays live as long as the session."""
    arrays = np.array([label], np.int32), np.array([seed], np.uint64)
    session.__dict__.setdefault("kept", []).append(arrays)
    return ditq.address(arrays[0]), ditq.address(arrays[1]), 1


def room(session, pixels=False):
    """A buffer for one image and its size."""
    array = np.full((1, *session.image_shape), 0x5A, np.uint8) if pixels else np.full((1, *session.latent_shape), 7.5, np.float32)
    session.__dict__.setdefault("kept", []).append(array)
    return ditq.address(array), array.nbytes


@pytest.fixture
def tiny(model):
    """A session with one thread on diffusers-b, made in the process that uses it."""

    class Late:
        def __enter__(self):
            self.session = model("diffusers-b").session(threads=1)
            return self.session

        def __exit__(self, *_):
            self.session.destroy()

    return Late()


def test_labels_out_of_range_are_refused_with_the_range(tiny):
    with tiny as s:
        for label in (11, -1, 2**31 - 1, -(2**31), 1000):
            for function, pixels in ((lib.ditq_denoise, False), (lib.ditq_generate, True)):
                refused(INVALID_ARGUMENT, [label, 10, "label"], function, s.handle, *one(s, label), None, *room(s, pixels))
            x, t, labels, out = np.zeros((1, 4, 8, 8), np.float32), np.zeros(1, np.float32), np.array([label], np.int32), np.zeros((1, 8, 8, 8), np.float32)
            refused(INVALID_ARGUMENT, [label, 10, "label"], lib.ditq_predict, s.handle, *map(ditq.address, (x, t, labels)), 1, ditq.address(out), out.nbytes)
        labels, seeds, latents = np.array([1, 2, 11], np.int32), np.zeros(3, np.uint64), np.full((3, 4, 8, 8), 7.5, np.float32)
        refused(INVALID_ARGUMENT, [11], lib.ditq_denoise, s.handle, ditq.address(labels), ditq.address(seeds), 3, None, ditq.address(latents), latents.nbytes)
        assert (latents == 7.5).all(), "the last label is wrong, and the first was run"
        s.denoise([10], [1], steps=1)  # "no class" is a label


BAD_FIELDS = [
    ("guidance_scale", math.nan), ("guidance_scale", math.inf), ("guidance_scale", -math.inf), ("steps", 0), ("steps", -1), ("steps", 1001), ("steps", 2**31 - 1),
    ("steps", -(2**31)), ("eta", 2.0), ("eta", -0.5), ("eta", math.nan), ("eta", math.inf), ("guidance_begin", math.nan), ("guidance_end", math.nan),
    ("guidance_channels", -1), ("guidance_channels", 5), ("guidance_channels", 2**31 - 1),
]  # fmt: skip


@pytest.mark.parametrize("field, value", BAD_FIELDS)
def test_a_number_out_of_range_is_refused_and_named(tiny, field, value):
    with tiny as s:
        options = s.generate_options(**{field: value})
        for function, pixels in ((lib.ditq_denoise, False), (lib.ditq_generate, True)):
            buffer, size = room(s, pixels)
            refused(INVALID_ARGUMENT, [field], function, s.handle, *one(s), byref(options), buffer, size)
            assert (s.kept[-2][0] == (0x5A if pixels else 7.5)).all(), "the buffer was written although the call failed"
        s.denoise([1], [1], steps=1)


@pytest.mark.parametrize("field, value", [("sampler", 99), ("sampler", -1), ("random", 99), ("random", -1)])
def test_a_sampler_or_a_generator_that_does_not_exist_is_refused_and_named(tiny, field, value):
    with tiny as s:
        refused((INVALID_ARGUMENT, UNSUPPORTED), [field, value], lib.ditq_denoise, s.handle, *one(s), byref(s.generate_options(**{field: value})), *room(s))


def test_guidance_that_begins_after_its_end_is_no_guidance_or_refused(tiny):
    with tiny as s:
        options = s.generate_options(steps=2, guidance_begin=0.75, guidance_end=0.25)
        assert outcome(lib.ditq_denoise, s.handle, *one(s), byref(options), *room(s))[0] in (OK, INVALID_ARGUMENT)


def test_seeds_may_be_missing_only_where_nothing_is_drawn(tiny):
    with tiny as s:
        noise = np.zeros((1, *s.latent_shape), np.float32)
        labels, _, count = one(s)
        run = lambda **fields: outcome(lib.ditq_denoise, s.handle, labels, None, count, byref(s.generate_options(steps=2, **fields)), *room(s))
        assert run(noise=noise) == (OK, "")
        for status, message in (run(), run(noise=noise, eta=0.5)):
            assert status == INVALID_ARGUMENT and "seeds" in message
        refused(INVALID_ARGUMENT, ["seeds"], lib.ditq_denoise, s.handle, labels, None, count, None, *room(s))


def test_small_buffers_are_refused_with_both_numbers(tiny):
    with tiny as s:
        latents, pixels = 4 * 8 * 8 * 4, 32 * 32 * 3
        x, t = np.zeros((1, 4, 8, 8), np.float32), np.zeros(1, np.float32)
        labels, seeds, count = one(s)
        buffer = np.full(8 * 8 * 8 * 4 + 32 * 32 * 3 * 4, 0x5A, np.uint8)
        out = ditq.address(buffer)
        for size in (0, 1, 8):
            refused(INVALID_ARGUMENT, [latents, latents - size - 1], lib.ditq_denoise, s.handle, labels, seeds, count, None, out, latents - size - 1)
            refused(INVALID_ARGUMENT, [pixels, pixels - size - 1], lib.ditq_generate, s.handle, labels, seeds, count, None, out, pixels - size - 1)
            refused(INVALID_ARGUMENT, [pixels, pixels - size - 1], lib.ditq_decode, s.handle, ditq.address(x), 1, out, pixels - size - 1)
            refused(INVALID_ARGUMENT, [4 * pixels, 4 * pixels - size - 1], lib.ditq_decode_float, s.handle, ditq.address(x), 1, out, 4 * pixels - size - 1)
            refused(INVALID_ARGUMENT, [2 * latents, 2 * latents - size - 1], lib.ditq_predict, s.handle, ditq.address(x), ditq.address(t), labels, 1, out, 2 * latents - size - 1)
        assert (buffer == 0x5A).all()


def test_counts_out_of_all_proportion_are_refused_before_anything_is_read(tiny):
    with tiny as s:
        x, t = np.zeros((1, 4, 8, 8), np.float32), np.zeros(1, np.float32)
        labels, seeds, _ = one(s)
        for place, count in enumerate((2, 2**31, 2**32, 2**53, 2**54, 2**60, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1)):
            note(place)
            refused(INVALID_ARGUMENT, [], lib.ditq_denoise, s.handle, labels, seeds, count, None, *room(s))
            refused(INVALID_ARGUMENT, [], lib.ditq_generate, s.handle, labels, seeds, count, None, *room(s, True))
            refused(INVALID_ARGUMENT, [], lib.ditq_decode, s.handle, ditq.address(x), count, *room(s, True))
            refused(INVALID_ARGUMENT, [], lib.ditq_decode_float, s.handle, ditq.address(x), count, *room(s, True))
            refused(INVALID_ARGUMENT, [], lib.ditq_predict, s.handle, ditq.address(x), ditq.address(t), labels, count, *room(s))


def test_a_count_of_nothing_is_refused(tiny):
    with tiny as s:
        x, t = np.zeros((1, 4, 8, 8), np.float32), np.zeros(1, np.float32)
        labels, seeds, _ = one(s)
        refused(INVALID_ARGUMENT, ["count"], lib.ditq_generate, s.handle, labels, seeds, 0, None, *room(s, True))
        refused(INVALID_ARGUMENT, ["count"], lib.ditq_denoise, s.handle, labels, seeds, 0, None, *room(s))
        refused(INVALID_ARGUMENT, ["count"], lib.ditq_decode, s.handle, ditq.address(x), 0, *room(s, True))
        refused(INVALID_ARGUMENT, ["count"], lib.ditq_decode_float, s.handle, ditq.address(x), 0, *room(s, True))
        refused(INVALID_ARGUMENT, ["count"], lib.ditq_predict, s.handle, ditq.address(x), ditq.address(t), labels, 0, *room(s))


def test_numbers_that_are_no_numbers_in_arrays_answer_with_a_status(tiny):
    with tiny as s:
        for value in (math.nan, math.inf, -math.inf, 3e38, 1e-45):
            x = np.full((1, *s.latent_shape), value, np.float32)
            for work in (lambda: s.predict(x, [1.0], [0]), lambda: s.predict(x * 0 + 1, [value], [0]), lambda: s.decode(x), lambda: s.decode_float(x), lambda: s.generate([0], [1], noise=x, steps=2)):
                try:
                    work()
                except ditq.DitqFailure as failure:  # 3e38 is a number, but what comes of it is none
                    assert failure.status == INVALID_ARGUMENT or (value == 3e38 and failure.status == ditq.MALFORMED and "not finite" in failure.message)
        assert np.isfinite(s.denoise([0], [1], steps=1)).all()


def test_a_latent_model_without_a_decoder_makes_no_pixels(model):
    with model("official-a").session(threads=1) as s:
        buffer = np.zeros(1 << 16, np.uint8)
        refused((UNSUPPORTED, INVALID_ARGUMENT), ["decode"], lib.ditq_generate, s.handle, *one(s), None, ditq.address(buffer), buffer.size)
        refused((UNSUPPORTED, INVALID_ARGUMENT), ["decode"], lib.ditq_decode, s.handle, room(s)[0], 1, ditq.address(buffer), buffer.size)
        refused((UNSUPPORTED, INVALID_ARGUMENT), ["decode"], lib.ditq_decode_float, s.handle, room(s)[0], 1, ditq.address(buffer), buffer.size)


# ---- NULL ----


def calls(m, s, tmp_path):
    """Every function that can fail: (function, its arguments but the error, {position: name of a pointer that may not be NULL})."""
    label, size, handle = c_int32(), c_size_t(), c_void_p()
    x, t, pixels, out = (np.zeros(shape, np.float32) for shape in ((1, 4, 8, 8), (1,), (32, 32, 3), (1, 8, 8, 8)))
    texts = ditq.png_texts({"key": "text"})
    labels, seeds, _ = one(s)
    room_l, room_p = room(s), room(s, True)
    png = [ditq.address(pixels), 32, 32, 3, texts, 1]
    w = np.ones((2, 2), np.float32)
    linear = c_void_p()
    ditq.call(lib.ditq_linear_create, ditq.address(w), None, 2, 2, None, byref(linear))
    s.kept += [label, size, handle, x, t, pixels, out, texts, w]
    data = np.frombuffer(OFFICIAL.read_bytes(), np.uint8)
    s.kept.append(data)
    run = ditq.Run(m, [0], [1])
    saved = np.frombuffer(run.save(), np.uint8)
    s.kept += [run, saved]
    heads = byref(ditq.ModelOptions(head_count=2))
    reader = ditq.BytesReader(data)
    s.kept.append(reader)
    return [
        (lib.ditq_model_open, [os.fsencode(EMOJI), None, byref(handle)], {0: "path", 2: "model"}),
        (lib.ditq_model_open_memory, [ditq.address(data), data.size, heads, byref(handle)], {0: "data", 3: "model"}),
        (lib.ditq_model_open_reader, [byref(reader.struct), heads, byref(handle)], {0: "reader", 2: "model"}),
        (lib.ditq_model_describe, [m.handle, byref(ditq.ModelInfo())], {0: "model", 1: "info"}),
        (lib.ditq_model_describe_json, [m.handle, None, 0, byref(size)], {0: "model", 3: "needed"}),
        (lib.ditq_model_describe_json, [m.handle, None, 100, byref(size)], {1: "buffer"}),  # NULL is for a capacity of 0
        (lib.ditq_model_find_class, [m.handle, b"x", byref(label)], {0: "model", 1: "name", 2: "label"}),
        (lib.ditq_model_save, [m.handle, os.fsencode(tmp_path / "x.ditq")], {0: "model", 1: "path"}),
        (lib.ditq_model_verify, [m.handle], {0: "model"}),
        (lib.ditq_quantize, [m.handle, None, byref(handle)], {0: "source", 2: "quantized"}),
        (lib.ditq_compare, [m.handle, m.handle, None, byref(handle)], {0: "reference", 1: "model", 3: "report"}),
        (lib.ditq_session_memory, [m.handle, None, byref(size)], {0: "model", 2: "size"}),
        (lib.ditq_session_create, [m.handle, None, byref(handle)], {0: "model", 2: "session"}),
        (lib.ditq_session_describe, [s.handle, byref(ditq.SessionInfo())], {0: "session", 1: "info"}),
        (lib.ditq_run_describe, [run.handle, byref(ditq.RunInfo())], {0: "run", 1: "info"}),
        (lib.ditq_session_describe_json, [s.handle, None, 0, byref(size)], {0: "session", 3: "needed"}),
        (lib.ditq_session_describe_json, [s.handle, None, 100, byref(size)], {1: "buffer"}),
        (lib.ditq_generate, [s.handle, labels, seeds, 1, None, *room_p], {0: "session", 1: "labels", 2: "seeds", 5: "pixels"}),
        (lib.ditq_denoise, [s.handle, labels, seeds, 1, None, *room_l], {0: "session", 1: "labels", 2: "seeds", 5: "latents"}),
        (lib.ditq_decode, [s.handle, room_l[0], 1, *room_p], {0: "session", 1: "latents", 3: "pixels"}),
        (lib.ditq_decode_float, [s.handle, room_l[0], 1, ditq.address(pixels), pixels.nbytes], {0: "session", 1: "latents", 3: "values"}),
        (lib.ditq_predict, [s.handle, ditq.address(x), ditq.address(t), labels, 1, ditq.address(out), out.nbytes], {0: "session", 1: "x", 2: "timesteps", 3: "labels", 5: "output"}),
        (lib.ditq_run_create, [m.handle, labels, seeds, 1, None, byref(handle)], {0: "model", 1: "labels", 2: "seeds", 5: "run"}),
        (lib.ditq_run_step, [run.handle, s.handle, byref(label)], {0: "run", 1: "session", 2: "remaining"}),
        (lib.ditq_run_latents, [run.handle, None, None, 1 << 20], {0: "run"}),
        (lib.ditq_run_save, [run.handle, None, 0, byref(size)], {0: "run", 3: "needed"}),
        (lib.ditq_run_save, [run.handle, None, 100, byref(size)], {1: "buffer"}),
        (lib.ditq_run_restore, [m.handle, ditq.address(saved), saved.size, byref(handle)], {0: "model", 1: "bytes", 3: "run"}),
        (lib.ditq_png_write, [os.fsencode(tmp_path / "x.png"), *png], {0: "path", 1: "pixels", 5: "texts"}),
        (lib.ditq_png_encode, [*png, None, 0, byref(size)], {0: "pixels", 4: "texts", 8: "needed"}),
        (lib.ditq_png_encode, [*png, None, 100, byref(size)], {6: "buffer"}),
        (lib.ditq_linear_create, [ditq.address(w), None, 2, 2, None, byref(handle)], {0: "weights", 5: "linear"}),
        (lib.ditq_linear_apply, [linear, ditq.address(w), 2, ditq.address(w), 1], {0: "linear", 1: "x", 3: "y"}),
    ]  # fmt: skip


def test_every_null_that_may_not_be_is_refused_and_its_parameter_named(model, tiny, tmp_path):
    import re

    covered, wrong = set(), []
    with tiny as s:
        for function, arguments, pointers in calls(model("diffusers-b"), s, tmp_path):
            covered.add(function.__name__)
            for position, name in pointers.items():
                changed = list(arguments)
                changed[position] = None
                status, message = outcome(function, *changed)
                if status != INVALID_ARGUMENT or not re.search(rf"\b{name}\b", message) or function(*changed, None) != INVALID_ARGUMENT:
                    wrong.append(f"{function.__name__}({name} = NULL): {ditq.STATUS_NAMES[status]} {message}")
    fallible = {name for name, (_, arguments) in ditq.PROTOTYPES.items() if arguments and arguments[-1] is ditq.ERROR}
    assert covered == fallible
    assert not wrong, wrong


def test_null_handles_are_nothing_to_the_functions_that_cannot_fail():
    lib.ditq_model_close(None)
    lib.ditq_session_destroy(None)
    lib.ditq_run_destroy(None)
    lib.ditq_session_cancel(None)
    lib.ditq_linear_destroy(None)
    lib.ditq_generate_options_init(None)
    lib.ditq_quantize_options_init(None)
    lib.ditq_report_destroy(None)
    assert lib.ditq_report_json(None) == b"{}" and lib.ditq_report_csv(None) == b"" and np.isnan(lib.ditq_report_sqnr_db(None, 0))
    assert lib.ditq_model_class_name(None, 0) is None


def test_nulls_inside_png_texts_are_refused():
    pixels, size = np.zeros((2, 2, 3), np.uint8), c_size_t()
    for text in (ditq.PngText(None, b"x"), ditq.PngText(b"key", None)):
        refused(INVALID_ARGUMENT, ["text"], lib.ditq_png_encode, ditq.address(pixels), 2, 2, 3, (ditq.PngText * 1)(text), 1, None, 0, byref(size))


# ---- Sessions ----


def test_session_options_out_of_range_are_refused_and_named(model):
    m, handle, size = model("diffusers-b"), c_void_p(UNTOUCHED), c_size_t(UNTOUCHED)
    for field, value in (("isa_limit", 99), ("isa_limit", -1), ("threads", -1), ("threads", -(2**31)), ("batch_limit", -1), ("batch_limit", -(2**31))):
        options = ditq.SessionOptions(**{field: value})
        status = UNSUPPORTED if field == "isa_limit" else INVALID_ARGUMENT  # an enumerator that this version, or architecture, does not know
        refused(status, [field, value], lib.ditq_session_create, m.handle, byref(options), byref(handle))
        refused(status, [field, value], lib.ditq_session_memory, m.handle, byref(options), byref(size))
    assert handle.value == UNTOUCHED and size.value == UNTOUCHED
    for place, options in enumerate((dict(batch_limit=2**31 - 1), dict(threads=2**31 - 1), dict(batch_limit=2**31 - 1, threads=2**31 - 1))):
        note(place)
        status, _ = outcome(lib.ditq_session_memory, m.handle, byref(ditq.SessionOptions(**options)), byref(size))
        assert status in (OK, INVALID_ARGUMENT, OUT_OF_MEMORY)
        if status == OK and size.value > 1 << 40:
            status, _ = outcome(lib.ditq_session_create, m.handle, byref(ditq.SessionOptions(**options)), byref(handle))
            assert status in (INVALID_ARGUMENT, OUT_OF_MEMORY)


def test_a_batch_limit_of_zero_is_one(model):
    m = model("diffusers-b")
    assert m.session_memory(batch_limit=0, threads=1) == m.session_memory(batch_limit=1, threads=1) < m.session_memory(batch_limit=2, threads=1)


@pytest.mark.parametrize("name", ["diffusers-b", "emoji"])
def test_an_arena_is_used_in_its_bounds_and_wrong_ones_are_refused(model, name):
    m = model(name)
    options = dict(threads=2, batch_limit=2)
    size, guard = m.session_memory(**options), 4096
    memory = np.full(size + 64 + 2 * guard, 0xC3, np.uint8)
    start = guard + (-(ditq.address(memory) + guard)) % 64
    arena = ditq.address(memory) + start
    handle = c_void_p(UNTOUCHED)
    create = lambda **change: (lib.ditq_session_create, m.handle, byref(ditq.SessionOptions(**(options | dict(arena=arena, arena_size=size) | change))), byref(handle))
    refused(INVALID_ARGUMENT, ["arena", size, size - 1], *create(arena_size=size - 1))
    refused(INVALID_ARGUMENT, ["arena", size, 0], *create(arena_size=0))
    for shift in (1, 8, 16, 32):
        refused(INVALID_ARGUMENT, ["arena", 64], *create(arena=arena + shift))
    assert handle.value == UNTOUCHED and (memory == 0xC3).all()
    allocator = ditq.CountingAllocator()
    with m.session(arena=arena, arena_size=size, allocator=ctypes.pointer(allocator.struct), **options) as s, m.session(**options) as other:
        labels, seeds = [1, 2, 3], [4, 5, 6]
        assert np.array_equal(s.generate(labels, seeds, steps=2, eta=0.5), other.generate(labels, seeds, steps=2, eta=0.5))
        latents = other.denoise(labels, seeds, steps=2)
        assert np.array_equal(s.denoise(labels, seeds, steps=2), latents)
        assert np.array_equal(s.decode_float(latents), other.decode_float(latents))
        assert np.array_equal(s.predict(latents, [1, 2, 3], labels), other.predict(latents, [1, 2, 3], labels))
        assert allocator.calls == 0, "an arena is there, and memory was allocated"
    assert (memory[:start] == 0xC3).all() and (memory[start + size :] == 0xC3).all(), "something was written outside the arena"
    assert (memory[start : start + size] != 0xC3).any()


def test_an_arena_that_the_host_could_not_allocate_is_refused(model):
    """A size without memory is malloc's NULL, passed on: the host would not want memory to be taken elsewhere."""
    options, handle = ditq.SessionOptions(threads=1, arena=None, arena_size=1 << 30), c_void_p(UNTOUCHED)
    refused(INVALID_ARGUMENT, ["arena"], lib.ditq_session_create, model("diffusers-b").handle, byref(options), byref(handle))


def test_a_larger_arena_is_as_good(model):
    m = model("diffusers-b")
    memory = np.zeros(m.session_memory(threads=1) + 100_000, np.uint8)
    arena = ditq.address(memory) + (-ditq.address(memory)) % 64
    with m.session(threads=1, arena=arena, arena_size=memory.size - 64) as s:
        s.generate([0], [1], steps=1)


# ---- Class names ----


def test_a_class_that_does_not_exist_is_not_found_and_near_ones_are_named(model):
    m, label = model("emoji"), c_int32(UNTOUCHED)
    for wrong, near in (("red aple", "red apple"), ("RED APPEL", "red apple"), ("octopuss", "octopus"), ("hose building", "house building"), ("rockt", "rocket")):
        refused(NOT_FOUND, [wrong, near], lib.ditq_model_find_class, m.handle, wrong.encode(), byref(label))
    for wrong in (b"", b"x" * 100_000, "é".encode() * 400, b"a" + "é".encode() * 400, b"\xff\xfe", b"%s%n%n%n", b",", b"  "):
        refused((NOT_FOUND, INVALID_ARGUMENT), [], lib.ditq_model_find_class, m.handle, wrong, byref(label))
    assert label.value == UNTOUCHED
    with open_fixture("official-a") as nameless:
        refused(NOT_FOUND, [], lib.ditq_model_find_class, nameless.handle, b"red apple", byref(label))


def test_labels_without_a_name_have_none(model):
    for label in (-1, 128, 129, 2**31 - 1, -(2**31)):
        assert model("emoji").class_name(label) is None
    assert model("official-a").class_name(0) is None


# ---- PNG ----


def test_png_arguments_out_of_range_are_refused(tmp_path):
    pixels, size = np.zeros((2, 2, 4), np.uint8), c_size_t(UNTOUCHED)
    encode = lambda width, height, channels, texts={}: (
        lib.ditq_png_encode, ditq.address(pixels), width, height, channels, ditq.png_texts(texts), len(texts), None, 0, byref(size)
    )  # fmt: skip
    for width in (0, -1, -(2**31)):
        refused(INVALID_ARGUMENT, ["width", width], *encode(width, 2, 3))
        refused(INVALID_ARGUMENT, ["height", width], *encode(2, width, 3))
    for channels in (0, -1, 2, 5, 2**31 - 1):
        refused(INVALID_ARGUMENT, ["channels", channels], *encode(2, 2, channels))
    for key in ("", "k" * 80, "k" * 10_000):
        refused(INVALID_ARGUMENT, ["key"], *encode(2, 2, 3, {key: "x"}))
    assert size.value == UNTOUCHED
    for path in (tmp_path / "no/such/folder.png", tmp_path):
        status, _ = outcome(lib.ditq_png_write, os.fsencode(path), ditq.address(pixels), 2, 2, 3, None, 0)
        assert status in (IO_FAILED, NOT_FOUND)
    assert list(tmp_path.iterdir()) == [], "a file that could not be written whole was left behind"


def test_a_png_that_cannot_be_finished_leaves_the_old_file_alone(tmp_path):
    """A disk that is full: a limit on the size of files."""
    import resource
    import signal

    file = tmp_path / "x.png"
    file.write_bytes(b"the old one")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    pixels = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    status, _ = outcome(lib.ditq_png_write, os.fsencode(file), ditq.address(pixels), 100, 100, 3, None, 0)
    assert status == IO_FAILED
    assert file.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [file]


# ---- The GEMM by itself ----


def test_linear_arguments_out_of_range_are_refused():
    w, handle = np.ones((4, 4), np.float32), c_void_p(UNTOUCHED)
    create = lambda outputs, inputs, **fields: (lib.ditq_linear_create, ditq.address(w), None, outputs, inputs, byref(ditq.LinearOptions(**fields)), byref(handle))
    for wrong in (0, -1, -(2**31)):
        refused(INVALID_ARGUMENT, ["outputs", wrong], *create(wrong, 4))
        refused(INVALID_ARGUMENT, ["inputs", wrong], *create(4, wrong))
    refused(UNSUPPORTED, ["isa_limit"], *create(4, 4, isa_limit=99))
    for field, value in (("weight_bits", 5), ("weight_bits", -8), ("weight_group", 24), ("activation_mode", 2), ("weight_method", 3)):
        refused((INVALID_ARGUMENT, UNSUPPORTED), [field], *create(4, 4, **{field: value}))
    empty = ditq.CountingAllocator(limit=0)
    refused(OUT_OF_MEMORY, [], *create(4, 4, allocator=ctypes.pointer(empty.struct)))
    assert handle.value == UNTOUCHED
    ditq.call(*create(4, 4))
    refused(INVALID_ARGUMENT, ["threads"], lib.ditq_linear_apply, handle, ditq.address(w), 4, ditq.address(w), -1)
    lib.ditq_linear_destroy(handle)
