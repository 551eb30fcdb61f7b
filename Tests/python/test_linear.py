"""ditq_linear with integer weights: the same bytes everywhere, how near they are to double precision, and what is refused.

Every test runs in a process of its own (`isolated`), so that a crash is reported with the place where it happened.
"""
import contextlib
import ctypes
import itertools
import threading
from ctypes import byref, c_void_p

import ditq_c as ditq
import numpy as np
import pytest
from conftest import note
from ditq_c import INVALID_ARGUMENT, OK, OUT_OF_MEMORY, UNSUPPORTED, lib, outcome

pytestmark = pytest.mark.isolated

STATIC, DYNAMIC = 1, 3  # DITQ_ACTIVATION_…
ROUND, MSE = 1, 2  # DITQ_WEIGHT_…
SETS = ditq.ISA_GENERIC, ditq.ISA_AVX2, ditq.ISA_AVX512VNNI
FORMATS = [(8, 0), (8, 16), (8, 32), (4, 0), (4, 16), (4, 32), (4, 48), (4, 128)]
UNTOUCHED = 0x5A5A5A5A


def create(weights, bias=None, **options):
    """(status, message, handle)"""
    handle, options = c_void_p(UNTOUCHED), ditq.LinearOptions(**options)
    status, message = outcome(lib.ditq_linear_create, ditq.address(weights), ditq.address(bias), *weights.shape, byref(options), byref(handle))
    assert status == OK or handle.value == UNTOUCHED, "a handle was written although the call failed"
    return status, message, handle


@contextlib.contextmanager
def linear(weights, bias=None, **options):
    """A function of (x, threads): y."""
    status, message, handle = create(weights, bias, **options)
    assert status == OK, message

    def apply(x, threads=1):
        x, y = np.ascontiguousarray(x, np.float32), np.full((len(x), len(weights)), np.nan, np.float32)
        ditq.call(lib.ditq_linear_apply, handle, ditq.address(x), len(x), ditq.address(y), threads)
        return y

    try:
        yield apply
    finally:
        lib.ditq_linear_destroy(handle)


def once(weights, x, bias=None, threads=1, **options):
    with linear(weights, bias, **options) as apply:
        return apply(x, threads)


