"""Runs: step by step they are ditq_denoise to the byte; saved in the middle they go on anywhere with the same bytes; a step that did not happen can be
taken again; and whatever bytes are restored, the answer is a status.
"""
import ctypes
import hashlib
import struct
from ctypes import byref, c_int32, c_size_t, c_void_p

import ditq_c as ditq
import numpy as np
import pytest
from conftest import FIXTURES, note, open_fixture
from ditq_c import CANCELLED, CHECKSUM_MISMATCH, INVALID_ARGUMENT, MALFORMED, OK, OUT_OF_MEMORY, UNSUPPORTED, lib, outcome
from test_samplers import official_as

LABELS, SEEDS = [2, 5, 10], [7, 2**33 + 1, 3]
RUNS = {
    "ddim": dict(sampler=ditq.SAMPLER_DDIM), "ddim, eta": dict(sampler=ditq.SAMPLER_DDIM, eta=0.7), "ddpm": dict(sampler=ditq.SAMPLER_DDPM),
    "ddpm, philox": dict(sampler=ditq.SAMPLER_DDPM, random=ditq.RANDOM_PHILOX), "dpmpp_2m": dict(sampler=ditq.SAMPLER_DPMPP_2M),
    "dpmpp_2m, guided in the middle": dict(sampler=ditq.SAMPLER_DPMPP_2M, guidance_begin=0.3, guidance_end=0.6, guidance_channels=2),
    "flow_euler": dict(sampler=ditq.SAMPLER_FLOW_EULER), "flow, heun": dict(sampler=ditq.SAMPLER_HEUN), "heun": dict(sampler=ditq.SAMPLER_HEUN),
    "dpmpp_3m": dict(sampler=ditq.SAMPLER_DPMPP_3M),
}  # fmt: skip


@pytest.fixture(scope="module")
def models():
    opened = {"epsilon": open_fixture("official-a"), "velocity": official_as({"prediction": "velocity", "noise_timestep": 1})}
    yield opened
    for model in opened.values():
        model.close()


def model_of(models, name):
    return models["velocity" if name.startswith("flow") else "epsilon"]


def options(name, steps=5):
    return dict(steps=steps, guidance_scale=2.5) | RUNS[name]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_step_by_step_is_denoising_to_the_byte(models, name):
    m = model_of(models, name)
    with m.session(threads=1, batch_limit=2) as s, m.session(threads=2, batch_limit=3) as other, ditq.Run(m, LABELS, SEEDS, **options(name)) as run:
        expected, steps = other.denoise_steps(LABELS, SEEDS, **options(name))
        assert np.array_equal(run.latents()[1], np.zeros_like(expected)), "no guess before the first step"
        for i in range(5):
            assert run.step((s, other)[i % 2]) == 4 - i
            assert np.array_equal(run.latents()[0], steps[i])
        latents, guess = run.latents()
        assert np.array_equal(latents, expected)
        assert np.array_equal(guess, expected), "the last guess is the result"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_saved_in_the_middle_goes_on_anywhere_with_the_same_bytes(models, name):
    m = model_of(models, name)
    with m.session() as s:
        expected = s.denoise(LABELS, SEEDS, **options(name))
        for at in range(6):
            with ditq.Run(m, LABELS, SEEDS, **options(name)) as run:
                for _ in range(at):
                    run.step(s)
                saved = run.save()
                assert run.save() == saved, "saving changes nothing"
                here = run.latents()
            for isa, threads, limit in ((ditq.ISA_GENERIC, 3, 1), (ditq.ISA_AVX2, 1, 2), (ditq.ISA_BEST, 2, 3)):
                with m.session(isa_limit=isa, threads=threads, batch_limit=limit) as elsewhere, ditq.Run(m, saved=saved) as run:
                    assert all(np.array_equal(a, b) for a, b in zip(run.latents(3), here)) and run.save() == saved
                    if at < 5:
                        run.finish(elsewhere)
                    assert np.array_equal(run.latents(3)[0], expected)


