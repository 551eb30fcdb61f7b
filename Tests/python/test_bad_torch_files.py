"""Hostile and unfit checkpoints of torch.save: whatever a pickle or a zip holds, opening it answers with a status and a sentence, and runs nothing."""
import ctypes
import json
import pickle
import resource
import shutil
import struct
import time

import ditq_c as ditq
import numpy as np
import pytest
import torch_io
from conftest import FIXTURES, note
from ditq_c import MALFORMED, NOT_FOUND, OK, UNSUPPORTED
from test_bad_input import flips, not_opened, opened, tried
from test_golden import WEIGHTS
from test_torch_files import HEADS, SharedView, official
from torch_io import archive, entry, members

pytestmark = pytest.mark.isolated

# ---- Files that hold something else ----


def test_a_file_before_torch_1_6_says_how_to_save_it_anew(tmp_path):
    old = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    for data in (old, pickle.dumps({"pos_embed": [1.0] * 9}, 2), pickle.dumps(list(range(99)), 4)):
        not_opened(data, UNSUPPORTED, "a zip file expected, a bare pickle found", "torch.save(torch.load(path")
    folder = shutil.copytree(FIXTURES / "diffusers-b/pipeline", tmp_path / "pipeline")
    file = folder / f"transformer/{WEIGHTS}.safetensors"
    file.with_suffix(".bin").write_bytes(old)
    file.unlink()
    not_opened(folder, UNSUPPORTED, "diffusion_pytorch_model.bin", "torch.save(torch.load(path")


