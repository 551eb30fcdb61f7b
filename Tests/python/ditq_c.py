"""The library as the tests call it: the declarations of the Python package, and thin classes that hide nothing.

The library is the one that DITQ_LIBRARY names, else the Embedded build. Functions are in `lib`, under their own names and with their own arguments;
`call` runs one and raises DitqFailure. Model and Session keep alive what the library points to, and shape arrays.
"""
import ctypes
import json
import os
import pathlib
import sys
from ctypes import byref, c_int32, c_size_t, c_void_p

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = pathlib.Path(os.environ.get("DITQ_LIBRARY") or ROOT / ".build-embedded/release/libditq.so").resolve()

os.environ["DITQ_LIBRARY"] = str(PATH)
sys.path.insert(0, str(ROOT / "bindings/python"))
from ditq._ctypes import (  # noqa: E402, F401: some are for the tests alone
    ALLOCATE, DEALLOCATE, ERROR, KEEP_FLOAT, PROGRESS_CALLBACK, PROTOTYPES, READ, Allocator, CompareOptions, Compatibility, Error, GenerateOptions, Isa, LayerRule,
    LinearOptions, ModelInfo, ModelOptions, Phase, PngText, Progress, QuantizeOptions, Random, Reader, RunInfo, Sampler, SessionInfo, SessionOptions, Status,
    lib,
)  # fmt: skip

(OK, INVALID_ARGUMENT, NOT_FOUND, IO_FAILED, MALFORMED, UNSUPPORTED, OUT_OF_MEMORY, CANCELLED, CHECKSUM_MISMATCH, INTERNAL) = map(int, Status)
STATUS_NAMES = tuple(f"DITQ_{status.name}" for status in Status)
COMPATIBILITY_AUTO, COMPATIBILITY_OFFICIAL, COMPATIBILITY_DIFFUSERS = map(int, Compatibility)
ISA_BEST, ISA_GENERIC, ISA_AVX2, ISA_AVX512VNNI, ISA_NEON_DOT, ISA_NEON_I8MM = map(int, Isa)
SAMPLER_AUTO, SAMPLER_DDIM, SAMPLER_DDPM, SAMPLER_DPMPP_2M, SAMPLER_FLOW_EULER, SAMPLER_HEUN, SAMPLER_DPMPP_3M, *_ = map(int, Sampler)
RANDOM_TORCH, RANDOM_PHILOX = map(int, Random)
PHASE_LOAD, PHASE_CALIBRATE, PHASE_QUANTIZE, PHASE_DENOISE, PHASE_DECODE = map(int, Phase)

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


class BytesReader:
    """A ditq_reader over bytes that keeps books. `fails_at`: the number of the read that answers 5 instead; `size`: what it claims to have."""

    def __init__(self, data, fails_at=None, size=None):
        self.data, self.fails_at, self.reads = bytes(data), fails_at, []
        self.hook = READ(self.read)
        self.struct = Reader(context=4711, size=len(self.data) if size is None else size, read=self.hook)

    def read(self, context, offset, buffer, count):
        self.reads.append((offset, count))
        if context != 4711 or len(self.reads) == self.fails_at or offset + count > len(self.data):
            return 5
        ctypes.memmove(buffer, self.data[offset : offset + count], count)
        return 0


class Model:
    def __init__(self, source, **options):
        """source: a path, the bytes of a safetensors file, or a BytesReader."""
        self.handle, self.source = c_void_p(), source
        self.options = ModelOptions(**options) if options else None
        pointer = byref(self.options) if self.options else None
        if isinstance(source, (bytes, np.ndarray)):
            self.source = np.frombuffer(source, np.uint8)
            call(lib.ditq_model_open_memory, address(self.source), self.source.size, pointer, byref(self.handle))
        elif isinstance(source, BytesReader):
            call(lib.ditq_model_open_reader, byref(source.struct), pointer, byref(self.handle))
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