def test_a_run_goes_on_in_another_handle_of_the_same_model(models):
    with open_fixture("official-a") as again, again.session() as s, models["epsilon"].session() as first, ditq.Run(models["epsilon"], LABELS, SEEDS, **options("ddpm")) as run:
        run.step(first)
        saved = run.save()
        expected = run.finish(first).latents()[0]
        with ditq.Run(again, saved=saved) as resumed:
            assert np.array_equal(resumed.finish(s).latents(3)[0], expected)
        with ditq.Run(models["epsilon"], saved=saved) as resumed:
            assert np.array_equal(resumed.finish(s).latents(3)[0], expected)


def test_noise_of_the_host_and_small_images_odd_in_number_are_kept():
    """Below sixteen values torch draws pairs, and one may wait in the generator: saved, it waits still."""
    import json

    import safetensors_io

    tensors = dict(safetensors_io.read(FIXTURES / "official-a/model.safetensors"))
    tensors["pos_embed"] = np.ascontiguousarray(tensors["pos_embed"][:, :1])
    tensors["x_embedder.proj.weight"] = np.ascontiguousarray(tensors["x_embedder.proj.weight"][:, :3, :1, :1])
    tensors["final_layer.linear.weight"] = np.ascontiguousarray(tensors["final_layer.linear.weight"][:6])
    tensors["final_layer.linear.bias"] = np.ascontiguousarray(tensors["final_layer.linear.bias"][:6])
    with ditq.Model(safetensors_io.encode(tensors, {"ditq.config": json.dumps({"head_count": 2})})) as m, m.session() as s:
        assert m.latent_shape == (3, 1, 1)
        noise = np.ones((3, 3, 1, 1), np.float32)
        for fields in (options("ddpm"), options("ddim, eta") | dict(noise=noise)):
            expected = s.denoise(LABELS, SEEDS, **fields)
            with ditq.Run(m, LABELS, SEEDS, **fields) as run:
                if "noise" in fields:
                    noise[:] = 7  # it was copied
                for _ in range(5):
                    with ditq.Run(m, saved=run.save()) as resumed:
                        assert np.array_equal(resumed.finish(s).latents(3)[0], expected)
                    run.step(s)


# ---- Steps that do not happen ----


def test_a_step_that_is_cancelled_in_any_batch_is_taken_again_with_the_same_bytes(models):
    """Cancelled from inside: by the callback of the run, which is told when the whole step is there, and by another thread while it computes."""
    import threading

    m = models["epsilon"]
    labels, seeds = list(range(8)) * 4, list(range(32))
    stop = []
    fields = options("ddpm") | dict(progress=lambda p: stop.pop() if stop else False)
    with m.session(threads=1, batch_limit=2) as s:
        expected = s.denoise(labels, seeds, **options("ddpm"))
        with ditq.Run(m, labels, seeds, **fields) as run:
            for i in range(5):
                before = run.save()
                stop.append(True)
                assert outcome(lib.ditq_run_step, run.handle, s.handle, byref(c_int32()))[0] == CANCELLED and run.save() == before
                timer = threading.Timer(0.001 * (i + 1), s.cancel)
                timer.start()
                status, _ = outcome(lib.ditq_run_step, run.handle, s.handle, byref(c_int32()))
                timer.join()
                if status == CANCELLED:
                    assert run.save() == before
                    assert run.step(s) == 4 - i
                else:
                    assert status == OK
            assert np.array_equal(run.latents()[0], expected)


def test_a_progress_callback_is_told_of_each_step_with_its_latents(models):
    m, seen = models["epsilon"], []

    def progress(p):
        seen.append((p.phase, p.done, p.total, np.ctypeslib.as_array(p.latents, (3, *m.latent_shape)).copy()))

    with m.session() as s, ditq.Run(m, LABELS, SEEDS, progress=progress, **options("ddim")) as run:
        for i in range(5):
            run.step(s)
            assert seen[i][:3] == (ditq.PHASE_DENOISE, i + 1, 5) and np.array_equal(seen[i][3], run.latents()[0])
        assert len(seen) == 5


