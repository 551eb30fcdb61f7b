"""include/ditq.h as Python's ctypes sees it, declared by hand and checked against ditq_abi_layout() when it is imported.

The library is the one that DITQ_LIBRARY names, else the Embedded build. Functions are in `lib`, under their own names and with their own arguments;
`call` runs one and raises DitqFailure. Model and Session are thin: they keep alive what the library points to, and shape arrays.
"""
import ctypes
import json
import os
import pathlib
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = pathlib.Path(os.environ.get("DITQ_LIBRARY") or ROOT / ".build-embedded/release/libditq.so").resolve()

# ---- Numbers ----

(OK, INVALID_ARGUMENT, NOT_FOUND, IO_FAILED, MALFORMED, UNSUPPORTED, OUT_OF_MEMORY, CANCELLED, CHECKSUM_MISMATCH, INTERNAL) = range(10)
STATUS_NAMES = (
    "DITQ_OK", "DITQ_INVALID_ARGUMENT", "DITQ_NOT_FOUND", "DITQ_IO_FAILED", "DITQ_MALFORMED", "DITQ_UNSUPPORTED", "DITQ_OUT_OF_MEMORY", "DITQ_CANCELLED",
    "DITQ_CHECKSUM_MISMATCH", "DITQ_INTERNAL",
)  # fmt: skip
COMPATIBILITY_AUTO, COMPATIBILITY_OFFICIAL, COMPATIBILITY_DIFFUSERS = range(3)
ISA_BEST, ISA_GENERIC, ISA_AVX2, ISA_AVX512VNNI = range(4)
SAMPLER_AUTO, SAMPLER_DDIM, SAMPLER_DDPM, SAMPLER_DPMPP_2M, SAMPLER_FLOW_EULER = range(5)
RANDOM_TORCH, RANDOM_PHILOX = range(2)
PHASE_LOAD, PHASE_CALIBRATE, PHASE_QUANTIZE, PHASE_DENOISE, PHASE_DECODE = range(5)
KEEP_FLOAT = 32

# ---- Structs ----


class Sized(Structure):
    """A struct of ditq.h: struct_size is filled in, everything else is 0."""

    def __init__(self, **fields):
        super().__init__(**fields)
        if "struct_size" not in fields:
            self.struct_size = ctypes.sizeof(self)


class Error(Sized):
    _fields_ = [("struct_size", c_uint32), ("status", c_int32), ("message", c_char * 504)]


ALLOCATE = CFUNCTYPE(c_void_p, c_void_p, c_size_t, c_size_t)
DEALLOCATE = CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_size_t)


class Allocator(Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("context", c_void_p), ("allocate", ALLOCATE), ("deallocate", DEALLOCATE)]


class Progress(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("phase", c_int32), ("done", c_int64), ("total", c_int64), ("elapsed_seconds", c_double), ("latents", POINTER(c_float)),
    ]  # fmt: skip


PROGRESS_CALLBACK = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress))


class ModelOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("compatibility", c_int32), ("allocator", POINTER(Allocator)), ("expected_sha256", c_char_p),
        ("progress", PROGRESS_CALLBACK), ("progress_context", c_void_p), ("head_count", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("image_height", c_int32), ("image_width", c_int32), ("image_channels", c_int32), ("latent_height", c_int32),
        ("latent_width", c_int32), ("latent_channels", c_int32), ("patch_size", c_int32), ("hidden_size", c_int32), ("depth", c_int32), ("head_count", c_int32),
        ("class_count", c_int32), ("weight_bits", c_int32), ("weight_group", c_int32), ("activation_bits", c_int32), ("has_decoder", c_int32),
        ("parameter_count", c_uint64), ("weights_size", c_uint64), ("macs_per_forward", c_uint64),
    ]  # fmt: skip


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


