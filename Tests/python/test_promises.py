"""The promises at the top of ditq.h: each is in the table of Tests/README.md with the tests that hold it; those that no other file holds are here."""
import contextlib
import ctypes
import hashlib
import os
import re
import sys
from ctypes import byref, c_int32, c_size_t, c_void_p

import ditq_c as ditq
import numpy as np
import pytest
import test_bad_input
from conftest import EMOJI, FIXTURES
from ditq_c import INVALID_ARGUMENT, OK, UNSUPPORTED, lib, outcome
from test_library import output

W8A8 = EMOJI.with_name("emoji-w8a8.ditq")
tiny = test_bad_input.tiny

# ---- The table ----


def words(text):
    return re.sub(r"\s+", " ", re.sub(r"^ \*", "", text, flags=re.M)).strip()


def promises():
    """What the header promises, from the heading to the end of its first comment."""
    header = (ditq.ROOT / "include/ditq.h").read_text()
    return words(header[header.index(" * What the library promises") + len(" * What the library promises") : header.index("*/")])


def rows():
    """(a promise in the header's words, [what holds it]) of each row of the table."""
    text = (ditq.ROOT / "Tests/README.md").read_text()
    table = re.findall(r"^\| (.+?) \| (`.+?) \|$", text, flags=re.M)
    return [(promise.replace("\\|", "|"), re.findall(r"`([^`]+)`", holds)) for promise, holds in table]


def test_every_promise_of_the_header_stands_in_the_table():
    rest = promises()
    for promise, _ in rows():
        assert promise in rest, f"the header does not say: {promise}"
        rest = rest.replace(promise, "", 1)
    left = [part for part in re.split(r" - |;", rest) if re.search(r"\w", part.replace("Conventions:", ""))]
    assert not left, left


def test_every_test_of_the_table_exists():
    names = [name for _, holds in rows() for name in holds]
    assert len(names) > 30
    for name in names:
        path, _, test = name.partition("::")
        file = ditq.ROOT / "Tests" / path
        assert file.exists(), path
        assert not test or f"def {test}(" in file.read_text() or f'@Test("{test}")' in file.read_text(), name


# ---- A session serves one call at a time, sessions are independent ----


def test_a_second_call_on_a_busy_session_is_refused_and_the_first_goes_on(tiny):
    with tiny as s, s.model.session(threads=1) as other:
        refused = []

        def meanwhile(progress):
            for busy in (s, other):
                try:
                    busy.denoise([0], [1], steps=1)
                    refused.append(None)
                except ditq.DitqFailure as failure:
                    refused.append((failure.status, failure.message))

        latents = s.denoise([1], [2], steps=2, progress=meanwhile)
        assert np.array_equal(latents, s.denoise([1], [2], steps=2))
    assert refused[1::2] == [None, None], "another session is free"
    assert all(status == INVALID_ARGUMENT and "another call is in progress" in message for status, message in refused[::2])


# ---- A model is immutable, nothing is global ----


def test_no_call_changes_a_model(tmp_path):
    data = np.frombuffer(EMOJI.read_bytes(), np.uint8)
    before = hashlib.sha256(data).digest()
    with ditq.Model(data) as model, ditq.Model(W8A8) as quantized:
        text, other = model.json(), quantized.json()
        with model.session(threads=2, batch_limit=2) as s:
            s.generate([1, 2], [3, 4], steps=2)
        for options in (dict(weight_bits=4, calibration_samples=2, calibration_steps=2), dict(activation_mode=1, balance_channels=1, calibration_samples=2)):
            model.quantize(**options).close()
        report = c_void_p()
        ditq.call(lib.ditq_compare, model.handle, quantized.handle, byref(ditq.CompareOptions(steps=1, samples=1)), byref(report))
        lib.ditq_report_destroy(report)
        quantized.save(tmp_path / "same.ditq")
        assert model.json() == text and quantized.json() == other
    assert hashlib.sha256(data).digest() == before
    assert (tmp_path / "same.ditq").read_bytes() == W8A8.read_bytes()


