"""Hostile and unfit checkpoints of torch.save: whatever a pickle or a zip holds, opening it answers with a status and a sentence, and runs nothing."""
import pickle
import shutil
import struct

import numpy as np
import pytest
import torch_io
from conftest import FIXTURES, note
from ditq_c import MALFORMED, NOT_FOUND, OK, UNSUPPORTED
from test_bad_input import flips, not_opened, opened, tried
from test_golden import WEIGHTS
from test_torch_files import HEADS, official
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


@pytest.mark.parametrize("value, words, names", [
    (torch_io.Called("os.system", "touch /tmp/owned"), ["os.system", "nothing is imported or executed"], ["os.system"]),
    (torch_io.Called("builtins.eval", "1"), ["builtin", ".eval"], ["builtins.eval"]),
    (torch_io.Called("numpy.core.multiarray.scalar", 1), ["numpy.core.multiarray.scalar"], ["numpy.core.multiarray.scalar"]),
    (torch_io.Called("torch.nn.modules.linear.Linear"), ["torch.nn.modules.linear.Linear"], ["torch.nn.modules.linear.Linear"]),
    (torch_io.Called("torch._utils._rebuild_qtensor", 1), ["torch._utils._rebuild_qtensor"], ["torch._utils._rebuild_qtensor"]),
])  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_class_or_function_is_refused_by_its_name(value, words, names, protocol):
    for saved in (value, {"ema": official(), "opt": value}):
        not_opened(torch_io.save(saved, protocol, names), UNSUPPORTED, "data.pkl: byte", *words, **HEADS)


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
    "an unknown opcode": (b"\xff.", UNSUPPORTED), "text opcodes": (b"I1\n.", UNSUPPORTED), "an instance": (b"(ios\nsystem\n.", UNSUPPORTED),
    "an extension": (b"\x82\1.", UNSUPPORTED), "a later protocol": (b"\x80\6}.", UNSUPPORTED), "a buffer out of band": (b"\x97.", UNSUPPORTED),
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
    "a number that is called": (b"K\1)R.", MALFORMED), "a name called with a number": (b"ccollections\nOrderedDict\nK\1R.", MALFORMED), "a dtype that is called": (b"ctorch\nfloat32\n)R.", MALFORMED),
    "a tensor of nothing": (REBUILD + b")R.", MALFORMED), "a storage that is a number": (tensor(storage=b"K\0"), MALFORMED), "state for a tensor": (tensor()[:-2] + b"}bs.", UNSUPPORTED),
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