@pytest.mark.parametrize("value, word", [
    (torch_io.Called("os.system", "touch owned"), "os.system"), (torch_io.Called("builtins.eval", "open('owned', 'w')"), ".eval"), (torch_io.Called("numpy.core.multiarray.scalar", 1), "numpy.core.multiarray.scalar"),
    (torch_io.Called("torch.nn.modules.linear.Linear"), "torch.nn.modules.linear.Linear"),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_an_object_is_refused_by_its_class_and_nothing_is_executed(value, word, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    not_opened(torch_io.save(value, protocol), UNSUPPORTED, "data.pkl: a dict of tensors expected, an object of", word, "nothing is imported or executed", **HEADS)
    assert opened(torch_io.save({"ema": official(), "opt": value}, protocol), **HEADS)[0] == OK, "beside the weights it is anything"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value, status, words", [
    ([1, 2], MALFORMED, ["a dict of tensors expected, a list found"]),
    (np.zeros(3, np.float32), MALFORMED, ["a dict of tensors expected, a tensor found"]),
    ({}, MALFORMED, ["no tensors found", '"ema"']),
    ({"delta": {"a": np.zeros(1, np.float32)}, "opt": {}}, MALFORMED, ["no tensors found"]),
    ({"a": np.zeros(1, np.float32)}, NOT_FOUND, ["x_embedder.proj.weight: no such tensor"]),
    ({"x" * 1025: np.zeros(1, np.float32)}, UNSUPPORTED, ["named by strings of at most 1024 bytes"]),
    ({0: np.zeros(1, np.float32)}, UNSUPPORTED, ["named by strings"]),
    ({"a": np.zeros((1,) * 9, np.float32)}, UNSUPPORTED, ["a tensor of rank 9, more than 8"]),
])  # fmt: skip
def test_a_file_without_the_weights_says_so(value, status, words):
    not_opened(torch_io.save(value), status, *words)


def test_wrong_tensors_are_named():
    change = lambda name, value: torch_io.save(official() | {name: value})
    name = "blocks.1.mlp.fc1.bias"
    not_opened(change(name, official()[name].astype(np.float64)), UNSUPPORTED, name, "F64", **HEADS)
    not_opened(change(name, official()[name].astype(np.int64)), UNSUPPORTED, name, "I64", **HEADS)
    not_opened(change(name, official()[name][:-1].copy()), MALFORMED, name, "[576] expected, [575] found", **HEADS)
    not_opened(change("blocks.0.attn.q_norm.weight", np.ones(72, np.float32)), UNSUPPORTED, "blocks.0.attn.q_norm.weight", **HEADS)
    assert opened(change("step", np.int64([7])), **HEADS)[0] == OK, "a counter is no weight"


# ---- Pickles ----

# Opcodes, written by hand: PROTO 2 before them; the storage "0" has 16 floats.
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\x10tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
integer = lambda n: b"\x8a\x08" + struct.pack("<q", n)


def tensor(offset=0, shape=(4, 4), strides=(4, 1), storage=STORAGE):
    """{"a": a tensor}, as opcodes."""
    numbers = lambda values: b"(" + b"".join(map(integer, values)) + b"t"
    return b"}X\1\0\0\0a" + REBUILD + b"(" + storage + integer(offset) + numbers(shape) + numbers(strides) + b"\x89Nt" + b"Rs."


def by_hand(opcodes):
    return archive(members(b"\x80\2" + opcodes, [np.zeros(16, np.float32)]))


BIG = 2**63 - 1
HOSTILE_PICKLES = {
    "nothing": (b"", MALFORMED), "no stop": (b"}", MALFORMED), "an empty stack": (b".", MALFORMED), "a mark alone": (b"(.", MALFORMED),
    "a value below the mark": (b"}(.", MALFORMED), "no mark": (b"}u.", MALFORMED), "half an item": (b"}(K\1u.", MALFORMED), "items of a list": (b"](K\1K\2u.", MALFORMED),
    "an unknown opcode": (b"\xff.", UNSUPPORTED), "text opcodes": (b"I1\n.", MALFORMED), "an instance": (b"(ios\nsystem\n.", UNSUPPORTED),
    "an extension": (b"\x82\1.", MALFORMED), "half an extension": (b"\x84\1.", MALFORMED), "a later protocol": (b"\x80\6}.", UNSUPPORTED), "a buffer out of band": (b"\x97.", UNSUPPORTED), "a read-only buffer": (b"\x98.", UNSUPPORTED),
    "digits that are none": (b"Ix\n.", MALFORMED), "no digits": (b"L\n.", MALFORMED), "a line without an end": (b"I" + b"1" * 100_000, MALFORMED), "a fraction that is none": (b"Fx\n.", MALFORMED), "a fraction of nothing": (b"F\n.", MALFORMED),
    "a string without quotes": (b"Sa\n.", MALFORMED), "one quote": (b"S'\n.", MALFORMED), "quotes that differ": (b"S'a\"\n.", MALFORMED), "a text without an end": (b"Va", MALFORMED), "a memo of text": (b"}px\n.", MALFORMED), "a memo before the first": (b"}p-1\n.", MALFORMED),
    "a memo of 2^70": (b"}p1180591620717411303424\n.", MALFORMED), "a hole in the memo": (b"}0NNNNNq\5h\3.", MALFORMED), "half a dict": (b"(K\1d.", MALFORMED), "a class that is a number": (b"(K\1o.", MALFORMED), "a class of nothing": (b"(o.", MALFORMED), "an instance without a mark": (b"ia\nb\n.", MALFORMED),
    "arguments that are a list": (b"ca\nb\n]R.", MALFORMED), "a new object of a number": (b"K\1)\x81.", MALFORMED), "a new object by name without arguments": (b"ca\nb\n}\x92.", MALFORMED), "items of a set in a list": (b"](K\1\x90.", MALFORMED), "a frozen set of nothing": (b"\x91.", MALFORMED),
    "a state for a number": (b"K\1}b.", MALFORMED), "a state below the mark": (b"ca\nb\n)R(}b.", MALFORMED), "items of an object below the mark": (b"ca\nb\n)R(K\1K\2s.", MALFORMED), "a list below the mark": (b"](K\1a.", MALFORMED), "a text id": (b"Pabc\n.", MALFORMED),
    "100 000 marks": (b"(" * 100_000, UNSUPPORTED), "100 000 nested tuples": (b")" + b"\x85" * 100_000 + b".", MALFORMED), "100 000 nested lists": (b"]" * 100_000 + b"a" * 99_999 + b".", MALFORMED),
    "3 million opcodes": (b"N0" * 1_500_000 + b".", UNSUPPORTED), "3 million values": (b"N" * 3_000_000 + b".", UNSUPPORTED),
    "doubling": (b"]K\1a" + b"2" * 1_000_000 + b".", MALFORMED),
    "a long key asked for again and again": (b"}(X" + struct.pack("<I", 1 << 24) + bytes(1 << 24) + b"q\0N" + b"h\0N" * 500_000 + b"u.", MALFORMED),
    "a large dict under many keys": (b"}(X\3\0\0\0emaq\0}(" + b"K\1N" * 300_000 + b"uq\1" + b"h\0h\1" * 300_000 + b"u.", MALFORMED),
    "a dict in itself": (b"}q\0X\1\0\0\0ah\0s.", MALFORMED), "a list in itself": (b"]q\0h\0a.", MALFORMED),
    "a memo that is empty": (b"h\0.", MALFORMED), "a memo far away": (b"}r\xff\xff\xff\xff.", MALFORMED), "a memo of nothing": (b"q\0.", MALFORMED), "a memo far away got": (b"j\xff\xff\xff\x7f.", MALFORMED),
    "a string of 4 GB": (b"X\xff\xff\xff\xffa.", MALFORMED), "a string of 2^64 bytes": (b"\x8d" + b"\xff" * 8 + b"a.", MALFORMED), "a string of 2^63 bytes": (b"\x8d" + bytes(7) + b"\x80a.", MALFORMED),
    "bytes of 2^64": (b"\x8e" + b"\xff" * 8 + b"a.", MALFORMED), "a long of 2 GB": (b"\x8b\xff\xff\xff\x7f.", MALFORMED), "a long of less than nothing": (b"\x8b\xff\xff\xff\xff.", MALFORMED),
    "a frame of 2^64 bytes": (b"\x95" + b"\xff" * 8 + b"}.", MALFORMED), "a name without an end": (b"c" + b"a" * 5000, MALFORMED), "a name of numbers": (b"K\1K\2\x93.", MALFORMED),
    "a number that is called": (b"K\1)R.", MALFORMED), "a name called with a number": (b"ccollections\nOrderedDict\nK\1R.", MALFORMED), "a dtype that is called": (b"ctorch\nfloat32\n)R.", UNSUPPORTED),
    "a tensor of nothing": (REBUILD + b")R.", MALFORMED), "a storage that is a number": (tensor(storage=b"K\0"), MALFORMED), "state for a tensor": (tensor()[:-2] + b"}bs.", NOT_FOUND),
    "a persistent number": (b"K\1Q.", MALFORMED), "a persistent pair": (b"K\1K\2\x86Q.", MALFORMED), "a storage that is not there": (tensor(storage=STORAGE.replace(b"\x000X", b"\x009X")), MALFORMED),
    "a storage's key that is a path": (tensor(storage=STORAGE.replace(b"X\1\0\0\x000X", b"X\x0e\0\0\0../../etc/keysX")), MALFORMED), "a storage with more than its entry": (tensor(storage=STORAGE.replace(b"K\x10", b"K\x11")), MALFORMED),
    "a storage of 2^63 elements": (tensor(storage=STORAGE.replace(b"K\x10", integer(BIG))), MALFORMED), "a storage of -1 elements": (tensor(storage=STORAGE.replace(b"K\x10", integer(-1))), MALFORMED),
    "a tensor past the end": (tensor(offset=1), MALFORMED), "a tensor far past the end": (tensor(offset=BIG), MALFORMED), "a tensor before the beginning": (tensor(offset=-1), MALFORMED),
    "strides past the end": (tensor(strides=(5, 1)), MALFORMED), "strides that overflow": (tensor(strides=(BIG, BIG)), MALFORMED), "negative strides": (tensor(offset=15, strides=(-4, -1)), MALFORMED),
    "sizes that overflow": (tensor(shape=(2**32, 2**32), strides=(0, 0)), MALFORMED), "sizes that overflow with nothing in them": (tensor(shape=(0, 2**40, 2**40), strides=(1, 2**40, 1)), NOT_FOUND),
    "an expanded tensor": (tensor(shape=(2**40, 1), strides=(0, 1)), UNSUPPORTED), "an axis of one element and any stride": (tensor(shape=(1, 4, 4), strides=(BIG, 1, 4)), NOT_FOUND),
    "more sizes than strides": (tensor(strides=(1,)), MALFORMED), "fewer sizes than strides": (tensor(shape=(4,)), MALFORMED), "an empty tensor behind the end": (tensor(offset=17, shape=(0,), strides=(1,)), MALFORMED),
    "sizes that are text": (tensor().replace(b"(" + integer(4) + integer(4) + b"t", b"(X\1\0\0\x004X\1\0\0\x004t"), MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_PICKLES)
def test_a_hostile_pickle_answers_with_a_status(case):
    opcodes, status = HOSTILE_PICKLES[case]
    message = not_opened(by_hand(opcodes), status)
    assert status == NOT_FOUND or "data.pkl" in message or "expanded to more bytes" in message


def test_the_tensor_by_hand_is_one():
    not_opened(by_hand(tensor()), NOT_FOUND, "x_embedder.proj.weight")


# ---- Zips ----


def entries(**lies):
    """The entries of official-a, with lies about a storage."""
    made = members(*torch_io.dumps(official()))
    made[5]["lies"].update(lies)
    return made


HOSTILE_ZIPS = {
    "compressed": (archive(entries(central_method=8, local_method=8)), UNSUPPORTED, ["model/data/3", "compressed (method 8)"]),
    "encrypted": (archive(entries(central_flags=1, local_flags=1)), UNSUPPORTED, ["model/data/3", "encrypted"]),
    "a local header with another name": (archive(entries(local_name=b"model/data/4")), MALFORMED, ["model/data/3", "local header", "says otherwise"]),
    "a local header with another method": (archive(entries(local_method=8)), MALFORMED, ["local header"]),
    "a local header with another size": (archive(entries(local_size=5, local_packed=5)), MALFORMED, ["local header"]),
    "sizes that disagree": (archive(entries(central_packed=5)), MALFORMED, ["stored in 5 bytes"]),
    "an entry that leaves the file": (archive(entries(central_packed=2**31, central_size=2**31)), MALFORMED, ["model/data/3"]),
    "64 bits that leave the file": (archive(entries(central_size=0xFFFFFFFF, central_packed=0xFFFFFFFF, central_extra=struct.pack("<HHQQ", 1, 16, 2**64 - 1, 2**64 - 1))), MALFORMED, ["model/data/3"]),
    "64 bits that are not there": (archive(entries(central_size=0xFFFFFFFF, central_packed=0xFFFFFFFF, central_extra=struct.pack("<HHI", 1, 4, 5))), MALFORMED, ["model/data/3"]),
    "an extra field that leaves its place": (archive(entries(central_extra=struct.pack("<HHQ", 1, 400, 5))), MALFORMED, ["model/data/3"]),
    "an entry over the next": (archive(entries(central_packed=90_000, central_size=90_000)), MALFORMED, []),
    "an entry at another's place": (archive(entries(central_offset=0)), MALFORMED, ["model/data/3"]),
    "an entry in the directory": (archive(entries(central_offset=2**31)), MALFORMED, ["model/data/3", "local header"]),
    "a name that is a path": (archive([entry("../data.pkl", b"}."), entry("/etc/passwd", b"")]), MALFORMED, ["no tensors found"]),
    "two entries of one name": (archive([*entries(), entry("model/data/3", b"")]), MALFORMED, ["two entries named", "model/data/3"]),
    "two pickles": (archive([*entries(), entry("other/data.pkl", b"")]), MALFORMED, ["one FOLDER/data.pkl expected", "2 found"]),
    "no pickle": (archive([entry("model/data.pk", b"}.")]), MALFORMED, ["one FOLDER/data.pkl expected", "0 found"]),
    "a long name": (archive([entry("m" * 65000 + "/data.pkl", b"")]), UNSUPPORTED, ["65009 bytes", "1024"]),
    "no entry": (b"PK\3\4" + archive([], zip64=False, start=4), MALFORMED, ["0 found"]),
    "a NUL in a name": (archive([entry(b"model\0/data.pkl", b"}.")]), MALFORMED, []),
    "a name that is not UTF-8": (archive([entry(b"\xff\xfe/data.pkl", b"}."), entry(b"\xff\xff/data.pkl", b"}.")]), MALFORMED, []),
    "big endian": (archive(members(*torch_io.dumps(official()), byteorder=b"big")), UNSUPPORTED, ["byteorder", "big"]),
    "a directory of 2^64 entries": (archive(entries(), count=2**64 - 1), MALFORMED, ["entries in a directory"]),
    "a directory of fewer entries": (archive(entries(), count=3), MALFORMED, ["directory"]),
    "a directory of 2^64 bytes": (archive(entries(), size=2**64 - 1), MALFORMED, ["directory"]),
    "a directory behind the file": (archive(entries(), start=2**63), MALFORMED, ["directory"]),
    "a directory that is none": (archive(entries(), start=0, size=9999), MALFORMED, []),
    "several parts": (archive(entries(), zip64=False)[:-22] + struct.pack("<4sHHHHIIH", b"PK\5\6", 1, 1, 1, 1, 0, 0, 0), UNSUPPORTED, ["several parts"]),
    "zeros": (b"PK\3\4" + bytes(100_000), MALFORMED, ["no directory"]),
    "a beginning": (b"PK\3\4", MALFORMED, ["no directory"]),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_a_hostile_zip_answers_with_a_status(case):
    data, status, words = HOSTILE_ZIPS[case]
    not_opened(data, status, *words, **HEADS)


# ---- Cut and flipped ----


def small():
    """A checkpoint with everything in it, in a few kilobytes."""
    return torch_io.save(torch_io.training({"pos_embed": np.zeros((2, 3), np.float32)}, {"pos_embed": np.ones((3, 2), np.float16).T, "b": np.ones(2, np.int64)}))


def test_a_file_cut_at_every_byte_is_malformed():
    data = small()
    not_opened(data, NOT_FOUND, "x_embedder.proj.weight")
    for size in range(1, len(data)):
        note(size)
        not_opened(data[:size], MALFORMED)


def test_a_file_with_any_byte_flipped_answers_with_a_status():
    data = bytearray(small())
    for position in range(len(data)):
        note(position)
        for mask in (0x01, 0x80, 0xFF):
            data[position] ^= mask
            tried(bytes(data))
            data[position] ^= mask


def test_a_checkpoint_with_a_flipped_byte_answers_with_a_status():
    data = bytearray(torch_io.save(official()))
    pickle_end = data.index(b"model/byteorder")
    for seed, region in ((11, None), (12, pickle_end)):
        for position, byte in flips(data, seed, region):
            note(position)
            kept, data[position] = data[position], byte[0]
            tried(bytes(data), **HEADS)
            data[position] = kept


# ---- What a file costs ----


def sharing_decoder(folder, channels, layers):
    """A pipeline whose decoder has many convolutions, all of them views of one storage. Answers with the bytes of its file."""
    shutil.copytree(FIXTURES / "diffusers-b/pipeline", folder)
    config = json.loads((folder / "vae/config.json").read_text()) | {"block_out_channels": [channels] * 4, "layers_per_block": layers, "up_block_types": ["UpDecoderBlock2D"] * 4, "down_block_types": ["DownEncoderBlock2D"] * 4}
    (folder / "vae/config.json").write_text(json.dumps(config))
    whole, tensors = np.zeros(channels * channels * 9, np.float16), {}

    def add(name, *shape):
        view = np.lib.stride_tricks.as_strided(whole, shape, tuple(2 * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))))
        tensors[name + ".weight"], tensors[name + ".bias"] = SharedView(whole, view), SharedView(whole, whole[: shape[0]])

    def resnet(name):
        for part, shape in {"norm1": [channels], "conv1": [channels, channels, 3, 3], "norm2": [channels], "conv2": [channels, channels, 3, 3]}.items():
            add(f"{name}.{part}", *shape)

    add("post_quant_conv", 4, 4, 1, 1)
    add("decoder.conv_in", channels, 4, 3, 3)
    for i in range(2):
        resnet(f"decoder.mid_block.resnets.{i}")
    add("decoder.mid_block.attentions.0.group_norm", channels)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        add(f"decoder.mid_block.attentions.0.{part}", channels, channels)
    for block in range(4):
        for layer in range(layers + 1):
            resnet(f"decoder.up_blocks.{block}.resnets.{layer}")
        if block < 3:
            add(f"decoder.up_blocks.{block}.upsamplers.0.conv", channels, channels, 3, 3)
    add("decoder.conv_norm_out", channels)
    add("decoder.conv_out", 3, channels, 3, 3)
    file = folder / f"vae/{WEIGHTS}.safetensors"
    file.unlink()
    data = torch_io.save(tensors)
    file.with_suffix(".bin").write_bytes(data)
    return len(data)


def test_names_that_share_their_numbers_take_no_more_than_the_file_allows(tmp_path):
    """A weight may have many names, as tied ones do; what each costs is bounded by the file: its floats, at most 4 times the bytes, or 64 MB."""
    size, books = sharing_decoder(tmp_path / "many", 256, 16), ditq.CountingAllocator()
    assert size < 2 << 20
    not_opened(tmp_path / "many", UNSUPPORTED, "bytes of memory for", "bytes in files", allocator=ctypes.pointer(books.struct))
    assert books.peak < 64 << 20 and not books.live, "nothing was taken for it"
    size, books = sharing_decoder(tmp_path / "some", 64, 16), ditq.CountingAllocator()
    assert opened(tmp_path / "some", allocator=ctypes.pointer(books.struct))[0] == OK
    assert 100 * size < books.peak < 64 << 20 and not books.live


PLAIN = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0(K\4K\4t(K\4K\1t\x89Nt"
text = lambda value: b"X" + struct.pack("<I", len(value)) + value
each = lambda count, opcodes: b"".join(text(b"%07d" % i) + opcodes for i in range(count))
FOLDER = "m" * 900


def zipped(opcodes, *entries, folder="model"):
    return archive([entry(f"{folder}/data.pkl", b"\x80\2" + opcodes), entry(f"{folder}/data/0", bytes(64)), *entries], alignment=0, descriptors=False)


# Of a count, a file; all grow with it.
SHAPES = {
    "storages asked for again and again, by long names": lambda n: zipped(b"}" + STORAGE[:-1] + b"q\0Q" + b"0h\0Q" * (2 * n), *(entry(f"{FOLDER}/data/{i + 1:09}") for i in range(n // 200)), folder=FOLDER),
    "tensors, each of a storage of its own": lambda n: zipped(b"}(" + each(n // 20, PLAIN + b"R") + b"u."),
    "tensors of one long tuple": lambda n: zipped(b"ctorch._utils\n_rebuild_tensor_v2\nq\0(" + STORAGE + b"K\0(K\4K\4t(K\4K\1t\x89N" + b"N" * n + b"tq\1}(" + each(min(n // 3, 90_000), b"h\0h\1R") + b"u."),
    "objects of classes with long names": lambda n: zipped(text(b"a" * 1000) + b"q\0" + text(b"b" * 1000) + b"q\1}(" + each(n // 4, b"h\0h\1\x93)R") + b"u."),
    "weights of classes with long names": lambda n: zipped(text(b"a" * 120) + b"q\0" + text(b"b" * 120) + b"q\1}(" + text(b"pos_embed") + PLAIN + b"R" + each(n // 4, b"h\0h\1\x93)R") + b"u."),
    "tensors of one long name": lambda n: zipped(text(b"a" * 1000) + b"q\0}(h\0" + PLAIN + b"Rq\1" + b"h\0h\1" * n + b"u."),
    "one dict under many keys": lambda n: zipped(b"}q\0(" + b"K\1N" * n + b"u}(" + each(n // 3, b"h\0") + b"u."),
    "dicts in dicts": lambda n: zipped(b"}(" + each(n // 8, b"}" + text(b"model") + b"}" + text(b"pos_embed") + b"ca\nb\n)Rss") + b"u."),
    "one weight under one name": lambda n: zipped(b"ca\nb\n)Rq\1" + text(b"x_embedder.proj.weight") + b"q\0}(" + b"h\0h\1" * n + b"u."),
    "weights under many prefixes": lambda n: zipped(b"ca\nb\n)Rq\1}(" + b"".join(text(b"%06d.pos_embed" % i) + b"h\1" for i in range(n // 4)) + b"u."),
    "averages": lambda n: zipped(b"}(" + b"".join(text(b"ema_%06d" % i) + b"}" for i in range(n // 4)) + b"u."),
    "nested tuples": lambda n: zipped(b")" + b"\x85" * (3 * n) + b"."),
    "nested lists": lambda n: zipped(b"]" * (2 * n) + b"a" * (2 * n - 1) + b"."),
    "empty lists": lambda n: zipped(b"(" + b"]" * (3 * n) + b"t."),
    "lists of one": lambda n: zipped(b"(" + b"]K\1a" * n + b"t."),
    "values in the memo": lambda n: zipped(b"(" + b"N\x94" * n + b"t."),
    "objects with items": lambda n: zipped(b"ca\nb\nq\0(" + b"h\0)RNNs" * (n // 3) + b"t."),
    "one argument again and again": lambda n: zipped(text(b"a" * 1000) + b"q\0}(" + text(b"args") + b"}(" + b"h\0h\0" * n + b"u" + text(b"a") + PLAIN + b"Ru."),
    "digits": lambda n: zipped(b"(L" + b"1" * (10 * n) + b"L\nt."),
    "empty lines": lambda n: zipped(b"(" + b"V\n" * n + b"t."),
    "parameters of parameters": lambda n: zipped(b"ctorch._utils\n_rebuild_parameter\nq\x000}(" + each(n // 8, b"h\0h\0h\0h\0h\0" + PLAIN + b"R\x85R\x85R\x85R\x85R\x85R") + b"u."),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_costs_what_its_bytes_allow(shape):
    """Twice the bytes take about twice the time, and a few dozen times their memory, whatever they are: nothing that is named twice is looked at twice."""
    costs = []
    for count in (75_000, 300_000):
        data = SHAPES[shape](count)
        note(len(data))
        before, start = resident(), time.process_time()
        opened(data, **HEADS)
        costs.append((len(data), time.process_time() - start, resident() - before))
    (small, quick, _), (large, slow, memory) = costs
    assert slow < 0.1 + 3 * quick * large / small, f"{slow:.2f} s for {large} bytes, {quick:.2f} s for {small}"
    assert slow < 1e-6 * large + 0.5, f"{slow:.2f} s for {large} bytes"
    assert memory < 100 * large + (8 << 20), f"{memory} bytes of memory for {large}"


def resident():
    """The most bytes that this process has had in memory up to now."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