GLOBALS = """
import ctypes, sys
import ditq_c as d
base = min(int(line.split("-")[0], 16) for line in open("/proc/self/maps") if line.split()[-1] == str(d.PATH))
places = [[int(word, 16) for word in place.split("+")] for place in sys.argv[3:]]
variables = lambda: b"".join(ctypes.string_at(base + start, size) for start, size in places)
before = variables()
with d.Model(sys.argv[1]) as m, m.quantize(weight_bits=4, calibration_samples=1, calibration_steps=1) as q, m.session(threads=2) as s, q.session() as t:
    s.generate([1], [1], steps=2), t.generate([1], [1], steps=2)
    d.Run(m, [1], [1], steps=2).finish(s).save()
    try: s.generate([99999], [1])
    except d.DitqFailure: pass
with d.Model(sys.argv[2]) as m, m.session() as s: d.png_encode(s.generate([1], [1], steps=1)[0])
print(len(before), sum(a != b for a, b in zip(before, variables())))
"""


def test_the_librarys_variables_are_what_they_were_when_it_was_loaded():
    """Calls leave nothing behind in it: there is nothing global. The loader binds all functions first, so that it does not write either."""
    segments = re.findall(r"LOAD +\w+ 0x(\w+) \w+ \w+ 0x(\w+) RW ", output("readelf", "-lW", ditq.PATH))
    environment = os.environ | {"DITQ_LIBRARY": str(ditq.PATH), "LD_BIND_NOW": "1"}
    arguments = [EMOJI, FIXTURES / "diffusers-b/pipeline", *("+".join(segment) for segment in segments)]
    size, changed = output(sys.executable, "-c", GLOBALS, *arguments, cwd=ditq.ROOT / "Tests/python", env=environment).split()
    assert int(size) > 1000 and changed == "0", f"{changed} of {size} bytes have changed"


# ---- Structs ----


FIRST_SIZES = {
    ditq.ModelOptions: 48, ditq.SessionOptions: 40, ditq.GenerateOptions: 80, ditq.QuantizeOptions: 96, ditq.LayerRule: 24, ditq.CompareOptions: 48,
    ditq.LinearOptions: 40,
}  # fmt: skip
"""What each struct measured when it was first released."""


def resized(options, size, tail=b""):
    """The bytes of a struct as another header has it, cut or filled up with zeros and ended by `tail`; what stands behind them is not to be read."""
    room = max(size, 4) - len(tail)
    buffer = ctypes.create_string_buffer(bytes(options)[:room].ljust(room, b"\0") + tail + b"\xa5" * 64, room + len(tail) + 64)
    ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint32))[0] = size
    return buffer


@contextlib.contextmanager
def calls_with_options(tiny):
    """{name: (a call that takes a pointer to options and answers (status, message), its options)}, of every kind of options."""

    def handle_of(function, destroy, *before):
        def call(options):
            handle = c_void_p()
            answer = outcome(function, *before, options, byref(handle))
            destroy(handle)
            return answer

        return call

    def ruled(rule):
        """Options with two such rules, one behind the other."""
        size = ctypes.cast(rule, ctypes.POINTER(ctypes.c_uint32))[0]
        both = ctypes.create_string_buffer(2 * ctypes.string_at(rule, size), 2 * size)
        options = ditq.QuantizeOptions()
        lib.ditq_quantize_options_init(byref(options))
        options.rules, options.rule_count, options.kept = ctypes.cast(both, ctypes.POINTER(ditq.LayerRule)), 2, both
        return byref(options)

    with tiny as s:
        labels, seeds, _ = test_bad_input.one(s)
        room = test_bad_input.room(s)
        data, w, m = OFFICIAL_BYTES, np.ones((4, 4), np.float32), s.model.handle
        generate = s.generate_options(steps=1)
        cheap = ditq.QuantizeOptions()
        lib.ditq_quantize_options_init(byref(cheap))
        quantize = handle_of(lib.ditq_quantize, lib.ditq_model_close, m)
        yield {
            "model": (handle_of(lib.ditq_model_open_memory, lib.ditq_model_close, ditq.address(data), data.size), ditq.ModelOptions(head_count=2)),
            "session": (handle_of(lib.ditq_session_create, lib.ditq_session_destroy, m), ditq.SessionOptions(threads=1)),
            "generate": (lambda options: outcome(lib.ditq_denoise, s.handle, labels, seeds, 1, options, *room), generate),
            "run": (handle_of(lib.ditq_run_create, lib.ditq_run_destroy, m, labels, seeds, 1), generate),
            "quantize": (quantize, cheap),
            "rules": (lambda options: quantize(ruled(options)), ditq.LayerRule(pattern=b"blocks.*", weight_bits=4)),
            "compare": (handle_of(lib.ditq_compare, lib.ditq_report_destroy, m, m), ditq.CompareOptions(steps=1, samples=1)),
            "linear": (handle_of(lib.ditq_linear_create, lib.ditq_linear_destroy, ditq.address(w), None, 4, 4), ditq.LinearOptions()),
        }


