"""include/ditq.h as ctypes sees it: the one file of the package that knows C.

Finds and loads the library, and refuses one whose structs differ from those declared here, by ditq_abi_layout(). `lib` has the functions under their own
names; `call` runs one and raises the exception of its status. ctypes releases the GIL while a function runs.
"""
from __future__ import annotations

import ctypes
import json
import operator
import os
import pathlib
import site
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from typing import Any, Iterable, Union

from .errors import BY_STATUS

ABI_VERSION = 1

# ---- Numbers ----

Status = IntEnum(
    "Status", "OK INVALID_ARGUMENT NOT_FOUND IO_FAILED MALFORMED UNSUPPORTED OUT_OF_MEMORY CANCELLED CHECKSUM_MISMATCH INTERNAL", start=0
)
Phase = IntEnum("Phase", "LOAD CALIBRATE QUANTIZE DENOISE DECODE", start=0)
Compatibility = IntEnum("Compatibility", "AUTO OFFICIAL DIFFUSERS", start=0)
Isa = IntEnum("Isa", "BEST GENERIC AVX2 AVX512VNNI NEON_DOT NEON_I8MM", start=0)
Random = IntEnum("Random", "TORCH PHILOX", start=0)
ActivationMode = IntEnum("ActivationMode", "AUTO STATIC STATIC_PER_STEP DYNAMIC_PER_TOKEN NONE", start=0)
Observer = IntEnum("Observer", "MINMAX PERCENTILE MSE", start=0)
WeightMethod = IntEnum("WeightMethod", "AUTO ROUND MSE GPTQ", start=0)
KEEP_FLOAT = 32


def number(kind: type[IntEnum], value: Union[str, int]) -> int:
    """The number of an enumerator: "ddim" and Sampler.DDIM are 1."""
    if not isinstance(value, str):
        return int(kind(value))
    if value.upper() not in kind.__members__:
        raise ValueError(f"{kind.__name__}: {', '.join(kind.__members__).lower()} expected, {value!r} found")
    return int(kind[value.upper()])


# ---- Structs ----


INTEGERS = {c_int32: (-(1 << 31), (1 << 31) - 1), c_uint32: (0, (1 << 32) - 1), c_int64: (-(1 << 63), (1 << 63) - 1), c_uint64: (0, (1 << 64) - 1)}


def integer(name: str, value: Any, kind: Any = c_int32) -> int:
    """A number that C takes whole; ctypes would cut it."""
    low, high = INTEGERS[kind]
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: a whole number expected, {value!r} found") from None
    if not low <= number <= high:
        raise ValueError(f"{name}: a number from {low} to {high} expected, {number} found")
    return number


def text(value: Union[str, bytes]) -> bytes:
    """A string that C takes whole, as UTF-8."""
    encoded = value if isinstance(value, bytes) else value.encode("utf-8")
    if b"\0" in encoded:
        raise ValueError(f"a text without null characters expected, {value!r} found")
    return encoded


def path(value: Union[str, os.PathLike[str]]) -> bytes:
    return text(os.fsencode(value))


