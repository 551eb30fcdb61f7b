"""Writes checkpoints as torch.save does, with the standard library and numpy alone: a pickle whose storages are persistent ids, in a zip of stored entries.

`save` is the whole of it. `dumps` makes the pickle (or a hostile one is written by hand, from its opcodes) and `archive` the zip, each entry of which may
lie about any field of its headers.
"""
import argparse
import contextlib
import io
import pickle
import struct
import sys
import types
import zlib
from collections import OrderedDict

import numpy as np
from safetensors_io import BF16

CLASSES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage", "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage", "bool": "BoolStorage", "complex64": "ComplexFloatStorage", "complex128": "ComplexDoubleStorage"}


class Storage:
    """The numbers of an array in the order of memory."""

    def __init__(self, array, is_bf16=False):
        self.array = array.T if array.flags.f_contiguous else array
        assert self.array.flags.c_contiguous
        self.type = "BFloat16Storage" if is_bf16 else CLASSES[array.dtype.name]


class Tensor:
    """A numpy array as torch keeps it; a view keeps the storage and the strides of what it is a view of."""

    def __init__(self, array):
        root = array
        while isinstance(root.base, np.ndarray) and root.base.dtype == array.dtype and not array.flags.c_contiguous:
            root = root.base
        self.storage = Storage(root, isinstance(array, BF16))
        self.shape, self.strides = array.shape, tuple(s // array.itemsize for s in array.strides)
        self.offset = (array.__array_interface__["data"][0] - root.__array_interface__["data"][0]) // array.itemsize


class Named:
    """A class or function that a pickle names and that need not exist."""

    def __init__(self, name):
        self.module, self.name = name.rsplit(".", 1)


class Called:
    """What a pickle makes by calling a name, perhaps with others among its arguments; `state` goes into it afterwards."""

    def __init__(self, name, *arguments, state=None):
        self.parts = (Named(name), arguments) + (() if state is None else (state,))


class AsItself:
    """An array that is pickled as numpy does it, and no tensor."""

    def __init__(self, array):
        self.array = array


class Outside:
    """What a pickle only refers to, by an id of any kind."""

    def __init__(self, id):
        self.id = id


@contextlib.contextmanager
def standing_in():
    """Stand-ins for classes, and modules where there are none, made as they are named, so that pickle agrees to name them."""
    modules, replaced = dict(sys.modules), []

    def find(named):
        for i in range(named.module.count(".") + 1):
            sys.modules.setdefault(part := ".".join(named.module.split(".")[: i + 1]), types.ModuleType(part))
        module = sys.modules[named.module]
        if getattr(getattr(module, named.name, None), "stands_in", None) != named.module:
            replaced.append((module, named.name, getattr(module, named.name, None)))
            setattr(module, named.name, type(named.name, (), {"__module__": named.module, "__qualname__": named.name, "stands_in": named.module}))
        return getattr(module, named.name)

    try:
        yield find
    finally:
        for module, name, value in reversed(replaced):
            delattr(module, name) if value is None else setattr(module, name, value)
        sys.modules.clear()
        sys.modules.update(modules)


def dumps(value, protocol=2):
    """(the pickle of a value, its storages): arrays become tensors."""
    storages, keys = [], {}
    with standing_in() as find:

        class Pickler(pickle.Pickler):
            def persistent_id(self, thing):
                if isinstance(thing, Outside):
                    return thing.id
                if not isinstance(thing, Storage):
                    return None
                place = thing.array.ctypes.data
                if place not in keys:
                    keys[place] = str(len(storages))
                    storages.append(thing.array)
                return ("storage", find(Named("torch." + thing.type)), keys[place], "cpu", thing.array.size)

            def reducer_override(self, thing):
                if isinstance(thing, np.ndarray):
                    thing = Tensor(thing)
                if isinstance(thing, Tensor):
                    return find(Named("torch._utils._rebuild_tensor_v2")), (thing.storage, thing.offset, thing.shape, thing.strides, False, OrderedDict())
                if isinstance(thing, AsItself):
                    return thing.array.__reduce__()
                if isinstance(thing, Called):
                    function, arguments, *state = thing.parts
                    return (find(function), tuple(find(each) if isinstance(each, Named) else each for each in arguments), *state)
                return NotImplemented

        file = io.BytesIO()
        Pickler(file, protocol).dump(value)
    return file.getvalue(), storages


# ---- The zip ----


def entry(name, data=b"", **lies):
    """An entry. `lies`: central_FIELD and local_FIELD replace a field of that header: flags, method, packed, size, name, extra, offset."""
    return {"name": name.encode() if isinstance(name, str) else name, "data": data, "lies": lies}


def header(kind, entry, data, offset, flags):
    fields = {"flags": flags, "method": 0, "crc": zlib.crc32(data), "packed": len(data), "size": len(data), "name": entry["name"], "extra": b"", "offset": offset}
    if kind == "local" and flags & 8:
        fields |= {"crc": 0, "packed": 0, "size": 0}
    fields |= {key.removeprefix(kind + "_"): value for key, value in entry["lies"].items() if key.startswith(kind + "_")}
    common = struct.pack("<HHHHIII", fields["flags"], fields["method"], 0, 0, fields["crc"], fields["packed"], fields["size"]) + struct.pack("<HH", len(fields["name"]), len(fields["extra"]))
    if kind == "local":
        return b"PK\3\4" + struct.pack("<H", 0) + common + fields["name"] + fields["extra"]
    return b"PK\1\2" + struct.pack("<HH", 0, 0) + common + struct.pack("<HHHII", 0, 0, 0, 0, fields["offset"]) + fields["name"] + fields["extra"]


def archive(entries, zip64=True, descriptors=True, alignment=64, comment=b"", **lies):
    """The bytes of a zip as torch writes it: the data aligned by extra fields, sizes behind them. `lies`: count, size, start of the directory."""
    flags, out, directory = 0x808 if descriptors else 0x800, b"", b""
    for e in entries:
        offset, local = len(out), header("local", e, e["data"], len(out), flags)
        if "local_extra" not in e["lies"] and alignment:
            room = -(offset + len(local) + 4) % alignment
            e = e | {"lies": e["lies"] | {"local_extra": b"FB" + struct.pack("<H", room) + b"Z" * room}}
            local = header("local", e, e["data"], offset, flags)
        out += local + e["data"] + (b"PK\7\x08" + struct.pack("<III", zlib.crc32(e["data"]), len(e["data"]), len(e["data"])) if descriptors else b"")
        directory += header("central", e, e["data"], offset, flags)
    fields = {"count": len(entries), "size": len(directory), "start": len(out)} | lies
    end64 = b""
    if zip64:
        end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 0, 45, 0, 0, fields["count"], fields["count"], fields["size"], fields["start"])
        end64 += b"PK\6\7" + struct.pack("<IQI", 0, len(out) + len(directory), 1)
    count, size, start = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if zip64 else (fields["count"] & 0xFFFF, fields["size"] & 0xFFFFFFFF, fields["start"] & 0xFFFFFFFF)
    return out + directory + end64 + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, size, start, len(comment)) + comment


def members(data, storages, folder="model", byteorder=b"little"):
    """The entries that torch.save makes of a pickle and its storages."""
    numbers = [entry(f"{folder}/data/{key}", array.tobytes()) for key, array in enumerate(storages)]
    return [entry(f"{folder}/data.pkl", data), entry(f"{folder}/byteorder", byteorder), *numbers, entry(f"{folder}/version", b"3\n")]


def save(value, protocol=2, **zip_options):
    """The bytes of torch.save(value); arrays in it are tensors."""
    return archive(members(*dumps(value, protocol)), **zip_options)


def training(model, ema):
    """What the public training script saves."""
    return {"model": model, "ema": ema, "opt": {"state": {0: {"step": np.float32([3]), "exp_avg": ema["pos_embed"]}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}]}, "args": argparse.Namespace(model="DiT-XL/2", lr=1e-4, seed=None, big=1 << 70)}
