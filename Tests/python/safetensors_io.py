"""Reads and writes safetensors files with numpy alone: the tests must not depend on the package whose format they check.

The file: 8 bytes little-endian length of the header, the header (JSON), then the tensors at the offsets that the header gives.
"""
import json
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}
NAMES = {np.dtype(t): name for name, t in DTYPES.items() if name != "BF16"}


class BF16(np.ndarray):
    """Bits of bfloat16 numbers: the upper halves of float32 numbers, which numpy has no type for."""

    @staticmethod
    def rounded(values):
        """float32 to bfloat16, to nearest, ties to even."""
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).reshape(values.shape).view(BF16)

    def widened(self):
        return (self.view(np.ndarray).astype(np.uint32) << 16).view(np.float32)


def read_header(data):
    """(the header as a dict, where the tensors begin)"""
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(bytes(data[8 : 8 + length])), 8 + length


def read(path):
    """{name: array}, without the metadata."""
    data = path.read_bytes()
    header, start = read_header(data)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data, DTYPES[entry["dtype"]], offset=start + begin, count=(end - begin) // np.dtype(DTYPES[entry["dtype"]]).itemsize)
        array = array.reshape(entry["shape"])
        tensors[name] = array.view(BF16) if entry["dtype"] == "BF16" else array
    return tensors


def join(header, body):
    """The bytes of a file with this header, a dict or ready-made JSON text, padded to a multiple of eight as the format advises."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def header_of(tensors, metadata=None):
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        dtype = "BF16" if isinstance(array, BF16) else NAMES[array.dtype]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    return header


def encode(tensors, metadata=None):
    """The bytes of a safetensors file."""
    return join(header_of(tensors, metadata), b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values()))


def write_shards(folder, stem, tensors, count):
    """The tensors in `count` files with an index, as save_pretrained writes them: STEM-00001-of-0000N.safetensors, STEM.safetensors.index.json."""
    names, weight_map = list(tensors), {}
    for i in range(count):
        part = names[i * len(names) // count : (i + 1) * len(names) // count]
        file = f"{stem}-{i + 1:05}-of-{count:05}.safetensors"
        (folder / file).write_bytes(encode({name: tensors[name] for name in part}, {"format": "pt"}))
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2))