def test_a_run_serves_one_call_at_a_time(models):
    m, statuses = models["epsilon"], []

    def progress(p):
        latents = np.zeros((3, *m.latent_shape), np.float32)
        statuses.append(outcome(lib.ditq_run_latents, run.handle, ditq.address(latents), None, latents.nbytes))
        statuses.append(outcome(lib.ditq_run_step, run.handle, s.handle, byref(c_int32())))

    with m.session() as s, ditq.Run(m, LABELS, SEEDS, progress=progress, **options("ddim", steps=1)) as run:
        assert run.step(s) == 0
        assert len(statuses) == 2 and all(status == INVALID_ARGUMENT and "another call" in message for status, message in statuses)


def test_a_step_that_fails_changes_nothing(models):
    m, remaining = models["epsilon"], c_int32(77)
    with m.session() as s, models["velocity"].session() as wrong, ditq.Run(m, LABELS, SEEDS, **options("ddim", steps=2)) as run:
        before = run.save()
        status, message = outcome(lib.ditq_run_step, run.handle, wrong.handle, byref(remaining))
        assert status == INVALID_ARGUMENT and "session" in message and "model" in message
        assert run.save() == before
        run.finish(s)
        status, message = outcome(lib.ditq_run_step, run.handle, s.handle, byref(remaining))
        assert status == INVALID_ARGUMENT and "step" in message and remaining.value == 77
        assert np.array_equal(run.latents()[0], s.denoise(LABELS, SEEDS, **options("ddim", steps=2)))


def test_runs_outlive_their_model_and_share_a_session(models):
    m = open_fixture("official-a")
    with m.session(batch_limit=3) as s:
        a, b = ditq.Run(m, LABELS, SEEDS, **options("ddpm")), ditq.Run(m, LABELS[::-1], SEEDS[::-1], **options("ddpm"))
        m.close()
        for _ in range(5):
            a.step(s), b.step(s)
        m.latent_shape = models["epsilon"].latent_shape
        assert np.array_equal(a.latents()[0], b.latents()[0][::-1])
        a.destroy(), b.destroy()


# ---- Bytes ----


def test_saving_follows_the_protocol_of_needed_and_capacity(models):
    with ditq.Run(models["epsilon"], LABELS, SEEDS, **options("ddim")) as run:
        whole = run.save()
        for capacity in (1, 2, 7, 150, 2000, len(whole) - 33, len(whole) - 32, len(whole) - 1, len(whole), len(whole) + 9):
            buffer, needed = ctypes.create_string_buffer(b"\xa5" * (capacity + 8), capacity + 8), c_size_t()
            assert outcome(lib.ditq_run_save, run.handle, buffer, capacity, byref(needed)) == (OK, "")
            copied = min(capacity, len(whole))
            assert needed.value == len(whole) and set(buffer.raw[copied:]) == {0xA5} and buffer.raw[:copied] == whole[:copied], capacity


def test_the_record_is_as_documented(models):
    """Pipelines/RunRecord.swift, "The record, byte by byte"."""
    with models["epsilon"].session() as s, ditq.Run(models["epsilon"], LABELS, SEEDS, **options("ddim, eta") | dict(guidance_end=0.75, guidance_channels=2)) as run:
        run.step(s)
        data, (latents, guess) = run.save(), run.latents()
    assert data[:8] == b"DITQRUN\0" and struct.unpack_from("<QQ", data, 8) == (1, len(data))
    assert struct.unpack_from("<QQQQdddQdQQ", data, 56) == (1, 5, 1, 0, 2.5, 0.0, 0.75, 2, 0.7, 3, 256)
    each = 2528 + 8 * 256
    assert len(data) == 144 + 3 * each + 32 and data[-32:] == hashlib.sha256(data[:-32]).digest()
    for i in range(3):
        label, used, seed, spares, zero, spare = struct.unpack_from("<iIQIId", data, 144 + i * each)
        assert (label, seed, spares, zero, spare) == (LABELS[i], SEEDS[i], 0, 0, 0) and used == 512
        values = np.frombuffer(data, "<f4", 512, 144 + i * each + 2528)
        assert np.array_equal(values[:256], latents[i].reshape(-1)) and np.array_equal(values[256:], guess[i].reshape(-1))


