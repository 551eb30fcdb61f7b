"""What fuzzing and sanitizers found once, kept as tests of the library that ships; the inputs themselves are in Tests/fuzz/corpus. SECURITY.md lists them."""
import ctypes
import hashlib
import json
import mmap
import os
import struct
import subprocess
import sys
from ctypes import byref

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
import torch_io
from ditq_c import lib, outcome
from test_bad_input import not_opened

pytestmark = pytest.mark.isolated

TINY, PIPELINE = ditq.ROOT / "Tests/fuzz/models/float.safetensors", ditq.ROOT / "Tests/fuzz/models/pipeline"


@pytest.mark.parametrize("padding", range(8))
def test_16_bit_weights_may_stand_at_any_address(padding):
    """Their header is as long as it likes: the tensors behind it are at odd addresses then."""
    tensors = safetensors_io.read(TINY)
    text = json.dumps(safetensors_io.header_of(tensors)).encode() + b" " * padding
    data = struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values())
    memory = np.frombuffer(data, np.uint8).copy()
    results = []
    for source in (memory, TINY):
        with ditq.Model(source, head_count=2) as model, model.quantize(weight_bits=4) as quantized:
            for each in (model, quantized):
                with each.session(threads=1) as session:
                    results.append(session.denoise([1], [2], steps=2).tobytes())
    assert results[:2] == results[2:]


def test_a_count_beyond_the_labels_is_refused_before_they_are_read_where_there_are_no_pictures():
    """The one label stands at the end of a page; what is behind it may not be touched."""
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    label, pixels, seeds = ctypes.c_void_p(start + mmap.PAGESIZE - 4), np.zeros(64, np.uint8), np.zeros(1, np.uint64)
    with ditq.Model(TINY, head_count=2) as model, model.session(threads=1) as session:
        for count in (2, 1 << 20, 1 << 40, 1 << 62):
            status, message = outcome(lib.ditq_generate, session.handle, label, ditq.address(seeds), count, None, ditq.address(pixels), pixels.nbytes)
            assert status == ditq.UNSUPPORTED and "decode" in message


@pytest.mark.parametrize("options", [{}, dict(weight_bits=4, weight_group=16), dict(activation_mode=1, calibration_samples=1, calibration_steps=1)])
def test_a_comparison_of_models_with_few_tokens_is_what_it_is_with_one_image_at_a_time(options):
    """Rows of one vector an image were packed beyond the end of what was reserved for them."""
    reports = []
    with ditq.Model(TINY, head_count=2) as model, model.quantize(**options) as quantized:
        for samples in (1, 7):
            report = ctypes.c_void_p()
            ditq.call(lib.ditq_compare, model.handle, quantized.handle, byref(ditq.CompareOptions(steps=2, samples=samples, threads=1)), byref(report))
            reports.append(json.loads(lib.ditq_report_json(report)))
            lib.ditq_report_destroy(report)
    assert len(reports) == 2 and all(report["layers"] for report in reports)


# ---- What reviews found ----


def transformer(hidden=4, channels=4, patch=1, grid=1, depth=1):
    """{name: shape} of a transformer as narrow as can be, with one class."""
    layers = {"x_embedder.proj": (hidden, channels, patch, patch), "t_embedder.mlp.0": (hidden, 256), "t_embedder.mlp.2": (hidden, hidden)}
    for block in range(depth):
        for name, outputs in {"adaLN_modulation.1": 6 * hidden, "attn.qkv": 3 * hidden, "attn.proj": hidden, "mlp.fc1": hidden, "mlp.fc2": hidden}.items():
            layers[f"blocks.{block}.{name}"] = outputs, hidden
    layers |= {"final_layer.adaLN_modulation.1": (2 * hidden, hidden), "final_layer.linear": (patch * patch * channels, hidden)}
    return affine(layers) | {"pos_embed": (1, grid * grid, hidden), "y_embedder.embedding_table.weight": (2, hidden)}


def decoder(channels=1024):
    """The same of a decoder with one level of so many channels."""
    layers = {"post_quant_conv": (4, 4, 1, 1), "decoder.conv_in": (channels, 4, 3, 3), "decoder.conv_norm_out": (channels,), "decoder.conv_out": (3, channels, 3, 3)}
    for block in ("mid_block.resnets.0", "mid_block.resnets.1", "up_blocks.0.resnets.0", "up_blocks.0.resnets.1"):
        for n in (1, 2):
            layers |= {f"decoder.{block}.norm{n}": (channels,), f"decoder.{block}.conv{n}": (channels, channels, 3, 3)}
    layers["decoder.mid_block.attentions.0.group_norm"] = (channels,)
    layers |= {f"decoder.mid_block.attentions.0.{name}": (channels, channels) for name in ("to_q", "to_k", "to_v", "to_out.0")}
    return affine({"vae." + name: shape for name, shape in layers.items()})