class Sized(Structure):
    """A struct of ditq.h: struct_size is filled in, everything else is 0."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.struct_size = ctypes.sizeof(self)
        known = [name for name, *_ in self._fields_]
        for name, value in fields.items():
            if name not in known:
                raise TypeError(f"{type(self).__name__}: one of {', '.join(known[1:])} expected, {name!r} found")
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = {known: kind for known, kind, *_ in self._fields_}.get(name)
        super().__setattr__(name, integer(name, value, kind) if kind in INTEGERS else value)


class Error(Sized):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("message", c_char * 504)]


ALLOCATE = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
DEALLOCATE = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)


class Allocator(Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("context", c_void_p), ("allocate", ALLOCATE), ("deallocate", DEALLOCATE)]


READ = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_void_p, c_size_t)


class Reader(Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("context", c_void_p), ("size", c_uint64), ("read", READ)]


class Progress(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("phase", c_int32), ("done", c_int64), ("total", c_int64), ("elapsed_seconds", c_double), ("latents", POINTER(c_float)),
    ]  # fmt: skip


PROGRESS_CALLBACK = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))


class ModelOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("compatibility", c_int32), ("allocator", POINTER(Allocator)), ("expected_sha256", c_char_p),
        ("progress", PROGRESS_CALLBACK), ("progress_context", c_void_p), ("head_count", c_int32), ("reserved", c_int32),
        ("config_json", c_char_p), ("decoder", c_char_p), ("variant", c_char_p),
    ]  # fmt: skip


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("image_height", c_int32), ("image_width", c_int32), ("image_channels", c_int32), ("latent_height", c_int32),
        ("latent_width", c_int32), ("latent_channels", c_int32), ("patch_size", c_int32), ("hidden_size", c_int32), ("depth", c_int32), ("head_count", c_int32),
        ("class_count", c_int32), ("weight_bits", c_int32), ("weight_group", c_int32), ("activation_bits", c_int32), ("has_decoder", c_int32),
        ("parameter_count", c_uint64), ("weights_size", c_uint64), ("macs_per_forward", c_uint64), ("output_channels", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class SessionInfo(Sized):
    _fields_ = [("struct_size", c_uint32), ("isa", c_int32), ("threads", c_int32), ("batch_limit", c_int32), ("memory_size", c_uint64)]


class RunInfo(Sized):
    _fields_ = [("struct_size", c_uint32), ("sampler", c_int32), ("steps", c_int32), ("steps_taken", c_int32), ("count", c_uint64)]


class SessionOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("threads", c_int32), ("batch_limit", c_int32), ("isa_limit", c_int32), ("allocator", POINTER(Allocator)),
        ("arena", c_void_p), ("arena_size", c_size_t),
    ]  # fmt: skip


class GenerateOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("sampler", c_int32), ("steps", c_int32), ("random", c_int32), ("guidance_scale", c_double), ("guidance_begin", c_double),
        ("guidance_end", c_double), ("guidance_channels", c_int32), ("reserved", c_int32), ("eta", c_double), ("noise", c_void_p),
        ("progress", PROGRESS_CALLBACK), ("progress_context", c_void_p),
    ]  # fmt: skip


class PngText(Structure):
    _fields_ = [("key", c_char_p), ("text", c_char_p)]


class LinearOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("weight_bits", c_int32), ("weight_group", c_int32), ("weight_method", c_int32), ("activation_mode", c_int32),
        ("isa_limit", c_int32), ("activation_min", c_float), ("activation_max", c_float), ("allocator", POINTER(Allocator)),
    ]  # fmt: skip


class LayerRule(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("weight_bits", c_int32), ("weight_group", c_int32), ("activation_bits", c_int32), ("pattern", c_char_p),
    ]  # fmt: skip


class QuantizeOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("weight_bits", c_int32), ("weight_group", c_int32), ("weight_method", c_int32), ("activation_bits", c_int32),
        ("activation_mode", c_int32), ("observer", c_int32), ("calibration_steps", c_int32), ("calibration_total_steps", c_int32),
        ("calibration_samples", c_int32), ("calibration_seed", c_uint64), ("balance_channels", c_int32), ("threads", c_int32),
        ("error_budget_db", c_double), ("rules", POINTER(LayerRule)), ("rule_count", c_size_t), ("progress", PROGRESS_CALLBACK),
        ("progress_context", c_void_p),
    ]  # fmt: skip


class CompareOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("steps", c_int32), ("samples", c_int32), ("threads", c_int32), ("seed", c_uint64), ("free_running", c_int32),
        ("reserved", c_int32), ("progress", PROGRESS_CALLBACK), ("progress_context", c_void_p),
    ]  # fmt: skip


STRUCTS: dict[str, Any] = {
    "ditq_compare_options": CompareOptions,
    "ditq_layer_rule": LayerRule, "ditq_quantize_options": QuantizeOptions,
    "ditq_error": Error, "ditq_allocator": Allocator, "ditq_reader": Reader, "ditq_progress": Progress, "ditq_model_options": ModelOptions,
    "ditq_model_info": ModelInfo, "ditq_session_info": SessionInfo, "ditq_run_info": RunInfo,
    "ditq_session_options": SessionOptions, "ditq_generate_options": GenerateOptions, "ditq_png_text": PngText, "ditq_linear_options": LinearOptions,
}  # fmt: skip

# ---- Functions: (name, result, arguments); handles and arrays are c_void_p ----

MODEL = SESSION = RUN = LINEAR = REPORT = ARRAY = c_void_p
OUT_HANDLE, OUT_SIZE, ERROR, OUT_LABEL = POINTER(c_void_p), POINTER(c_size_t), POINTER(Error), POINTER(c_int32)
PNG = [ARRAY, c_int32, c_int32, c_int32, POINTER(PngText), c_size_t]
PROTOTYPES = {
    "ditq_abi_version": (c_uint32, []),
    "ditq_version": (c_char_p, []),
    "ditq_abi_layout": (c_char_p, []),
    "ditq_status_name": (c_char_p, [c_int32]),
    "ditq_model_open": (c_int32, [c_char_p, POINTER(ModelOptions), OUT_HANDLE, ERROR]),
    "ditq_model_open_memory": (c_int32, [ARRAY, c_size_t, POINTER(ModelOptions), OUT_HANDLE, ERROR]),
    "ditq_model_open_reader": (c_int32, [POINTER(Reader), POINTER(ModelOptions), OUT_HANDLE, ERROR]),
    "ditq_model_close": (None, [MODEL]),
    "ditq_model_describe": (c_int32, [MODEL, POINTER(ModelInfo), ERROR]),
    "ditq_model_describe_json": (c_int32, [MODEL, ARRAY, c_size_t, OUT_SIZE, ERROR]),
    "ditq_model_class_name": (c_char_p, [MODEL, c_int32]),
    "ditq_model_find_class": (c_int32, [MODEL, c_char_p, OUT_LABEL, ERROR]),
    "ditq_quantize_options_init": (None, [POINTER(QuantizeOptions)]),
    "ditq_quantize": (c_int32, [MODEL, POINTER(QuantizeOptions), OUT_HANDLE, ERROR]),
    "ditq_compare": (c_int32, [MODEL, MODEL, POINTER(CompareOptions), OUT_HANDLE, ERROR]),
    "ditq_report_json": (c_char_p, [REPORT]),
    "ditq_report_csv": (c_char_p, [REPORT]),
    "ditq_report_sqnr_db": (c_double, [REPORT, c_int32]),
    "ditq_report_destroy": (None, [REPORT]),
    "ditq_model_save": (c_int32, [MODEL, c_char_p, ERROR]),
    "ditq_model_verify": (c_int32, [MODEL, ERROR]),
    "ditq_session_memory": (c_int32, [MODEL, POINTER(SessionOptions), OUT_SIZE, ERROR]),
    "ditq_session_create": (c_int32, [MODEL, POINTER(SessionOptions), OUT_HANDLE, ERROR]),
    "ditq_session_destroy": (None, [SESSION]),
    "ditq_session_cancel": (None, [SESSION]),
    "ditq_session_describe": (c_int32, [SESSION, POINTER(SessionInfo), ERROR]),
    "ditq_session_describe_json": (c_int32, [SESSION, ARRAY, c_size_t, OUT_SIZE, ERROR]),
    "ditq_sampler_name": (c_char_p, [c_int32]),
    "ditq_generate_options_init": (None, [POINTER(GenerateOptions)]),
    "ditq_generate": (c_int32, [SESSION, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), ARRAY, c_size_t, ERROR]),
    "ditq_denoise": (c_int32, [SESSION, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), ARRAY, c_size_t, ERROR]),
    "ditq_decode": (c_int32, [SESSION, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_decode_float": (c_int32, [SESSION, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_predict": (c_int32, [SESSION, ARRAY, ARRAY, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_run_create": (c_int32, [MODEL, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), OUT_HANDLE, ERROR]),
    "ditq_run_step": (c_int32, [RUN, SESSION, OUT_LABEL, ERROR]),
    "ditq_run_describe": (c_int32, [RUN, POINTER(RunInfo), ERROR]),
    "ditq_run_latents": (c_int32, [RUN, ARRAY, ARRAY, c_size_t, ERROR]),
    "ditq_run_save": (c_int32, [RUN, ARRAY, c_size_t, OUT_SIZE, ERROR]),
    "ditq_run_restore": (c_int32, [MODEL, ARRAY, c_size_t, OUT_HANDLE, ERROR]),
    "ditq_run_destroy": (None, [RUN]),
    "ditq_png_write": (c_int32, [c_char_p, *PNG, ERROR]),
    "ditq_png_encode": (c_int32, [*PNG, ARRAY, c_size_t, OUT_SIZE, ERROR]),
    "ditq_linear_create": (c_int32, [ARRAY, ARRAY, c_int32, c_int32, POINTER(LinearOptions), OUT_HANDLE, ERROR]),
    "ditq_linear_apply": (c_int32, [LINEAR, ARRAY, c_size_t, ARRAY, c_int32, ERROR]),
    "ditq_linear_destroy": (None, [LINEAR]),
}


# ---- Loading ----

NAME = "libditq.so.1"


def candidates() -> list[str]:
    """Where the library may be: what DITQ_LIBRARY names and nothing else; or beside this file, under Python's prefix, in ~/.local, where the system looks."""
    named = os.environ.get("DITQ_LIBRARY")
    if named:
        return [os.path.abspath(named)]
    return [str(pathlib.Path(__file__).with_name(NAME)), *(os.path.join(prefix, "lib", NAME) for prefix in (sys.prefix, site.getuserbase())), NAME]