def restored(model, data):
    """(status, message) of restoring; what was restored is destroyed, and what was not has left the handle alone."""
    handle, array = c_void_p(0x5A5A), np.frombuffer(data, np.uint8) if data else np.zeros(1, np.uint8)
    status, message = outcome(lib.ditq_run_restore, model.handle, ditq.address(array), len(data), byref(handle))
    if status == OK:
        lib.ditq_run_destroy(handle)
    else:
        assert handle.value == 0x5A5A
    return status, message


@pytest.fixture(scope="module")
def saved(models):
    with models["epsilon"].session() as s, ditq.Run(models["epsilon"], [2], [7], **options("ddpm")) as run:
        run.step(s)
        return run.save()


@pytest.mark.isolated
def test_bytes_cut_at_every_length_are_malformed(models, saved):
    for size in range(len(saved)):
        note(size)
        status, message = restored(models["epsilon"], saved[:size])
        assert status == MALFORMED and "run" in message
    assert restored(models["epsilon"], saved + b"\0")[0] == MALFORMED and restored(models["epsilon"], saved)[0] == OK


@pytest.mark.isolated
def test_bytes_that_were_changed_anywhere_are_refused(models, saved):
    for place in range(len(saved)):
        note(place)
        changed = bytearray(saved)
        changed[place] ^= 1 << place % 8
        assert restored(models["epsilon"], bytes(changed))[0] in (MALFORMED, UNSUPPORTED, CHECKSUM_MISMATCH)
    assert restored(models["epsilon"], bytes(changed))[0] == CHECKSUM_MISMATCH


def forged(data, offset, form, value):
    """The record with another number in it, and a checksum that fits."""
    changed = bytearray(data[:-32])
    struct.pack_into("<" + form, changed, offset, value)
    return bytes(changed) + hashlib.sha256(changed).digest()


HUGE = [2**31, 2**32, 2**62, 2**63, 2**64 - 1]
BAD_NUMBERS = {
    "version": (8, "Q", [0, 2, 2**64 - 1]), "byte count": (16, "Q", [0, 1, *HUGE]), "fingerprint": (24, "Q", [0, 1]), "sampler": (56, "Q", [0, 4, 5, *HUGE]),
    "steps": (64, "Q", [0, 1001, *HUGE]), "steps taken": (72, "Q", [6, *HUGE]), "random": (80, "Q", [2, *HUGE]),
    "guidance_scale": (88, "d", [-1, 1001, float("nan"), float("inf")]), "guidance_begin": (96, "d", [-0.1, 1.1, float("nan")]),
    "guidance_end": (104, "d", [-0.1, 1.1, float("nan")]), "guidance_channels": (112, "Q", [5, *HUGE]), "eta": (120, "d", [0.5, 2, float("nan")]),
    "images": (128, "Q", [0, 2, *HUGE]), "latent values": (136, "Q", [0, 255, 257, *HUGE]), "label": (144, "i", [-1, 11, 2**31 - 1, -(2**31)]),
    "words used": (148, "I", [625, 2**32 - 1]), "spares": (160, "I", [2, 2**32 - 1]), "zero": (164, "I", [1]), "spare": (168, "d", [float("nan"), float("inf")]),
    "latents": (144 + 2528, "f", [float("nan"), float("inf")]), "guess": (144 + 2528 + 1024, "f", [float("nan"), float("-inf")]),
}  # fmt: skip


