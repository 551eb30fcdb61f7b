"""Arrays of the host that change while a call reads them, by its own callback or by another of its threads: what was copied is checked, so that the
answer is a status and nothing behind a table is read. Labels and timesteps were checked once and read again, batch after batch (issue 17.10)."""
import ctypes
from ctypes import byref, c_void_p

import ditq_c as ditq
import numpy as np
import pytest
from ditq_c import INVALID_ARGUMENT, OK, lib, outcome
from test_library import compiled, needs_gcc, output

pytestmark = pytest.mark.isolated

WRONG_LABELS = [-1, 11, 10**6, 2**31 - 1, -(2**31)]


@pytest.fixture(scope="module")
def tiny(model):
    return model("official-a")


def denoised(session, labels, change, batches=3, **fields):
    """(status, message, latents) of as many batches of one image, where `change` is called after the first batch's second step."""
    options = session.generate_options(steps=2, **fields)

    def told(_, progress):
        if progress.contents.done == 2:
            change()
        return 0

    options.progress = ditq.PROGRESS_CALLBACK(told)
    seeds, latents = np.arange(batches, dtype=np.uint64), np.zeros((batches, *session.latent_shape), np.float32)
    return *outcome(lib.ditq_denoise, session.handle, ditq.address(labels), ditq.address(seeds), batches, byref(options), ditq.address(latents), latents.nbytes), latents


@pytest.mark.parametrize("wrong", WRONG_LABELS)
def test_a_callback_that_changes_labels_is_told_of_them(tiny, wrong):
    with tiny.session(threads=1, batch_limit=1) as session:
        expected = session.denoise([1], [0], steps=2)[0]
        labels = np.array([1, 2, 3], np.int32)
        status, message, latents = denoised(session, labels, lambda: labels.__setitem__(slice(1, 3), [2, wrong]))
        assert status == INVALID_ARGUMENT and f"labels[2]: 0 to 10 (no class) expected, {wrong} found" in message
        assert np.array_equal(latents[0], expected) and latents[1].any() and not latents[2].any()


def test_a_callback_that_changes_labels_to_others_has_them_used(tiny):
    with tiny.session(threads=1, batch_limit=1) as session:
        expected = session.denoise([1, 5, 10], np.arange(3), steps=2)
        labels = np.array([1, 2, 3], np.int32)
        status, _, latents = denoised(session, labels, lambda: labels.__setitem__(slice(1, 3), [5, 10]))
        assert status == OK and np.array_equal(latents, expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_callback_that_changes_the_noise_is_told_of_it(tiny, wrong):
    with tiny.session(threads=1, batch_limit=1) as session:
        noise = np.ones((3, *tiny.latent_shape), np.float32)
        labels = np.array([1, 2, 3], np.int32)
        status, message, _ = denoised(session, labels, lambda: noise[2].reshape(-1).__setitem__(7, wrong), noise=noise)
        assert status == INVALID_ARGUMENT and f"noise[{2 * noise[0].size + 7}]: a finite number expected" in message


def test_a_callback_that_changes_a_runs_arrays_changes_nothing(tiny):
    labels, seeds, noise = np.array([1, 2], np.int32), np.array([3, 4], np.uint64), np.ones((2, *tiny.latent_shape), np.float32)
    with tiny.session() as session:
        expected = session.denoise(labels.copy(), seeds.copy(), noise=noise.copy(), steps=3)

        def change(_, __):
            labels[:], seeds[:], noise[:] = -5, 0, np.nan
            return 0

        options, handle = session.generate_options(steps=3, noise=noise), c_void_p()
        options.progress = ditq.PROGRESS_CALLBACK(change)
        ditq.call(lib.ditq_run_create, tiny.handle, ditq.address(labels), ditq.address(seeds), 2, byref(options), byref(handle))
        options.noise = None
        remaining, latents = ctypes.c_int32(1), np.zeros((2, *tiny.latent_shape), np.float32)
        while remaining.value:
            ditq.call(lib.ditq_run_step, handle, session.handle, byref(remaining))
        ditq.call(lib.ditq_run_latents, handle, ditq.address(latents), None, latents.nbytes)
        lib.ditq_run_destroy(handle)
        assert np.array_equal(latents, expected)


@needs_gcc
def test_another_thread_that_changes_what_calls_read_gets_statuses_at_most(tmp_path):
    """Tests/c/changing.c: every array of the host's, right before a page that may not be touched."""
    print(output(compiled(tmp_path, ditq.ROOT / "Tests/c/changing.c"), ditq.ROOT / "Tests/fuzz/models/float.safetensors", "2"))
