"""Checkpoints of torch.save: the same weights give the same numbers as from safetensors, however they were saved.

The pickles *.pkl among the fixtures are torch's own; the zips around them, and all other files, are made by torch_io. Where the golden cases lie beside the
repository, their files are opened as they are.
"""
import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
import torch_io
from conftest import FIXTURES
from ditq_c import CHECKSUM_MISMATCH, MALFORMED, OK
from safetensors_io import BF16
from test_bad_input import not_opened, opened
from test_golden import SCALING_FACTOR, WEIGHTS, copy_of, distance, prediction, run_ddim, steps_of
from torch_io import archive, entry, members

GOLDEN = ditq.ROOT.parent / "shared/golden"
OFFICIAL = FIXTURES / "official-a/model.safetensors"
HEADS = {"head_count": 2}


def official():
    return safetensors_io.read(OFFICIAL)


def expected(golden):
    """What official-a predicts when it is opened from safetensors."""
    return prediction(OFFICIAL, golden("official-a"), **HEADS)


def source_of(data):
    with ditq.Model(data, **HEADS) as model:
        return model.json()["source"]


# ---- The golden cases ----


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden cases are not beside the repository")
@pytest.mark.parametrize("path", ["official-a/model.pt", "official-a/model-ema.pt", "diffusers-b/pipeline-bin", "diffusers-b/pipeline-sharded"])
def test_a_golden_file_agrees_with_pytorch(golden, path):
    name = path.split("/")[0]
    case = golden(name)
    with ditq.Model(GOLDEN / path, **(HEADS if name == "official-a" else {})) as model, model.session() as session:
        assert distance(session.predict(case["forward.x"], case["forward.t"], case["forward.y"]), case["forward.out"]) <= 2e-5
        _, steps = run_ddim(session, case)
        assert max(distance(steps[i], reference) for i, reference in steps_of(case).items()) <= 1e-4
        if model.info.has_decoder:
            values = session.decode_float(case["vae.z"] * np.float32(SCALING_FACTOR))
            assert distance(2 * values.astype(np.float64).transpose(0, 3, 1, 2) - 1, case["vae.out"]) <= 2e-5


def with_pickle_of_torch(path, weights):
    """The zip of a pickle that torch wrote, with these weights as its storages."""
    keys = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "_rebuild_tensor_v2":
                return lambda storage, offset, shape, strides, *_: storage
            return OrderedDict if name == "OrderedDict" else type(name, (), {})

        def persistent_load(self, identity):
            return identity[2]

    data = path.read_bytes()
    saved = Unpickler(io.BytesIO(data)).load()
    for part in (saved.get("model", {}), saved.get("ema", saved)):
        keys |= {key: weights[name] * (0 if part is saved.get("model") else 1) for name, key in part.items()}
    return archive([entry("x/data.pkl", data), *(entry(f"x/data/{key}", array.tobytes()) for key, array in keys.items())])


@pytest.mark.parametrize("name, source", [("model", "torch checkpoint"), ("model-ema", 'torch checkpoint, "ema"')])
def test_a_pickle_that_torch_wrote_gives_the_bytes_of_safetensors(golden, name, source):
    data = with_pickle_of_torch(FIXTURES / f"official-a/{name}.pkl", official())
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))
    assert source_of(data) == source


def test_a_directory_of_pickles_gives_the_bytes_of_safetensors(golden, session, tmp_path):
    case, folder = golden("diffusers-b"), copy_of(tmp_path)
    for part in ("transformer", "vae"):
        file = folder / part / f"{WEIGHTS}.safetensors"
        file.with_suffix(".bin").write_bytes(with_pickle_of_torch(FIXTURES / f"diffusers-b/{part}.pkl", safetensors_io.read(file)))
        file.unlink()
    with ditq.Model(folder) as model, model.session() as pickled:
        run = lambda s: s.predict(case["forward.x"], case["forward.t"], case["forward.y"])
        whole = session("diffusers-b")
        assert np.array_equal(run(pickled), run(whole)) and np.array_equal(pickled.decode_float(case["vae.z"]), whole.decode_float(case["vae.z"]))


# ---- The same weights, saved otherwise ----