STRUCTS = {
    "ditq_compare_options": CompareOptions,
    "ditq_layer_rule": LayerRule, "ditq_quantize_options": QuantizeOptions,
    "ditq_error": Error, "ditq_allocator": Allocator, "ditq_progress": Progress, "ditq_model_options": ModelOptions, "ditq_model_info": ModelInfo,
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
    "ditq_session_describe_json": (c_int32, [SESSION, ARRAY, c_size_t, OUT_SIZE, ERROR]),
    "ditq_generate_options_init": (None, [POINTER(GenerateOptions)]),
    "ditq_generate": (c_int32, [SESSION, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), ARRAY, c_size_t, ERROR]),
    "ditq_denoise": (c_int32, [SESSION, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), ARRAY, c_size_t, ERROR]),
    "ditq_decode": (c_int32, [SESSION, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_decode_float": (c_int32, [SESSION, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_predict": (c_int32, [SESSION, ARRAY, ARRAY, ARRAY, c_size_t, ARRAY, c_size_t, ERROR]),
    "ditq_run_create": (c_int32, [MODEL, ARRAY, ARRAY, c_size_t, POINTER(GenerateOptions), OUT_HANDLE, ERROR]),
    "ditq_run_step": (c_int32, [RUN, SESSION, OUT_LABEL, ERROR]),
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


def load(path):
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def check_layout(text):
    """Every struct of the library has the size, the fields and the offsets of the one above."""
    theirs = json.loads(text)
    ours = {
        name: {"size": ctypes.sizeof(struct), "fields": {field: [getattr(struct, field).offset, getattr(struct, field).size] for field, _ in struct._fields_}}
        for name, struct in STRUCTS.items()
    }
    if theirs != ours:
        names = [name for name in sorted(theirs.keys() | ours.keys()) if theirs.get(name) != ours.get(name)]
        raise ImportError("ditq_c.py and ditq_abi_layout() disagree: " + "; ".join(f"{n}: library {theirs.get(n)}, here {ours.get(n)}" for n in names))


lib = load(PATH)
check_layout(lib.ditq_abi_layout())

# ---- Calling ----


class DitqFailure(Exception):
    """A call that did not return DITQ_OK."""

    def __init__(self, status, message):
        super().__init__(f"{STATUS_NAMES[status] if 0 <= status < 10 else status}: {message}")
        self.status, self.message = status, message


def outcome(function, *arguments):
    """(status, message) of a call; the error struct goes last by itself. What is promised of every error is checked here."""
    error = Error()
    status = function(*arguments, byref(error))
    raw = ctypes.string_at(ctypes.addressof(error) + Error.message.offset, Error.message.size)
    if status == OK:
        assert raw == bytes(504) and error.status == 0, "a call that returned DITQ_OK wrote into the error"
        return OK, ""
    assert 0 < status < 10, f"status {status} is not in ditq.h"
    assert error.status == status, f"returned {status}, the error says {error.status}"
    assert error.struct_size == ctypes.sizeof(Error)
    assert b"\0" in raw, "the message is not NUL-terminated"
    message = raw.split(b"\0", 1)[0].decode("utf-8")  # raises when a character is cut in two
    assert message, "the message is empty"
    return status, message


def call(function, *arguments):
    status, message = outcome(function, *arguments)
    if status != OK:
        raise DitqFailure(status, message)


def address(array):
    """A numpy array (or None) as a pointer: contiguous or refused."""
    if array is None:
        return None
    assert array.flags["C_CONTIGUOUS"]
    return array.ctypes.data


def text_of(function, handle):
    """A describe_json call: once for the size, once for the text."""
    needed = c_size_t()
    call(function, handle, None, 0, byref(needed))
    buffer = ctypes.create_string_buffer(b"\xff" * needed.value, needed.value)
    again = c_size_t()
    call(function, handle, buffer, needed.value, byref(again))
    assert again.value == needed.value and buffer.raw.index(b"\0") == needed.value - 1
    return buffer.value.decode("utf-8")


class CountingAllocator:
    """An allocator hook that keeps books. `limit`: refuse every allocation after so many."""

    def __init__(self, limit=None):
        self.limit, self.live, self.peak, self.calls, self.sizes = limit, {}, 0, 0, []
        self.libc = ctypes.CDLL(None)
        self.libc.aligned_alloc.restype, self.libc.aligned_alloc.argtypes = c_void_p, [c_size_t, c_size_t]
        self.libc.free.argtypes = [c_void_p]
        self.faults = []
        self.hooks = ALLOCATE(self.allocate), DEALLOCATE(self.deallocate)
        self.struct = Allocator(context=4711, allocate=self.hooks[0], deallocate=self.hooks[1])

    def allocate(self, context, size, alignment):
        self.calls += 1
        if context != 4711 or size <= 0 or alignment <= 0 or alignment & (alignment - 1):
            self.faults.append(("allocate", context, size, alignment))
        if self.limit is not None and self.calls > self.limit:
            return None
        pointer = self.libc.aligned_alloc(max(alignment, 16), -(-size // max(alignment, 16)) * max(alignment, 16))
        ctypes.memset(pointer, 0xA5, size)  # memory from a host is not zero
        self.live[pointer] = (size, alignment)
        self.sizes.append(size)
        self.peak = max(self.peak, self.size)
        return pointer

    def deallocate(self, context, pointer, size, alignment):
        if context != 4711 or self.live.pop(pointer, None) != (size, alignment):
            self.faults.append(("deallocate", context, pointer, size, alignment))
        else:
            self.libc.free(pointer)

    @property
    def size(self):
        return sum(size for size, _ in self.live.values())


class Model:
    def __init__(self, source, **options):
        """source: a path, or the bytes of a safetensors file."""
        self.handle, self.source = c_void_p(), source
        self.options = ModelOptions(**options) if options else None
        pointer = byref(self.options) if self.options else None
        if isinstance(source, (bytes, np.ndarray)):
            self.source = np.frombuffer(source, np.uint8)
            call(lib.ditq_model_open_memory, address(self.source), self.source.size, pointer, byref(self.handle))
        else:
            call(lib.ditq_model_open, os.fsencode(source), pointer, byref(self.handle))
        self._describe_shapes()

    def _describe_shapes(self):
        info = self.info = self.describe()
        self.latent_shape = (info.latent_channels, info.latent_height, info.latent_width)
        self.image_shape = (info.image_height, info.image_width, info.image_channels)

    def describe(self):
        info = ModelInfo()
        call(lib.ditq_model_describe, self.handle, byref(info))
        return info

    def json(self):
        return json.loads(text_of(lib.ditq_model_describe_json, self.handle))

    def class_name(self, label):
        name = lib.ditq_model_class_name(self.handle, label)
        return None if name is None else name.decode("utf-8")

    def find_class(self, name):
        label = c_int32(-12345)
        call(lib.ditq_model_find_class, self.handle, name.encode("utf-8"), byref(label))
        return label.value

    def session_memory(self, **options):
        size = c_size_t()
        call(lib.ditq_session_memory, self.handle, byref(SessionOptions(**options)) if options else None, byref(size))
        return size.value

    def session(self, **options):
        return Session(self, **options)

    def quantize(self, rules=(), progress=None, **fields):
        """A quantized model; rules are dicts of ditq_layer_rule's fields, `progress` is given each ditq_progress and ends the call with True."""
        options = QuantizeOptions()
        lib.ditq_quantize_options_init(byref(options))
        for name, value in fields.items():
            setattr(options, name, value)
        array = (LayerRule * max(1, len(rules)))(*(LayerRule(**rule) for rule in rules))
        options.rules, options.rule_count = array, len(rules)
        hook = PROGRESS_CALLBACK(lambda _, pointer: int(bool(progress(pointer.contents)))) if progress else PROGRESS_CALLBACK()
        options.progress = hook
        result = Model.__new__(Model)
        result.handle, result.source, result.options = c_void_p(), None, None
        call(lib.ditq_quantize, self.handle, byref(options), byref(result.handle))
        result._describe_shapes()
        return result

    def save(self, path):
        call(lib.ditq_model_save, self.handle, os.fsencode(path))

    def verify(self):
        call(lib.ditq_model_verify, self.handle)

    def close(self):
        lib.ditq_model_close(self.handle)
        self.handle = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Session:
    def __init__(self, model, **options):
        self.model, self.handle = model, c_void_p()
        self.latent_shape, self.image_shape = model.latent_shape, model.image_shape
        self.options = SessionOptions(**options) if options else None
        call(lib.ditq_session_create, model.handle, byref(self.options) if self.options else None, byref(self.handle))

    @staticmethod
    def generate_options(noise=None, progress=None, **fields):
        """Options from _init with these fields changed. progress(progress) → truthy to stop; an exception in it stops too, and is raised by `run`."""
        options = GenerateOptions()
        lib.ditq_generate_options_init(byref(options))
        for name, value in fields.items():
            assert name in dict(GenerateOptions._fields_), name
            setattr(options, name, value)
        options.kept = [noise]
        if noise is not None:
            assert noise.dtype == np.float32
            options.noise = address(noise)
        if progress is not None:
            options.raised = None

            def hook(_, pointer):
                try:
                    return 1 if progress(pointer.contents) else 0
                except BaseException as exception:  # ctypes would print it and go on
                    options.raised = exception
                    return 1

            options.progress = PROGRESS_CALLBACK(hook)
            options.kept.append(options.progress)
        return options

    def run(self, function, labels, seeds, output, fields):
        labels = np.ascontiguousarray(labels, np.int32)
        seeds = None if seeds is None else np.ascontiguousarray(seeds, np.uint64)
        options = self.generate_options(**fields)
        try:
            call(function, self.handle, address(labels), address(seeds), labels.size, byref(options), address(output), output.nbytes)
        except DitqFailure:
            if getattr(options, "raised", None) is not None:
                raise options.raised
            raise
        return output

    def generate(self, labels, seeds=None, **fields):
        return self.run(lib.ditq_generate, labels, seeds, np.zeros((len(labels), *self.image_shape), np.uint8), fields)

    def denoise(self, labels, seeds=None, **fields):
        return self.run(lib.ditq_denoise, labels, seeds, np.zeros((len(labels), *self.latent_shape), np.float32), fields)

    def denoise_steps(self, labels, seeds=None, **fields):
        """(the latents, [the latents after each step])"""
        steps = []

        def keep(progress):
            if progress.phase == PHASE_DENOISE and progress.latents and progress.done == len(steps) + 1:
                shape = (len(labels), *self.latent_shape)
                steps.append(np.ctypeslib.as_array(progress.latents, shape).copy())

        return self.denoise(labels, seeds, progress=keep, **fields), steps

    def decode(self, latents):
        latents = np.ascontiguousarray(latents, np.float32)
        pixels = np.zeros((len(latents), *self.image_shape), np.uint8)
        call(lib.ditq_decode, self.handle, address(latents), len(latents), address(pixels), pixels.nbytes)
        return pixels

    def decode_float(self, latents):
        latents = np.ascontiguousarray(latents, np.float32)
        values = np.zeros((len(latents), *self.image_shape), np.float32)
        call(lib.ditq_decode_float, self.handle, address(latents), len(latents), address(values), values.nbytes)
        return values

    def predict(self, x, timesteps, labels, channels=None):
        x, timesteps, labels = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(timesteps, np.float32), np.ascontiguousarray(labels, np.int32)
        channels = channels or 2 * x.shape[1]
        output = np.zeros((len(x), channels, *x.shape[2:]), np.float32)
        call(lib.ditq_predict, self.handle, address(x), address(timesteps), address(labels), len(x), address(output), output.nbytes)
        return output

    def json(self):
        return json.loads(text_of(lib.ditq_session_describe_json, self.handle))

    def cancel(self):
        lib.ditq_session_cancel(self.handle)

    def destroy(self):
        lib.ditq_session_destroy(self.handle)
        self.handle = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


class Run:
    """A denoising under way: made with labels, seeds and options, or from the bytes of one that was saved."""

    def __init__(self, model, labels=None, seeds=None, saved=None, **fields):
        self.model, self.handle = model, c_void_p()
        if saved is not None:
            data = np.frombuffer(saved, np.uint8)
            call(lib.ditq_run_restore, model.handle, address(data), data.size, byref(self.handle))
        else:
            labels = np.ascontiguousarray(labels, np.int32)
            seeds = None if seeds is None else np.ascontiguousarray(seeds, np.uint64)
            self.options = Session.generate_options(**fields)
            call(lib.ditq_run_create, model.handle, address(labels), address(seeds), labels.size, byref(self.options), byref(self.handle))
        self.count = None if labels is None else len(labels)

    def step(self, session):
        """How many steps are left."""
        remaining = c_int32(-12345)
        call(lib.ditq_run_step, self.handle, session.handle, byref(remaining))
        return remaining.value

    def finish(self, session):
        while self.step(session):
            pass
        return self

    def latents(self, count=None):
        """(the latents, the guess of the finished ones)"""
        latents, guess = np.zeros((2, count or self.count, *self.model.latent_shape), np.float32)
        call(lib.ditq_run_latents, self.handle, address(latents), address(guess), latents.nbytes)
        return latents, guess

    def save(self):
        needed = c_size_t()
        call(lib.ditq_run_save, self.handle, None, 0, byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        call(lib.ditq_run_save, self.handle, buffer, needed.value, byref(needed))
        return buffer.raw

    def destroy(self):
        lib.ditq_run_destroy(self.handle)
        self.handle = c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


# ---- PNG ----


def png_texts(texts):
    return (PngText * max(1, len(texts)))(*[PngText(k.encode("latin-1"), v.encode("utf-8")) for k, v in texts.items()])


def png_write(path, pixels, texts={}):
    height, width, channels = pixels.shape
    call(lib.ditq_png_write, os.fsencode(path), address(pixels), width, height, channels, png_texts(texts), len(texts))


def png_encode(pixels, texts={}):
    height, width, channels = pixels.shape
    needed = c_size_t()
    arguments = address(pixels), width, height, channels, png_texts(texts), len(texts)
    call(lib.ditq_png_encode, *arguments, None, 0, byref(needed))
    buffer = ctypes.create_string_buffer(needed.value)
    call(lib.ditq_png_encode, *arguments, buffer, needed.value, byref(needed))
    return buffer.raw[: needed.value]