def load() -> ctypes.CDLL:
    failures = []
    for path in candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as failure:
            failures.append(f"\n  {path}: {failure}")
            continue
        check_version(library)
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        check_layout(library.ditq_abi_layout())
        return library
    raise ImportError(
        f"{NAME} was not found. Install it with `make install` of libditq, or name it in DITQ_LIBRARY. Looked at:" + "".join(failures)
    )


def check_version(library: ctypes.CDLL) -> None:
    version = library.ditq_abi_version()
    if version != ABI_VERSION:
        raise ImportError(f"{library._name}: ABI version {ABI_VERSION} expected, {version} found")


def layout() -> dict[str, Any]:
    """The structs above, in the form of ditq_abi_layout()."""
    return {
        name: {"size": ctypes.sizeof(struct), "fields": {field: [getattr(struct, field).offset, getattr(struct, field).size] for field, _ in struct._fields_}}
        for name, struct in STRUCTS.items()
    }


def check_layout(text: bytes) -> None:
    """The library's structs are those above, or have grown at the end, as those of a later version may."""
    theirs = json.loads(text)
    for name, ours in layout().items():
        found = theirs.get(name, {"size": 0, "fields": {}})
        if found["size"] < ours["size"] or any(found["fields"].get(field) != place for field, place in ours["fields"].items()):
            raise ImportError(f"{name}: {ours} expected, the library has {found}")