def test_the_average_is_preferred_and_else_the_model(golden):
    weights, zeros = official(), {name: 0 * w for name, w in official().items()}
    same = lambda value: np.array_equal(prediction(torch_io.save(value), golden("official-a"), **HEADS), expected(golden))
    assert same(torch_io.training(zeros, weights)) and not same(torch_io.training(weights, zeros))
    assert same({"model": weights, "epoch": 3}) and same({"state_dict": weights, "delta": {}}) and same({"ema": {"decay": 0.999}, "model": weights})
    assert same(weights | {"epoch": 3, "loss": 0.25, "args": None}), "numbers beside tensors are passed over"
    assert source_of(torch_io.save({"state_dict": weights})) == 'torch checkpoint, "state_dict"'


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(golden, protocol):
    data = torch_io.save(torch_io.training(official(), official()), protocol=protocol)
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))


def test_what_the_standard_library_zips_is_read(golden, tmp_path):
    data, storages = torch_io.dumps(official())
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as file:
        for each in members(data, storages):
            file.writestr(each["name"].decode(), each["data"])
    assert np.array_equal(prediction(tmp_path / "model.pt", golden("official-a"), **HEADS), expected(golden))


@pytest.mark.parametrize("zip_options", [dict(zip64=False), dict(descriptors=False), dict(alignment=0), dict(comment=b"made by hand, PK\5\6")])
def test_other_zips_are_read(golden, zip_options):
    data = torch_io.save(official(), **zip_options)
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))


def test_sizes_of_64_bits_are_read(golden):
    """The fields that 4 GB overflow, in a small file: they may stand in the extra field all the same."""
    entries = members(*torch_io.dumps(official()))
    plain = zipfile.ZipFile(io.BytesIO(archive(entries)))
    wide = {"central_packed": 0xFFFFFFFF, "central_size": 0xFFFFFFFF, "central_offset": 0xFFFFFFFF}
    for each in entries:
        size, offset = len(each["data"]), plain.getinfo(each["name"].decode()).header_offset
        each["lies"] = wide | {"central_extra": b"\x99\x99\2\0ab" + struct.pack("<HHQQQ", 1, 24, size, size, offset)}
    assert np.array_equal(prediction(archive(entries), golden("official-a"), **HEADS), expected(golden))


@pytest.mark.parametrize("stored", ["F16", "BF16"])
def test_half_precision_gives_the_bytes_of_safetensors(golden, stored):
    narrow = {name: w.astype(np.float16) if stored == "F16" else BF16.rounded(w) for name, w in official().items()}
    outs = [prediction(data, golden("official-a"), **HEADS) for data in (torch_io.save(narrow), safetensors_io.encode(narrow))]
    assert np.array_equal(*outs)
    assert 1e-5 < distance(outs[0], golden("official-a")["forward.out"]) < 0.1


def apart(w):
    """The same numbers at other strides: in the order of columns, every second one of a wider row, behind an offset, or with the first axis last."""
    kind, w = type(w), w.view(np.ndarray)
    if w.ndim == 4:
        out = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif w.ndim == 3:
        out = np.repeat(w, 2, axis=2)[:, :, ::2]
    elif w.ndim == 2:
        out = np.asfortranarray(w)
    else:
        out = np.concatenate([np.zeros(5, w.dtype), np.repeat(w, 3)])[5::3]
    return out.view(kind)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_tensors_at_any_strides_give_the_same_bytes(golden, kind):
    weights = {n: w if kind == "F32" else w.astype(np.float16) if kind == "F16" else BF16.rounded(w) for n, w in official().items()}
    data = torch_io.save({name: apart(w) for name, w in weights.items()})
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), prediction(safetensors_io.encode(weights), golden("official-a"), **HEADS))


def test_tensors_may_share_a_storage_and_be_parameters(golden):
    weights = official()
    whole = np.concatenate([w.ravel() for w in weights.values()])
    views, at = {}, 0
    for name, w in weights.items():
        views[name] = np.lib.stride_tricks.as_strided(whole[at:], w.shape, w.strides)
        at += w.size
    views = {name: SharedView(whole, view) for name, view in views.items()}
    parameter = lambda tensor: torch_io.Called("torch._utils._rebuild_parameter", tensor, True, OrderedDict())
    for value in (views, {name: parameter(view) for name, view in views.items()}):
        assert np.array_equal(prediction(torch_io.save(value), golden("official-a"), **HEADS), expected(golden))