def answer_to(case, size, tail=b""):
    call, options = case
    buffer = resized(options, size, tail)
    return call(ctypes.cast(buffer, ctypes.POINTER(type(options))))


def test_options_of_a_newer_header_are_taken_where_what_is_new_is_zero(tiny):
    with calls_with_options(tiny) as cases:
        for name, case in cases.items():
            size = ctypes.sizeof(case[1])
            later = [size + 16] if name == "rules" else [size + 1, size + 13, size + 16, size + 100, 4096]  # of rules the next one has to stand somewhere
            assert {answer_to(case, size) for size in later} == {(OK, "")}, name
            for size in later:
                status, message = answer_to(case, size, tail=b"\1")
                assert status == UNSUPPORTED and "unknown to this version" in message and f"byte {size - 1}" in message, name
        status, message = answer_to(cases["rules"], ctypes.sizeof(ditq.LayerRule) + 1)
    assert status == INVALID_ARGUMENT and "rules[0]->struct_size" in message


def test_options_of_an_older_header_are_taken_with_zeros_for_what_they_have_not(tiny):
    with calls_with_options(tiny) as cases:
        for name, case in cases.items():
            first, size = FIRST_SIZES[type(case[1])], ctypes.sizeof(case[1])
            between = range(first, size + 1, 8 if name == "rules" else 1)
            assert {answer_to(case, size) for size in between} == {(OK, "")}, name
            for shorter in (first - 1, first - 8, 8, 4, 0):
                status, message = answer_to(case, shorter)
                assert status == INVALID_ARGUMENT and f"struct_size: {first} expected" in message, name


def test_half_a_pointer_is_not_one(tiny):
    with calls_with_options(tiny) as cases:
        for size in (52, 55, 63, 71):
            status, message = answer_to(cases["model"], size, tail=b"\1\1")
            assert status == UNSUPPORTED and "unknown to this version" in message, size


def test_what_an_older_program_set_is_what_counts():
    """head_count stands in the first 48 bytes."""
    options = ditq.ModelOptions(head_count=3)
    for size in (48, 56, 64, 72, 80):
        buffer, handle = resized(options, size), c_void_p()
        pointer = ctypes.cast(buffer, ctypes.POINTER(ditq.ModelOptions))
        assert outcome(lib.ditq_model_open_memory, ditq.address(OFFICIAL_BYTES), OFFICIAL_BYTES.size, pointer, byref(handle)) == (OK, "")
        info = ditq.ModelInfo()
        ditq.call(lib.ditq_model_describe, handle, byref(info))
        lib.ditq_model_close(handle)
        assert info.head_count == 3


def test_a_description_fills_as_much_as_there_is(tiny):
    with tiny as s:
        size = ctypes.sizeof(ditq.ModelInfo)
        expected = ditq.ModelInfo()
        ditq.call(lib.ditq_model_describe, s.model.handle, byref(expected))
        for found in (size, size + 1, size + 24):
            buffer = ctypes.create_string_buffer(b"\xa5" * (size + 32), size + 32)
            ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint32))[0] = found
            assert outcome(lib.ditq_model_describe, s.model.handle, ctypes.cast(buffer, ctypes.POINTER(ditq.ModelInfo))) == (OK, "")
            assert buffer.raw[4:size] == bytes(expected)[4:] and set(buffer.raw[size:]) == {0xA5}
            assert ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint32))[0] == found


OFFICIAL_BYTES = np.frombuffer((FIXTURES / "official-a/model.safetensors").read_bytes(), np.uint8)