lib = load()


def names(function: Any) -> list[str]:
    """The names that the library gives numbers from 0 on."""
    found: list[str] = []
    while (name := function(len(found))) is not None:
        found.append(name.decode())
    return found


Sampler: Any = IntEnum("Sampler", [name.upper() for name in names(lib.ditq_sampler_name)], start=0)  # type: ignore[misc]
"""The library's own list: AUTO, DDIM, …"""

# ---- Calling ----


def call(function: Any, *arguments: Any) -> None:
    """function(*arguments, &error), and the exception of a status that is not DITQ_OK."""
    error = Error()
    status = function(*arguments, byref(error))
    if status != Status.OK:
        raise BY_STATUS[status](error.message.decode("utf-8"))


def created(function: Any, *arguments: Any) -> int:
    """The handle that a call makes."""
    handle = c_void_p()
    call(function, *arguments, byref(handle))
    return handle.value or 0


def counted(function: Any, *arguments: Any) -> int:
    """The number that a call writes."""
    count = c_int32()
    call(function, *arguments, byref(count))
    return count.value


def described(function: Any, handle: int) -> dict[str, Any]:
    """What a describe_json call says."""
    found: dict[str, Any] = json.loads(bytes_of(function, handle)[:-1])
    return found


def bytes_of(function: Any, *arguments: Any) -> bytes:
    """A call that fills a buffer and says how much it needs."""
    needed = c_size_t()
    call(function, *arguments, None, 0, byref(needed))
    buffer = ctypes.create_string_buffer(needed.value)
    call(function, *arguments, buffer, needed.value, byref(needed))
    return buffer.raw


def default(struct: type[Sized], init: Any = None) -> Any:
    """Options with the library's defaults."""
    options = struct()
    if init:
        init(byref(options))
    return options


def writable(buffer: Any) -> Any:
    """The memory of a writable buffer, as an argument."""
    return (c_char * memoryview(buffer).nbytes).from_buffer(buffer)


def readable(view: memoryview) -> Any:
    """What a buffer holds, as an argument; ctypes reaches the memory of a writable one only."""
    return view.tobytes() if view.readonly else writable(view)


def int32s(values: Iterable[int]) -> Any:
    numbers = [integer("label", value) for value in values]
    return (c_int32 * len(numbers))(*numbers)


def uint64s(values: Iterable[int]) -> Any:
    numbers = [integer("seed", value, c_uint64) for value in values]
    return (c_uint64 * len(numbers))(*numbers)


def rules(values: Iterable[dict[str, Any]]) -> Any:
    """What a rule does not mention stays as the options say."""
    found = [LayerRule(**{"weight_group": -1} | value | {"pattern": text(value["pattern"])}) for value in values]
    return (LayerRule * len(found))(*found)


def png_texts(texts: dict[str, str]) -> Any:
    return (PngText * len(texts))(*(PngText(text(key.encode("latin-1")), text(value)) for key, value in texts.items()))