class SharedView(torch_io.Tensor):
    def __init__(self, whole, view):
        self.storage, self.shape, self.strides = torch_io.Storage(whole), view.shape, tuple(s // whole.itemsize for s in view.strides)
        self.offset = (view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize


def test_contiguous_weights_are_used_in_place_and_others_copied_once():
    peaks = []
    for data in (safetensors_io.encode(official()), torch_io.save(official()), torch_io.save({n: apart(w) for n, w in official().items()})):
        books = ditq.CountingAllocator()
        with ditq.Model(data, allocator=ditq.ctypes.pointer(books.struct), **HEADS):
            peaks.append(books.peak)
        assert not books.live and not books.faults
    everything = sum(w.nbytes for w in official().values())
    assert peaks[0] == peaks[1] and everything <= peaks[2] - peaks[0] <= everything + 64 * len(official())


def test_a_checksum_is_that_of_the_file(tmp_path):
    data = torch_io.save(official())
    (tmp_path / "model.pt").write_bytes(data)
    for source in (data, tmp_path / "model.pt"):
        assert opened(source, expected_sha256=hashlib.sha256(data).hexdigest().encode(), **HEADS)[0] == OK
        not_opened(source, CHECKSUM_MISMATCH, expected_sha256=b"0" * 64, **HEADS)


def test_a_quantized_pickle_is_saved_as_the_bytes_of_quantized_safetensors(tmp_path):
    files = []
    for source in (OFFICIAL, torch_io.save(torch_io.training(official(), official()))):
        with ditq.Model(source, **HEADS) as model, model.quantize(weight_bits=4, weight_group=48) as quantized:
            files.append(tmp_path / f"{len(files)}.ditq")
            quantized.save(files[-1])
    assert files[0].read_bytes() == files[1].read_bytes()


def as_bin_shards(folder, count):
    """A directory's weights in `count` pickles with an index."""
    for part in ("transformer", "vae"):
        file = folder / part / f"{WEIGHTS}.safetensors"
        tensors, weight_map = safetensors_io.read(file), {}
        file.unlink()
        for i in range(count):
            names, shard = list(tensors)[i::count], f"{WEIGHTS}-{i + 1:05}-of-{count:05}.bin"
            (folder / part / shard).write_bytes(torch_io.save({name: tensors[name] for name in names}))
            weight_map |= dict.fromkeys(names, shard)
        (folder / part / f"{WEIGHTS}.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_pickles_may_be_shards(golden, session, tmp_path):
    case, folder = golden("diffusers-b"), as_bin_shards(copy_of(tmp_path), 3)
    assert np.array_equal(prediction(folder, case), session("diffusers-b").predict(case["forward.x"], case["forward.t"], case["forward.y"]))
    index = folder / f"transformer/{WEIGHTS}.bin.index.json"
    text = index.read_text()
    index.write_text(text.replace("00001-of-00003.bin", "00002-of-00003.bin", 1))
    not_opened(folder, MALFORMED, "where the index")
    index.write_text(text.replace("diffusion_pytorch_model-00001", "../transformer/diffusion_pytorch_model-00001", 1))
    not_opened(folder, MALFORMED, "the plain name of a .bin file expected", "../transformer")


@pytest.mark.parametrize("name", ["timestep_embedder.linear_1.bias", "timestep_embedder.linear_2.weight", "class_embedder.embedding_table.weight"])
def test_a_block_with_an_embedder_that_differs_has_its_own(tmp_path, name):
    folder = copy_of(tmp_path)
    file, name = folder / f"transformer/{WEIGHTS}.safetensors", f"transformer_blocks.1.norm1.emb.{name}"
    tensors = safetensors_io.read(file)
    tensors[name] = tensors[name].copy()
    tensors[name].flat[-1] += 1e-6
    file.unlink()
    file.with_suffix(".bin").write_bytes(torch_io.save(tensors))
    with ditq.Model(folder) as model:
        own = [layer for layer in model.json()["layers"] if "embedder.mlp" in layer and layer.startswith("blocks.")]
        assert own == ["blocks.1.t_embedder.mlp.0", "blocks.1.t_embedder.mlp.2"]