def test_what_is_reserved_is_zero(tiny):
    with tiny as s:
        labels, seeds, _ = test_bad_input.one(s)
        data, m, handle = OFFICIAL_BYTES, s.model.handle, c_void_p()
        generate, allocator, reader = s.generate_options(steps=1), ditq.CountingAllocator(), ditq.BytesReader(data)
        generate.reserved = allocator.struct.reserved = reader.struct.reserved = 3
        hooked = ditq.ModelOptions(allocator=ctypes.pointer(allocator.struct))
        answers = [
            outcome(lib.ditq_model_open_memory, ditq.address(data), data.size, byref(ditq.ModelOptions(head_count=2, reserved=3)), byref(handle)),
            outcome(lib.ditq_model_open_memory, ditq.address(data), data.size, byref(hooked), byref(handle)),
            outcome(lib.ditq_model_open_reader, byref(reader.struct), None, byref(handle)),
            outcome(lib.ditq_denoise, s.handle, labels, seeds, 1, byref(generate), *test_bad_input.room(s)),
            outcome(lib.ditq_compare, m, m, byref(ditq.CompareOptions(reserved=3)), byref(handle)),
        ]
    assert all(status == UNSUPPORTED and "->reserved: 0 expected" in message for status, message in answers), answers


def test_a_field_of_zero_is_its_default(model):
    """Options without an _init function: a struct of zeros does what NULL does."""
    m = model("diffusers-b")
    with m.session() as plain, ditq.Session(m, threads=0) as zeros:
        assert plain.json() == zeros.json()
        assert np.array_equal(plain.denoise([1], [2], steps=2), zeros.denoise([1], [2], steps=2))
    with ditq.Model(EMOJI) as plain, ditq.Model(EMOJI, head_count=0) as zeros:
        assert plain.json() == zeros.json()
    w, x = np.random.default_rng(1).normal(size=(2, 64, 64)).astype(np.float32)
    results = []
    for options in (None, byref(ditq.LinearOptions())):
        linear, y = c_void_p(), np.zeros((64, 64), np.float32)
        ditq.call(lib.ditq_linear_create, ditq.address(w), None, 64, 64, options, byref(linear))
        ditq.call(lib.ditq_linear_apply, linear, ditq.address(x), 64, ditq.address(y), 1)
        lib.ditq_linear_destroy(linear)
        results.append(y)
    assert np.array_equal(*results)


# ---- NULL, out parameters ----


def test_every_call_does_without_an_error_struct(model, tiny, tmp_path):
    with tiny as s:
        for function, arguments, _ in test_bad_input.calls(model("diffusers-b"), s, tmp_path):
            if function.__name__ == "ditq_compare":
                arguments[2] = byref(ditq.CompareOptions(steps=1, samples=1))
            status, _ = outcome(function, *arguments)
            assert function(*arguments, None) == status, function.__name__


def test_out_parameters_are_untouched_where_a_call_fails(model, tiny, tmp_path):
    """Each function, failing for each pointer that may not be NULL: no other number or handle of its answer was written."""
    outs = (c_int32, c_size_t, c_void_p)
    with tiny as s:
        for function, arguments, pointers in test_bad_input.calls(model("diffusers-b"), s, tmp_path):
            answers = [a._obj for a in arguments if hasattr(a, "_obj") and type(a._obj) in outs]
            for position in pointers:
                changed = list(arguments)
                changed[position] = None
                for answer in answers:
                    answer.value = 0x5A5A5A
                assert function(*changed, None) != OK
                assert all(answer.value == 0x5A5A5A for answer in answers), (function.__name__, pointers[position])


def test_images_that_were_finished_before_a_call_was_cancelled_may_be_there_and_are_whole(model):
    """Five images, two at a time, cancelled in the second batch: the first two are there, of the others nothing is."""
    with model("emoji").session(threads=1, batch_limit=2) as s:
        labels, seeds = np.arange(5, dtype=np.int32), np.arange(5, dtype=np.uint64)
        whole = s.generate(labels, seeds, steps=2)
        pixels, told = np.full_like(whole, 0x5A), []

        def stop(progress):
            told.append(progress.phase)
            return told.count(ditq.PHASE_DENOISE) == 3

        with pytest.raises(ditq.DitqFailure):
            s.run(lib.ditq_generate, labels, seeds, pixels, dict(steps=2, progress=stop))
    finished = [bool((image == done).all()) for image, done in zip(pixels, whole)]
    assert finished == [True, True, False, False, False] and (pixels[2:] == 0x5A).all()