def affine(layers):
    return {name + ".weight": shape for name, shape in layers.items()} | {name + ".bias": shape[:1] for name, shape in layers.items()}


def write_sparse(path, shapes, metadata, empty=()):
    """16-bit zeros that take no room on the disk, and names of tensors without elements."""
    header, offset = {"__metadata__": metadata}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    header |= {name: {"dtype": "I64", "shape": [0], "data_offsets": [offset, offset]} for name in empty}
    with open(path, "wb") as file:
        file.write(safetensors_io.join(header, b""))
        file.truncate(file.tell() + offset)


def test_sizes_whose_multiply_accumulates_are_more_than_64_bits_hold_are_refused(tmp_path):
    """They ended the process; then they were described. Now a decoder's tokens have a limit, and what is within it is still described."""
    config = {"_class_name": "AutoencoderKL", "latent_channels": 4, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 32, "scaling_factor": 0.2,
              "block_out_channels": [1024], "up_block_types": ["UpDecoderBlock2D"]}  # fmt: skip
    text = json.dumps({"head_count": 1, "pixel_space": False, "learned_variance": False, "decoder": config})
    write_sparse(tmp_path / "x.safetensors", transformer(patch=32, grid=256) | decoder(), {"ditq.config": text})
    not_opened(tmp_path / "x.safetensors", ditq.UNSUPPORTED, "decoder: tokens", 8192 * 8192)
    write_sparse(tmp_path / "x.safetensors", transformer(patch=32, grid=8) | decoder(), {"ditq.config": text})
    with ditq.Model(tmp_path / "x.safetensors") as model:
        assert 1e12 < model.json()["decoder"]["macs"] < 1e14


def test_any_number_of_names_is_read_in_time(tmp_path):
    """Each name of many was looked for among all the others; this test took minutes, of opening and of verifying."""
    layers = {f"blocks.0.mlp.fc{index:07}": {"bits": 8, "group": 0, "activation_bits": 8} for index in range(200_000)}
    metadata = {"ditq.config": json.dumps({"head_count": 1}), "ditq.format": "1", "ditq.packing": "panels-32", "ditq.layers": json.dumps(layers)}
    write_sparse(tmp_path / "layers.ditq", transformer(channels=3, depth=1024), metadata)
    not_opened(tmp_path / "layers.ditq", ditq.UNSUPPORTED, "ditq.layers", "blocks.0.mlp.fc0000000")  # there are none of these
    write_sparse(tmp_path / "deep.ditq", transformer(channels=3, depth=1024), metadata | {"ditq.layers": "{}"})
    with ditq.Model(tmp_path / "deep.ditq") as model:
        assert model.info.depth == 1024
    shapes = transformer(channels=3)
    names = ["z" * 300 + f"{index:06}" for index in range(20_000)]
    sums = {name: hashlib.sha256(bytes(2 * int(np.prod(shape)))).hexdigest() for name, shape in shapes.items()} | {name: hashlib.sha256().hexdigest() for name in reversed(names)}
    write_sparse(tmp_path / "sums.safetensors", shapes, {"ditq.config": json.dumps({"head_count": 1}), "ditq.checksums": json.dumps(sums)}, names)
    with ditq.Model(tmp_path / "sums.safetensors") as model:
        model.verify()
    key = b"X" + struct.pack("<I", 1024) + b"\xff" * 1024 + b"q\0"  # "h\0" names it again
    pickle = b"\x80\2}(" + key + b"N" + b"h\0N" * 600_000 + b"u."
    not_opened(np.frombuffer(torch_io.archive(torch_io.members(pickle, {})), np.uint8), (ditq.MALFORMED, ditq.NOT_FOUND))


# A process of its own, whose heap has no large pieces that were freed before and would do.
NARROW = """
import mmap, resource
import numpy as np
import ditq_c as d
weights, found = np.ones((32, 65536), np.float32), set()
for more in range(0, 16 << 20, 512 << 10):
    handle, used = d.c_void_p(), int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))
    status = d.lib.ditq_linear_create(d.address(weights), None, *weights.shape, None, d.byref(handle), None)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    d.lib.ditq_linear_destroy(handle)
    found.add(status)
print(found == {d.OK, d.OUT_OF_MEMORY})
"""


def test_a_linear_for_which_there_is_no_room_to_work_in_is_refused():
    """Eight megabytes beside its own memory, which were used without looking whether they were there."""
    environment = os.environ | {"DITQ_LIBRARY": str(ditq.PATH)}
    done = subprocess.run([sys.executable, "-c", NARROW], cwd=ditq.ROOT / "Tests/python", env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "True\n", (done.returncode, done.stdout, done.stderr)
