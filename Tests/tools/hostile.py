#!/usr/bin/env python3
"""What hostile input costs: hostile.py prints, for each shape and size of input, CPU seconds and the most memory beside the input's own bytes.
hostile.py SHAPE BYTES [ROOM] measures one, within so many bytes of address space: a line of JSON {bytes, seconds, memory, status}.

Each is measured in a process of its own. Of a library that DITQ_LIBRARY names. What a shape is: a function
below, which makes a file that is opened, or a call.
"""
import ctypes
import json
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import ditq_c as ditq  # noqa: E402
import numpy as np  # noqa: E402
import safetensors_io  # noqa: E402

FLOAT = ditq.ROOT / "Tests/fuzz/models/float.safetensors"


def header_of(text):
    """The bytes of a safetensors file of this header and no data."""
    return struct.pack("<Q", len(text)) + text


def filled(size, first, item, last):
    """FIRST item(0), item(1), … LAST, as long as size."""
    parts, length, i = [], 0, 0
    while length < size:
        parts.append(item(i))
        length += len(parts[-1]) + 1
        i += 1
    return (first + ",".join(parts) + last).encode()


def opening(data, options=None):
    """How many bytes, and the call that opens them."""
    buffer, handle = np.frombuffer(data, np.uint8), ctypes.c_void_p()
    asked = None if options is None else ctypes.byref(options)
    return len(data), lambda: ditq.outcome(ditq.lib.ditq_model_open_memory, ditq.address(buffer), buffer.size, asked, ctypes.byref(handle))


# ---- Files, as bytes ----


def tensor(name):
    return f'"{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'


def arrays(size):
    return header_of(filled(size, '{"a":[', lambda i: "[]", "]}"))


def nested(size):
    return header_of(filled(size, '{"a":[', lambda i: "[" * 60 + "]" * 60, "]}"))


def numbers(size):
    return header_of(filled(size, '{"a":{"dtype":"F32","shape":[', lambda i: "1", '],"data_offsets":[0,0]}}'))


def members(size):
    return header_of(filled(size, '{"a":{', lambda i: f'"{i}":0', "}}"))


def metadata(size):
    return header_of(filled(size, '{"__metadata__":{', lambda i: f'"{i}":"x"', "}}"))


def long_string(size):
    return header_of(('{"__metadata__":{"a":"' + "x" * size + '"}}').encode())


def escapes(size):
    return header_of(('{"__metadata__":{"a":"' + "\\u00e4" * (size // 6) + '"}}').encode())


def tensors(size):
    return header_of(filled(size, "{", lambda i: tensor(str(i)), "}"))


def long_beginnings(size):
    return header_of(filled(size, "{", lambda i: tensor("x" * 1000 + f"{(i * 7919) % 1000003:08}"), "}"))


def duplicates(size):
    return header_of(filled(size, "{", lambda i: tensor("a"), "}"))


def zip_entries(size):
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for i in range(size // 120):
                archive.writestr(f"archive/data/{i:09}", b"")
        file.seek(0)
        return file.read()


# ---- Calls on them and others ----


def class_names(size):
    return opening_names([f"red apple {i}, ed apple" for i in range(size // 24)], b"red appla")


def opening_names(names, asked):
    parts = safetensors_io.read(FLOAT)
    parts["y_embedder.embedding_table.weight"] = np.zeros((len(names) + 1, 16), np.float16)
    config = {"head_count": 2, "class_names": names}
    data = np.frombuffer(safetensors_io.encode(parts, {"ditq.config": json.dumps(config)}), np.uint8)
    handle, label = ctypes.c_void_p(), ctypes.c_int32()
    ditq.call(ditq.lib.ditq_model_open_memory, ditq.address(data), data.size, None, ctypes.byref(handle))
    return sum(map(len, names)), lambda: ditq.outcome(ditq.lib.ditq_model_find_class, handle, asked, ctypes.byref(label))


def near_aliases(size):
    return opening_names([",".join(f"ab{i % 10}c" for i in range(100)) for _ in range(size // 500)], b"abxc")


def png_texts(size):
    pixels, texts = np.zeros((8, 8, 3), np.uint8), (ditq.PngText * min(size // 16, 1 << 16))()
    for text in texts:
        text.key, text.text = b"Title", b"0123456789"
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/x.png".encode()
    return 16 * len(texts), lambda: (ditq.outcome(ditq.lib.ditq_png_write, path, ditq.address(pixels), 8, 8, 3, texts, len(texts)), folder)[0]


FILES = {shape.__name__: shape for shape in (
    arrays, nested, numbers, members, metadata, long_string, escapes, tensors, long_beginnings, duplicates, zip_entries,
)}  # fmt: skip
SHAPES = {name: lambda size, shape=shape: opening(shape(size)) for name, shape in FILES.items()} | {
    shape.__name__: shape for shape in (class_names, near_aliases, png_texts)
}


def virtual_size():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def measure(shape, size, room=None):
    count, call = SHAPES[shape](size)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest resident size begins anew
    peak = lambda: int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024  # noqa: E731
    before, limits = peak(), resource.getrlimit(resource.RLIMIT_AS)
    if room:
        resource.setrlimit(resource.RLIMIT_AS, (virtual_size() + room, limits[1]))
    began = time.process_time()
    status, message = call()
    seconds = time.process_time() - began
    resource.setrlimit(resource.RLIMIT_AS, limits)
    return {"bytes": count, "seconds": seconds, "memory": peak() - before, "status": status, "message": message}


def measured(shape, size, room=None):
    """The same in a process of its own; a process that was ended raises CalledProcessError."""
    arguments = [sys.executable, __file__, shape, str(size)] + ([str(room)] if room else [])
    return json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=120).stdout)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
        sys.exit()
    print(f"{'shape':16} {'megabytes':>9} {'seconds':>8} {'s/MB':>7} {'memory MB':>9}  status")
    for shape in SHAPES:
        for size in (1 << 18, 1 << 20, 1 << 22):
            m = measured(shape, size)
            megabytes = m["bytes"] / 1e6
            print(f"{shape:16} {megabytes:9.2f} {m['seconds']:8.3f} {m['seconds'] / megabytes:7.3f} {m['memory'] / 1e6:9.1f}  {ditq.STATUS_NAMES[m['status']]}", flush=True)