@pytest.mark.isolated
@pytest.mark.parametrize("field", BAD_NUMBERS)
def test_a_forged_record_is_refused_whatever_its_checksum_says(models, saved, field):
    offset, form, values = BAD_NUMBERS[field]
    for place, value in enumerate(values):
        note(place)
        status, message = restored(models["epsilon"], forged(saved, offset, form, value))
        assert status in (MALFORMED, UNSUPPORTED, INVALID_ARGUMENT) and message, f"{value}: {status}"
    right = struct.unpack_from("<" + form, saved, offset)[0]
    assert restored(models["epsilon"], forged(saved, offset, form, right))[0] == OK


@pytest.mark.isolated
def test_bytes_of_nothing_are_refused(models):
    for data in (b"", b"\0", b"DITQRUN\0", bytes(10_000), b"\xff" * 10_000, bytes(176)):
        assert restored(models["epsilon"], data)[0] == MALFORMED


def test_a_run_of_another_model_is_refused(models, saved, model):
    for other in (models["velocity"], model("diffusers-b"), model("emoji")):
        status, message = restored(other, saved)
        assert status == INVALID_ARGUMENT and "model" in message
    with models["epsilon"].quantize() as quantized:
        assert restored(quantized, saved)[0] == INVALID_ARGUMENT, "in integers the result would not be the same to the bit"


# ---- What a run is does not change with the model that takes its steps ----


def test_a_step_by_a_model_that_records_another_sampler_is_the_same():
    """The sampler that DITQ_SAMPLER_AUTO means is the one of the model that the run was made with; it was asked of each step's model anew, and of the one
    that saved: three different pictures (issue 17.11)."""
    with official_as({"sampler": "ddim"}) as made, official_as({"sampler": "dpmpp_2m"}) as other, official_as({"sampler": "ddpm"}) as third:
        with made.session() as s, other.session() as elsewhere, third.session() as beyond, ditq.Run(made, LABELS, SEEDS, steps=4) as run:
            expected = s.denoise(LABELS, SEEDS, steps=4)
            assert not np.array_equal(expected, elsewhere.denoise(LABELS, SEEDS, steps=4)), "their samplers differ"
            run.step(elsewhere)
            saved = run.save()
            with ditq.Run(third, saved=saved) as resumed:
                assert resumed.save() == saved
                resumed.step(elsewhere), resumed.step(s)
                assert np.array_equal(resumed.finish(beyond).latents(3)[0], expected)
            assert np.array_equal(run.finish(beyond).latents()[0], expected)


def test_an_early_record_leaves_the_guided_channels_to_the_model(models):
    """They were written as 0 where the options had 0."""
    with models["epsilon"].session() as s, ditq.Run(models["epsilon"], LABELS, SEEDS, **options("ddpm")) as run:
        run.step(s)
        saved = run.save()
        assert struct.unpack_from("<Q", saved, 112) == (3,), "those of the official code"
        expected = run.finish(s).latents()[0]
        with ditq.Run(models["epsilon"], saved=forged(saved, 112, "Q", 0)) as resumed:
            assert resumed.save() == saved
            assert np.array_equal(resumed.finish(s).latents(3)[0], expected)


# ---- What is told of runs and sessions ----


def told(function, handle, info):
    ditq.call(function, handle, byref(info))
    return info


def test_a_run_says_where_it_stands(models):
    m = models["epsilon"]
    with m.session() as s, ditq.Run(m, LABELS, SEEDS, steps=4) as run, ditq.Run(m, LABELS[:2], SEEDS, steps=3, sampler=ditq.SAMPLER_HEUN) as heun:
        for taken in range(4):
            info = told(lib.ditq_run_describe, run.handle, ditq.RunInfo())
            assert (info.sampler, info.steps, info.steps_taken, info.count) == (ditq.SAMPLER_DDIM, 4, taken, 3)
            run.step(s)
        with ditq.Run(m, saved=heun.save()) as resumed:
            info = told(lib.ditq_run_describe, resumed.handle, ditq.RunInfo())
            assert (info.sampler, info.steps, info.steps_taken, info.count) == (ditq.SAMPLER_HEUN, 3, 0, 2)