def gaussian(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(x, weights):
    return x.astype(np.float64) @ weights.astype(np.float64).T


def sqnr(exact, found):
    """In dB."""
    return 10 * np.log10(np.square(exact).sum() / np.square(exact - found.astype(np.float64)).sum())


# ---- The same bytes ----


@pytest.mark.parametrize("bits, group", FORMATS)
@pytest.mark.parametrize("mode", [DYNAMIC, STATIC])
def test_every_set_and_thread_count_gives_the_same_bytes(bits, group, mode):
    """Among the shapes are those with fewer tiles of rows, or panels of outputs, than threads."""
    options = dict(weight_bits=bits, weight_group=group, activation_mode=mode, activation_min=-2.5, activation_max=3.5)
    if mode == DYNAMIC:
        options["activation_min"] = options["activation_max"] = 0
    for number, (rows, outputs, inputs) in enumerate(itertools.product((1, 5, 15, 33), (1, 33, 100), (1, 17, 200))):
        note(number)
        x, w, b = gaussian(rows, inputs, seed=number), gaussian(outputs, inputs, seed=number + 100), gaussian(outputs, seed=number + 200)
        reference = None
        for isa in SETS:
            with linear(w, b, isa_limit=isa, **options) as apply:
                for threads in (1, 2, 3, 7):
                    y = apply(x, threads)
                    reference = y if reference is None else reference
                    assert np.isfinite(y).all() and y.tobytes() == reference.tobytes(), (rows, outputs, inputs, isa, threads)
                rowwise = np.concatenate([apply(x[i : i + 1]) for i in range(rows)])
                assert rowwise.tobytes() == reference.tobytes(), "a row does not depend on the others"


def test_threads_0_is_every_core_and_changes_nothing():
    w, x = gaussian(70, 96), gaussian(40, 96, seed=2)
    with linear(w, weight_bits=4, weight_group=32) as apply:
        assert apply(x, 0).tobytes() == apply(x, 1).tobytes()


def test_one_linear_is_applied_with_other_rows_and_threads_time_and_again():
    w, b, x = gaussian(65, 200), gaussian(65, seed=2), gaussian(50, 200, seed=3)
    for bits in (8, 4, ditq.KEEP_FLOAT):
        with linear(w, b, weight_bits=bits) as apply:
            whole = apply(x)
            for rows, threads in [(50, 2), (1, 2), (50, 1), (7, 3), (50, 3), (3, 1), (1, 1), (49, 2)]:
                assert apply(x[:rows], threads).tobytes() == whole[:rows].tobytes(), (bits, rows, threads)


def test_many_threads_of_the_host_share_one_linear():
    w, b = gaussian(100, 256), gaussian(100, seed=2)
    inputs = [gaussian(rows, 256, seed=rows) for rows in (1, 5, 14, 15, 40, 64)]
    for bits, group in ((8, 0), (4, 64), (ditq.KEEP_FLOAT, 0)):
        with linear(w, b, weight_bits=bits, weight_group=group) as apply:
            expected, wrong = [apply(x).tobytes() for x in inputs], []

            def work(first):
                for i in range(60):
                    which = (first + i) % len(inputs)
                    if apply(inputs[which], 1 + (first + i) % 3).tobytes() != expected[which]:
                        wrong.append((first, i))

            threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not wrong


# ---- How near ----


@pytest.mark.parametrize("bits, group, least", [(8, 0, 38), (8, 32, 40), (4, 32, 20), (4, 128, 17), (4, 0, 14)])
def test_gaussian_products_are_as_near_as_their_bits_allow(bits, group, least):
    w, x, b = gaussian(256, 1152), gaussian(64, 1152, seed=2), gaussian(256, seed=3)
    assert sqnr(product(x, w) + b, once(w, x, b, weight_bits=bits, weight_group=group)) >= least


def test_the_default_is_8_bits_per_row_with_dynamic_activations_and_rounding():
    w, x = gaussian(33, 100), gaussian(9, 100, seed=2)
    explicit = once(w, x, weight_bits=8, weight_group=0, weight_method=ROUND, activation_mode=DYNAMIC)
    handle, y = c_void_p(), np.zeros_like(explicit)
    ditq.call(lib.ditq_linear_create, ditq.address(w), None, *w.shape, None, byref(handle))
    ditq.call(lib.ditq_linear_apply, handle, ditq.address(x), len(x), ditq.address(y), 1)
    lib.ditq_linear_destroy(handle)
    assert once(w, x).tobytes() == explicit.tobytes() == y.tobytes()


@pytest.mark.parametrize("bits, group, low, high", [(8, 0, -127, 127), (8, 16, -127, 127), (4, 0, -7, 7), (4, 16, -5, 10), (4, 64, 0, 15)])
def test_numbers_that_the_format_holds_have_exact_products(bits, group, low, high):
    """Integers times powers of two: every step of the arithmetic is exact, so y is."""
    rng = np.random.default_rng(1)
    w = rng.integers(low, high + 1, (37, 128)).astype(np.float32)
    w[:, 0::16], w[:, 1::16] = low, high  # each group has its whole range
    x = rng.integers(-100, 156, (19, 128)).astype(np.float32)
    x[:, 0], x[:, 1] = -100, 155
    b = rng.integers(-9, 10, 37).astype(np.float32)
    y = once(w / 4, x / 8, b, weight_bits=bits, weight_group=group)
    assert np.array_equal(y, product(x / 8, w / 4) + b)


def test_rows_of_zeros_give_the_bias_and_weights_of_zeros_too():
    w, b, x = gaussian(40, 64), gaussian(40, seed=2), gaussian(16, 64, seed=3)
    x[5] = 0
    w[7] = 0
    for bits, group in FORMATS:
        y = once(w, x, b, weight_bits=bits, weight_group=group)
        assert np.array_equal(y[5], b) and (y[:, 7] == b[7]).all() and np.isfinite(y).all()
        assert (once(np.zeros_like(w), x, weight_bits=bits, weight_group=group) == 0).all()


def test_the_largest_number_of_inputs_does_not_overflow():
    """65536 · 255 · 127 < 2³¹. All q are 255 and all p are ±127: y = ±65536 · x · w, but for the roundings of the scales."""
    for isa in SETS:
        for sign in (1, -1):
            for bits in (8, 4):
                x, w = np.full((3, 65536), 1.5, np.float32), np.full((2, 65536), sign * 0.75, np.float32)
                y = once(w, x, weight_bits=bits, isa_limit=isa, threads=2)
                assert np.allclose(y, 65536 * 1.5 * 0.75 * sign, rtol=1e-6, atol=0), (isa, sign, bits, y)


def test_floats_agree_with_numpy():
    for rows, outputs, inputs in ((1, 1, 1), (5, 33, 64), (64, 128, 1152)):
        w, x, b = gaussian(outputs, inputs), gaussian(rows, inputs, seed=2), gaussian(outputs, seed=3)
        exact = product(x, w) + b
        assert np.abs(once(w, x, b, weight_bits=ditq.KEEP_FLOAT) - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("bits, group", FORMATS)
def test_least_squares_is_no_worse_than_rounding_where_weights_have_outliers(bits, group):
    w, x = gaussian(96, 768), gaussian(64, 768, seed=2)
    rng = np.random.default_rng(3)
    w[rng.random(w.shape) < 0.003] *= 8
    exact = product(x, w)
    rounded = sqnr(exact, once(w, x, weight_bits=bits, weight_group=group, weight_method=ROUND))
    best = sqnr(exact, once(w, x, weight_bits=bits, weight_group=group, weight_method=MSE))
    assert best >= rounded - 0.2, f"{best:.2f} dB, {rounded:.2f} by rounding"
    if (bits, group) == (4, 0):
        assert best >= rounded + 1, f"{best:.2f} dB, {rounded:.2f} by rounding: a whole row has much to gain"


# ---- A given range ----


def static(low, high, **options):
    return dict(activation_mode=STATIC, activation_min=low, activation_max=high, **options)


def test_a_given_range_is_as_near_as_a_measured_one_and_the_same_where_they_are_equal():
    w, x = gaussian(48, 512), np.clip(gaussian(20, 512, seed=2), -3, 4)
    x[:, 0], x[:, 1] = -3, 4
    for bits, group in FORMATS:
        measured = once(w, x, weight_bits=bits, weight_group=group)
        assert once(w, x, **static(-3, 4, weight_bits=bits, weight_group=group)).tobytes() == measured.tobytes()
    assert sqnr(product(x, w), once(w, x, **static(-4, 5))) >= 36


def test_a_given_range_clips_and_is_widened_to_include_0():
    w, x = gaussian(48, 100), gaussian(20, 100, seed=2)
    with linear(w, **static(-1, 2)) as apply:
        assert apply(x).tobytes() == apply(np.clip(x, -1, 2)).tobytes()
        assert apply(np.where(x > 0, np.inf, -np.inf)).tobytes() == apply(np.where(x > 0, 2, -1)).tobytes()
        # Σ q·p · scale − zero · Σ p · scale: each rounded, to half an ulp of at most Σ |ŵ|, as the range's bottom is −1.
        assert (np.abs(apply(np.zeros_like(x))) <= 4 * 2.0**-24 * np.abs(w).sum(1)).all()
    assert once(w, x, **static(1, 2)).tobytes() == once(w, x, **static(0, 2)).tobytes()
    assert once(w, x, **static(-2, -1)).tobytes() == once(w, x, **static(-2, 0)).tobytes()
    b = gaussian(48, seed=3)
    assert (once(w, x, b, **static(0, 0)) == b).all(), "a range of nothing but 0"


# ---- What is refused ----


@pytest.mark.parametrize(
    "status, words, options",
    [
        (INVALID_ARGUMENT, ["weight_bits", "3"], dict(weight_bits=3)),
        (INVALID_ARGUMENT, ["weight_bits", "-8"], dict(weight_bits=-8)),
        (INVALID_ARGUMENT, ["weight_bits", "16"], dict(weight_bits=16)),
        (INVALID_ARGUMENT, ["weight_group", "24"], dict(weight_group=24)),
        (INVALID_ARGUMENT, ["weight_group", "-16"], dict(weight_group=-16)),
        (INVALID_ARGUMENT, ["weight_group", "65552"], dict(weight_bits=4, weight_group=65552)),
        (UNSUPPORTED, ["weight_method", "3"], dict(weight_method=3)),
        (UNSUPPORTED, ["weight_method", "-1"], dict(weight_method=-1)),
        (UNSUPPORTED, ["activation_mode", "2"], dict(activation_mode=2)),
        (INVALID_ARGUMENT, ["activation_min", "activation_max", "1.0", "-1.0"], static(1, -1)),
        (INVALID_ARGUMENT, ["activation_min", "nan"], static(np.nan, 1)),
        (INVALID_ARGUMENT, ["activation_max", "inf"], static(0, np.inf)),
        (UNSUPPORTED, ["isa_limit", "4"], dict(isa_limit=4)),
        (INVALID_ARGUMENT, ["weight_group"], dict(weight_bits=ditq.KEEP_FLOAT, weight_group=16)),
        (INVALID_ARGUMENT, ["activation_mode"], dict(weight_bits=ditq.KEEP_FLOAT, activation_mode=DYNAMIC)),
    ],
)
def test_options_out_of_range_are_refused(status, words, options):
    found, message, _ = create(gaussian(4, 32), **options)
    assert found == status and all(word in message for word in words), (found, message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_where_they_stand(value):
    w = gaussian(4, 32)
    w[2, 5] = value
    for bits in (8, 4):
        status, message, _ = create(w, weight_bits=bits)
        assert status == INVALID_ARGUMENT and "weights[69]" in message, message


def test_shapes_out_of_range_are_refused():
    assert create(np.zeros((1, 65537), np.float32))[:2] == (INVALID_ARGUMENT, "inputs: 1 to 65536 expected, 65537 found")
    assert create(np.zeros((65537, 1), np.float32))[:2] == (INVALID_ARGUMENT, "outputs: 1 to 65536 expected, 65537 found")
    w, x, y = gaussian(4, 32), gaussian(2, 32), np.full((2, 4), 7, np.float32)
    status, message, handle = create(w)
    assert status == OK, message
    for rows, threads, word in ((0, 1, "rows"), (2**62, 1, "rows"), (2**64 - 1, 1, "rows"), (2, -1, "threads"), (2, 100_000, "threads")):
        status, message = outcome(lib.ditq_linear_apply, handle, ditq.address(x), rows, ditq.address(y), threads)
        assert status == INVALID_ARGUMENT and word in message, (rows, threads, status, message)
    assert (y == 7).all()
    lib.ditq_linear_destroy(handle)


def test_null_is_a_sentence():
    w, x, y, handle = gaussian(4, 32), gaussian(2, 32), np.zeros((2, 4), np.float32), c_void_p()
    ditq.call(lib.ditq_linear_create, ditq.address(w), None, 4, 32, None, byref(handle))
    good = [handle, ditq.address(x), 2, ditq.address(y), 1]
    for place, name in ((0, "linear"), (1, "x"), (3, "y")):
        status, message = outcome(lib.ditq_linear_apply, *[None if i == place else value for i, value in enumerate(good)])
        assert status == INVALID_ARGUMENT and name in message and "NULL" in message
    for arguments, name in (((None, None, 4, 32, None, byref(handle)), "weights"), ((ditq.address(w), None, 4, 32, None, None), "linear")):
        status, message = outcome(lib.ditq_linear_create, *arguments)
        assert status == INVALID_ARGUMENT and name in message and "NULL" in message
    assert lib.ditq_linear_apply(handle, None, 2, ditq.address(y), 1, None) == INVALID_ARGUMENT, "no error struct is needed"
    lib.ditq_linear_destroy(handle)
    lib.ditq_linear_destroy(None)


# ---- Memory ----


@pytest.mark.parametrize("bits, group", [*FORMATS, (ditq.KEEP_FLOAT, 0)])
def test_all_memory_of_a_linear_comes_from_the_allocator_and_goes_back(bits, group):
    w, x, books = gaussian(70, 100), gaussian(5, 100, seed=2), ditq.CountingAllocator()
    options = dict(weight_bits=bits, weight_group=group)
    expected = once(w, x, **options)
    status, message, handle = create(w, allocator=ctypes.pointer(books.struct), **options)
    assert status == OK and books.live and not books.faults, message
    assert books.size >= 70 * 100 * bits // 8, "the weights are in it"
    y, before = np.zeros_like(expected), books.calls
    for threads in (1, 2):
        ditq.call(lib.ditq_linear_apply, handle, ditq.address(x), 5, ditq.address(y), threads)
        assert y.tobytes() == expected.tobytes()
    assert books.calls == before, "applying takes its memory elsewhere"
    lib.ditq_linear_destroy(handle)
    assert not books.live and not books.faults


def test_a_refused_linear_leaves_nothing_behind():
    w, books = gaussian(70, 100), ditq.CountingAllocator()
    w[0, 0] = np.nan
    for options in (dict(), dict(weight_bits=4), dict(weight_bits=5), dict(weight_group=8)):
        assert create(w, allocator=ctypes.pointer(books.struct), **options)[0] == INVALID_ARGUMENT
    assert not books.live and not books.faults
    empty = ditq.CountingAllocator(limit=0)
    status, message, _ = create(gaussian(70, 100), allocator=ctypes.pointer(empty.struct), weight_bits=4)
    assert status == OUT_OF_MEMORY and empty.calls == 1 and not empty.live, message