def test_a_session_says_what_it_works_with(models):
    m = models["epsilon"]
    for options in (dict(threads=1, isa_limit=ditq.ISA_GENERIC), dict(threads=2, batch_limit=3)):
        with m.session(**options) as s:
            info, json = told(lib.ditq_session_describe, s.handle, ditq.SessionInfo()), s.json()
            assert (info.isa, info.threads, info.batch_limit, info.memory_size) == (json["isa"], json["threads"], json["batch_limit"], json["memory"])


def test_a_model_says_its_output_channels_to_a_program_that_knows_them(models):
    model = models["epsilon"]
    assert model.info.output_channels == 2 * model.info.latent_channels
    older = ditq.ModelInfo(output_channels=77)
    older.struct_size = ditq.ModelInfo.output_channels.offset
    told(lib.ditq_model_describe, model.handle, older)
    assert older.output_channels == 77 and older.macs_per_forward == model.info.macs_per_forward and older.struct_size == ditq.ModelInfo.output_channels.offset


@pytest.mark.parametrize("info, function", [(ditq.RunInfo, "ditq_run_describe"), (ditq.SessionInfo, "ditq_session_describe")])
def test_what_is_told_needs_room(models, info, function):
    with models["epsilon"].session() as s, ditq.Run(models["epsilon"], LABELS, SEEDS) as run:
        handle, found = (run if info is ditq.RunInfo else s).handle, info()
        found.struct_size -= 1
        for arguments in ((handle, byref(found)), (handle, None), (None, byref(info()))):
            assert outcome(getattr(lib, function), *arguments)[0] == INVALID_ARGUMENT


# ---- Arguments ----


@pytest.mark.parametrize("fields, word", [
    (dict(sampler=9), "sampler"), (dict(sampler=ditq.SAMPLER_FLOW_EULER), "sampler"), (dict(random=9), "random"), (dict(steps=0), "steps"), (dict(eta=2.0), "eta"),
    (dict(guidance_channels=9), "guidance_channels"), (dict(guidance_scale=float("nan")), "guidance_scale"),
])  # fmt: skip
def test_a_run_is_checked_when_it_is_made(models, fields, word):
    with pytest.raises(ditq.DitqFailure) as failure:
        ditq.Run(models["epsilon"], LABELS, SEEDS, **fields)
    assert failure.value.status in (INVALID_ARGUMENT, UNSUPPORTED) and word in failure.value.message


@pytest.mark.isolated
def test_labels_seeds_counts_and_buffers_of_runs_are_checked(models):
    m, handle = models["epsilon"], c_void_p(0x5A5A)
    labels, seeds = np.array([1], np.int32), np.array([1], np.uint64)
    create = lambda count, seeds=seeds: outcome(lib.ditq_run_create, m.handle, ditq.address(labels), ditq.address(seeds), count, None, byref(handle))
    for count in (0, 2**53, 2**60, 2**62, 2**63, 2**64 - 1):
        assert create(count)[0] == INVALID_ARGUMENT
    for count in (2**40, 2**50):
        assert create(count)[0] in (INVALID_ARGUMENT, OUT_OF_MEMORY), "nothing was read past the one label"
    assert create(1, None)[0] == INVALID_ARGUMENT and "seeds" in create(1, None)[1]
    labels[0] = 11
    assert create(1)[0] == INVALID_ARGUMENT and handle.value == 0x5A5A
    with ditq.Run(m, [1], [1]) as run:
        latents = np.zeros((1, *m.latent_shape), np.float32)
        status, message = outcome(lib.ditq_run_latents, run.handle, ditq.address(latents), None, latents.nbytes - 1)
        assert status == INVALID_ARGUMENT and str(latents.nbytes) in message and not latents.any()
        assert outcome(lib.ditq_run_latents, run.handle, None, None, latents.nbytes) == (OK, "")
        assert outcome(lib.ditq_run_latents, run.handle, None, ditq.address(latents), latents.nbytes) == (OK, "")
