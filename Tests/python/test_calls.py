"""How calls behave: progress, cancelling, lifetimes, threads of the host, memory hooks, descriptions, class names, PNG."""
import ctypes
import itertools
import json
import shutil
import struct
import threading
import time
import zlib
from ctypes import byref, c_size_t

import ditq_c as ditq
import numpy as np
import pytest
from conftest import EMOJI, FIXTURES, open_fixture
from ditq_c import CANCELLED, INVALID_ARGUMENT, OK, lib, outcome


# ---- The library itself ----


def test_the_library_says_its_version_and_the_names_of_statuses():
    assert lib.ditq_abi_version() == 1
    numbers = lib.ditq_version().decode().split(".")
    assert len(numbers) == 3 and all(number.isdigit() for number in numbers)
    for status, name in enumerate(ditq.STATUS_NAMES):
        assert lib.ditq_status_name(status).decode() == name
    for status in (-1, 10, 99, 2**31 - 1, -(2**31)):
        assert lib.ditq_status_name(status) == b"DITQ_UNKNOWN"


def test_the_defaults_of_generate_options_are_those_of_the_header():
    options = ditq.GenerateOptions(steps=-7, guidance_scale=-7, eta=-7, noise=1, struct_size=0)
    lib.ditq_generate_options_init(byref(options))
    assert options.struct_size == ctypes.sizeof(options)
    values = {name: getattr(options, name) for name in ("sampler", "steps", "random", "guidance_channels", "reserved", "noise", "progress_context")}
    assert values == dict(sampler=0, steps=50, random=0, guidance_channels=0, reserved=0, noise=None, progress_context=None)
    assert (options.guidance_scale, options.guidance_begin, options.guidance_end, options.eta) == (4.0, 0.0, 1.0, 0.0)
    assert not options.progress


def test_no_options_are_the_options_of_init(session):
    s = session("diffusers-b")
    labels, seeds, latents = np.array([3], np.int32), np.array([9], np.uint64), np.zeros((1, *s.latent_shape), np.float32)
    ditq.call(lib.ditq_denoise, s.handle, ditq.address(labels), ditq.address(seeds), 1, None, ditq.address(latents), latents.nbytes)
    assert np.array_equal(latents, s.denoise([3], [9]))


# ---- Progress ----


@pytest.mark.parametrize("name, batch_limit, count", [("emoji", 1, 1), ("emoji", 4, 3), ("diffusers-b", 2, 5), ("diffusers-b", 1, 1)])
def test_progress_grows_evenly_and_ends_at_its_total(model, name, batch_limit, count):
    thread, seen = threading.get_ident(), []

    def progress(p):
        assert p.struct_size == ctypes.sizeof(ditq.Progress)
        assert threading.get_ident() == thread
        seen.append((p.phase, p.done, p.total, p.elapsed_seconds))

    start = time.perf_counter()
    with model(name).session(batch_limit=batch_limit) as s:
        s.generate(list(range(count)), list(range(count)), steps=3, progress=progress)
    passed = time.perf_counter() - start
    phases = [p for i, (p, *_) in enumerate(seen) if i == 0 or p != seen[i - 1][0]]
    assert set(phases) <= {ditq.PHASE_DENOISE, ditq.PHASE_DECODE} and phases[0] == ditq.PHASE_DENOISE
    for phase in set(phases):
        dones, totals = [d for p, d, _, _ in seen if p == phase], {t for p, _, t, _ in seen if p == phase}
        assert len(totals) == 1 and dones == sorted(dones) and dones[-1] == totals.pop() > 0
    batches = -(-count // batch_limit)
    assert len({d for p, d, _, _ in seen if p == ditq.PHASE_DENOISE and d > 0}) >= 3 * batches, "at least once a step"
    elapsed = [e for *_, e in seen]
    assert elapsed == sorted(elapsed) and 0 <= elapsed[0] and elapsed[-1] <= passed


def test_a_progress_callback_of_opening_a_model_is_told_of_loading():
    seen = []

    def hook(context, pointer):
        p = pointer.contents
        seen.append((context, p.struct_size, p.phase, p.done, p.total, bool(p.latents)))
        return 0

    callback = ditq.PROGRESS_CALLBACK(hook)
    with ditq.Model(EMOJI, progress=callback, progress_context=77):
        pass
    assert seen
    for context, size, phase, done, total, latents in seen:
        assert (context, size, phase, latents) == (77, ctypes.sizeof(ditq.Progress), ditq.PHASE_LOAD, False) and 0 <= done <= total
    assert seen[-1][3] == seen[-1][4] and [s[3] for s in seen] == sorted(s[3] for s in seen)
    stop = ditq.PROGRESS_CALLBACK(lambda *_: 1)
    with pytest.raises(ditq.DitqFailure) as failure:
        ditq.Model(EMOJI, progress=stop)
    assert failure.value.status == CANCELLED


# ---- Cancelling ----


@pytest.mark.parametrize("name", ["emoji", "diffusers-b"])
def test_a_callback_that_asks_to_stop_cancels_and_leaves_the_session_usable(model, name):
    with model(name).session(batch_limit=2) as s, model(name).session(batch_limit=2) as fresh:
        expected = fresh.generate([1, 2, 3], [4, 5, 6], steps=4, eta=0.5)
        calls = []
        fresh.generate([1, 2, 3], [4, 5, 6], steps=4, eta=0.5, progress=lambda p: calls.append(p.done) and None)
        for stop_at in range(1, len(calls) + 1):  # after every call that there is, those of decoding too
            told = []

            def progress(p):
                told.append(p.done)
                return len(told) == stop_at

            with pytest.raises(ditq.DitqFailure) as failure:
                s.generate([1, 2, 3], [4, 5, 6], steps=4, eta=0.5, progress=progress)
            assert failure.value.status == CANCELLED and len(told) == stop_at, "the callback was called again after it asked to stop"
        assert np.array_equal(s.generate([1, 2, 3], [4, 5, 6], steps=4, eta=0.5), expected)


def test_any_number_but_zero_from_a_callback_cancels(session):
    s = session("diffusers-b")
    for number in (1, -1, 2**31 - 1, -(2**31)):
        options = s.generate_options(steps=2)
        options.progress = ditq.PROGRESS_CALLBACK(lambda *_: number)
        labels, seeds, latents = np.zeros(1, np.int32), np.zeros(1, np.uint64), np.zeros((1, *s.latent_shape), np.float32)
        status, _ = outcome(lib.ditq_denoise, s.handle, ditq.address(labels), ditq.address(seeds), 1, byref(options), ditq.address(latents), latents.nbytes)
        assert status == CANCELLED


@pytest.mark.parametrize("threads", [1, 2])
def test_another_thread_cancels_within_a_second(model, threads):
    with model("emoji").session(threads=threads, batch_limit=4) as s:
        expected = s.denoise([7], [7], steps=2)
        started, ended = threading.Event(), {}

        def work():
            try:
                s.denoise(list(range(64)), list(range(64)), steps=1000, progress=lambda p: started.set())
            except ditq.DitqFailure as failure:
                ended.update(status=failure.status, at=time.perf_counter())

        thread = threading.Thread(target=work)
        thread.start()
        assert started.wait(30)
        asked = time.perf_counter()
        s.cancel()
        thread.join(30)
        assert not thread.is_alive()
        assert ended["status"] == CANCELLED and ended["at"] - asked < 1
        assert np.array_equal(s.denoise([7], [7], steps=2), expected)


def test_cancelling_from_inside_the_callback_cancels_too(session):
    s = session("diffusers-b")
    with pytest.raises(ditq.DitqFailure) as failure:
        s.denoise([1], [1], steps=20, progress=lambda p: s.cancel())
    assert failure.value.status == CANCELLED


def test_cancelling_an_idle_session_does_nothing(session):
    s = session("diffusers-b")
    expected = s.generate([1], [2], steps=3)
    for _ in range(3):
        s.cancel()
    assert np.array_equal(s.generate([1], [2], steps=3), expected)
    s.cancel()
    assert np.array_equal(s.decode(s.denoise([1], [2], steps=3)), expected)


def test_a_failed_call_leaves_the_session_usable(session):
    s = session("diffusers-b")
    expected = s.denoise([1], [2], steps=3)
    for wrong in (dict(labels=[99]), dict(guidance_scale=float("nan")), dict(steps=0)):
        with pytest.raises(ditq.DitqFailure):
            s.denoise(**(dict(labels=[1], seeds=[2], steps=3) | wrong))
        assert np.array_equal(s.denoise([1], [2], steps=3), expected)


# ---- Lifetimes and threads of the host ----


@pytest.mark.parametrize("name", ["emoji", "diffusers-b", "official-a"])
def test_a_session_outlives_the_model_that_it_was_made_from(model, session, name):
    expected = session(name).denoise([1], [2], steps=2)
    m = open_fixture(name)
    first, second = m.session(), m.session(threads=1)
    m.close()
    assert np.array_equal(first.denoise([1], [2], steps=2), expected)
    first.destroy()
    assert np.array_equal(second.denoise([1], [2], steps=2), expected)
    assert second.json()
    second.destroy()


def test_two_sessions_work_in_two_threads_at_once(model):
    with model("emoji").session(threads=1) as a, model("emoji").session(threads=2) as b, model("diffusers-b").session(threads=1) as c:
        work = {a: ([1, 2], [3, 4]), b: ([5, 6], [7, 8]), c: ([1, 2], [3, 4])}
        alone = {s: s.generate(*arguments, steps=5) for s, arguments in work.items()}
        together = {}

        def run(s):
            together[s] = [s.generate(*work[s], steps=5) for _ in range(3)]

        threads = [threading.Thread(target=run, args=(s,)) for s in work]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for s in work:
            assert len(together[s]) == 3 and all(np.array_equal(pixels, alone[s]) for pixels in together[s])


def test_a_session_may_move_from_thread_to_thread(session):
    s = session("emoji")
    expected, results = s.generate([1], [2], steps=2), []
    for _ in range(3):
        thread = threading.Thread(target=lambda: results.append(s.generate([1], [2], steps=2)))
        thread.start()
        thread.join()
    assert len(results) == 3 and all(np.array_equal(r, expected) for r in results)


def test_many_sessions_come_and_go():
    with open_fixture("diffusers-b") as m:
        expected = None
        for i in range(50):
            with m.session(threads=1 + i % 3) as s:
                pixels = s.generate([1], [2], steps=1)
            assert expected is None or np.array_equal(pixels, expected)
            expected = pixels


def test_opening_and_closing_leaks_nothing():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def round_trip():
        with open_fixture("diffusers-b") as m, m.session(threads=2) as s:
            s.generate([1], [2], steps=1)
        for source in (b"\0" * 64, FIXTURES / "official-a/golden.safetensors"):
            with pytest.raises(ditq.DitqFailure):
                ditq.Model(source)

    def files():
        with open("/proc/self/maps") as maps:
            return sum("diffusion_pytorch_model" in line for line in maps)

    import os

    mapped = files()
    for _ in range(10):
        round_trip()
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    for _ in range(60):
        round_trip()
    assert resident() - before < 6 << 20  # one forgotten copy of these weights a round would be 240 MB, one forgotten session some 100 MB
    assert len(os.listdir("/proc/self/fd")) == descriptors and files() == mapped


# ---- Memory hooks ----


SESSIONS = [dict(threads=1), dict(threads=2), dict(threads=5, batch_limit=3)]


@pytest.mark.parametrize("name, options", [
    *itertools.product(["emoji", "diffusers-b", "official-a"], SESSIONS),
    *itertools.product(["diffusers-b", "official-a"], [dict(threads=2, isa_limit=ditq.ISA_GENERIC)])], ids=str)
def test_session_memory_is_what_a_session_takes(model, name, options):
    m, allocator = model(name), ditq.CountingAllocator()
    size = m.session_memory(**options)
    s = m.session(allocator=ctypes.pointer(allocator.struct), **options)
    assert sum(allocator.sizes) == allocator.size == size > 0
    before = allocator.calls
    s.denoise([1, 2, 3, 4], [1, 2, 3, 4], steps=2, eta=0.5)
    s.predict(np.ones((4, *m.latent_shape), np.float32), [1, 2, 3, 4], [1, 2, 3, 4])
    if m.info.image_height:
        s.generate([1, 2, 3, 4], [1, 2, 3, 4], steps=2)
    assert allocator.calls == before, "generating allocates nothing"
    s.destroy()
    assert not allocator.live and not allocator.faults


@pytest.mark.parametrize("name", ["emoji", "diffusers-b"])
def test_weights_come_from_the_allocator_of_the_model_and_go_back_to_it(session, name):
    allocator = ditq.CountingAllocator()
    m = open_fixture(name, allocator=ctypes.pointer(allocator.struct))
    s = m.session(threads=1)
    assert np.array_equal(s.denoise([1], [2], steps=2), session(name).denoise([1], [2], steps=2))
    m.close()
    held = allocator.size
    assert np.isfinite(s.denoise([1], [2], steps=1)).all() and allocator.size == held
    s.destroy()
    assert not allocator.live and not allocator.faults


# ---- Descriptions ----


def describers(model, session):
    return [(lib.ditq_model_describe_json, model("emoji").handle), (lib.ditq_session_describe_json, session("emoji").handle)]


def test_descriptions_are_json_and_follow_the_protocol_of_needed_and_capacity(model, session):
    for function, handle in describers(model, session):
        whole = ditq.text_of(function, handle).encode()
        assert isinstance(json.loads(whole), dict)
        for capacity in (1, 2, 10, len(whole) - 1, len(whole), len(whole) + 1, len(whole) + 100):
            buffer, needed = ctypes.create_string_buffer(b"\xa5" * (capacity + 8), capacity + 8), c_size_t()
            assert outcome(function, handle, buffer, capacity, byref(needed)) == (OK, "")
            assert needed.value == len(whole) + 1
            text, _, rest = buffer.raw.partition(b"\0")
            assert text == whole[: capacity - 1] and set(rest[max(0, capacity - len(text) - 1) :]) == {0xA5}, "a copy is cut, terminated, and not a byte longer"


def test_the_description_of_a_model_holds_what_the_struct_and_the_file_say(model):
    m = model("emoji")
    text = json.dumps(m.json())
    for word in ("red apple", "alarm clock", "official", "ddim"):
        assert word in text.lower()
    for number in (m.info.hidden_size, m.info.depth, m.info.head_count, m.info.patch_size, m.info.class_count, m.info.parameter_count):
        assert str(number) in text


def test_the_description_of_a_session_says_what_really_runs(model):
    m = model("emoji")
    for options in (dict(threads=1), dict(threads=3, batch_limit=2), dict(threads=1, isa_limit=ditq.ISA_GENERIC)):
        with m.session(**options) as s:
            s.denoise([1], [1], steps=3)
            description = s.json()
            assert description["threads"] == options["threads"]
            assert str(m.session_memory(**options)) in json.dumps(description)
            assert ("generic" in description["instruction_set"].lower()) == ("isa_limit" in options)


# ---- Class names ----


def test_every_class_of_the_emoji_model_has_a_name_that_finds_it(model):
    m = model("emoji")
    names = [m.class_name(label) for label in range(m.info.class_count)]
    assert len(set(names)) == 128 and names[0] == "red apple" and names[127] == "alarm clock"
    for label, name in enumerate(names):
        assert m.find_class(name) == m.find_class(name.upper()) == m.find_class(name.title()) == label


def test_whole_names_are_found_before_aliases_and_case_does_not_matter(tmp_path):
    names = {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus", 2: "crane", 3: "crane, machine", 4: "Tinca tinca", 5: "ÉTÉ, summer", 6: "a,b", 7: "x", 8: "y", 9: "z"}
    folder = shutil.copytree(FIXTURES / "diffusers-b/pipeline", tmp_path / "pipeline")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"id2label": {str(k): v for k, v in names.items()}}))
    with ditq.Model(folder) as m:
        assert [m.class_name(label) for label in range(10)] == list(names.values()) and m.class_name(10) is None
        assert m.find_class("goldfish") == m.find_class("CARASSIUS AURATUS") == m.find_class("Goldfish, carassius Auratus") == 1
        assert m.find_class("tench") == 0 and m.find_class("tinca tinca") == 4 and m.find_class("machine") == 3
        assert m.find_class("ÉTÉ") == 5 and m.find_class("b") == 6
        with pytest.raises(ditq.DitqFailure) as failure:
            m.find_class("été")
        assert failure.value.status == ditq.NOT_FOUND
        # The whole name of 2; and what diffusers, where the last of a name counts, takes for 3.
        with pytest.raises(ditq.DitqFailure) as failure:
            m.find_class("crane")
        assert failure.value.status == ditq.INVALID_ARGUMENT and "labels 2, 3" in str(failure.value)


# ---- PNG ----


def chunks(data):
    """[(type, data)] of a PNG, the checksums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, []
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        place += 12 + length
    assert place == len(data) and found[0][0] == b"IHDR" and found[-1] == (b"IEND", b"")
    return found


def png_decode(data):
    """(pixels [height, width, channels], {key: text}) of an 8-bit PNG, by the specification (W3C PNG, 9.2 Filtering)."""
    parts = chunks(data)
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", parts[0][1])
    assert (depth, compression, filtering, interlace) == (8, 0, 0, 0)
    channels = {0: 1, 2: 3, 6: 4}[colour]
    raw = np.frombuffer(zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT")), np.uint8).reshape(height, 1 + width * channels)
    rows, above = [], [0] * (width * channels)
    for line in raw.tolist():
        kind, row = line[0], line[1:]
        for i in range(len(row)):
            left, up, corner = (row[i - channels] if i >= channels else 0), above[i], (above[i - channels] if i >= channels else 0)
            if kind == 4:
                estimate = left + up - corner
                by = min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))[2]
            else:
                by = (0, left, up, (left + up) // 2)[kind]
            row[i] = (row[i] + by) & 255
        rows.append(row)
        above = row
    texts = {}
    for kind, body in parts:
        if kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            compressed, rest = rest[0], rest[2:]
            _, _, text = rest.split(b"\0", 2)
            texts[key.decode("latin-1")] = (zlib.decompress(text) if compressed else text).decode("utf-8")
    return np.array(rows, np.uint8).reshape(height, width, channels), texts


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (7, 5, 1), (5, 7, 3), (32, 32, 3), (33, 31, 4), (1, 300, 3), (300, 1, 3)])
def test_a_png_holds_the_pixels(shape, tmp_path):
    rng = np.random.default_rng(sum(shape))
    for pixels in (rng.integers(0, 256, shape, np.uint8), np.full(shape, 255, np.uint8), np.zeros(shape, np.uint8)):
        data = ditq.png_encode(pixels)
        decoded, texts = png_decode(data)
        assert np.array_equal(decoded, pixels) and texts == {}
        ditq.png_write(tmp_path / "x.png", pixels)  # over the one before, too
        assert (tmp_path / "x.png").read_bytes() == data
        assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_texts_are_stored_as_itxt_chunks_in_utf8(tmp_path):
    texts = {"class": "red apple", "seed": "7", "k" * 79: "", "size": "32 × 32 — 画像 🍎", "long": "x" * 100_000}
    pixels = np.random.default_rng(3).integers(0, 256, (4, 4, 3), np.uint8)
    decoded, found = png_decode(ditq.png_encode(pixels, texts))
    assert np.array_equal(decoded, pixels)
    assert found == texts
    assert not {kind for kind, _ in chunks(ditq.png_encode(pixels, texts))} & {b"tIME", b"tEXt", b"zTXt"}, "nothing that was not asked for"


def test_the_same_picture_is_the_same_file():
    pixels = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    assert ditq.png_encode(pixels, {"a": "b"}) == ditq.png_encode(pixels, {"a": "b"})


def test_png_encode_follows_the_protocol_of_needed_and_capacity():
    pixels = np.random.default_rng(5).integers(0, 256, (9, 9, 3), np.uint8)
    whole = ditq.png_encode(pixels)
    for capacity in (0, 1, 8, len(whole) - 1, len(whole), len(whole) + 50):
        buffer, needed = ctypes.create_string_buffer(b"\xa5" * (capacity + 8), capacity + 8), c_size_t()
        assert outcome(lib.ditq_png_encode, ditq.address(pixels), 9, 9, 3, None, 0, buffer, capacity, byref(needed)) == (OK, "")
        copied = min(capacity, len(whole))
        assert needed.value == len(whole) and buffer.raw[:copied] == whole[:copied] and set(buffer.raw[copied:]) == {0xA5}


def test_a_png_may_be_written_to_a_device():
    ditq.png_write("/dev/null", np.zeros((2, 2, 3), np.uint8))


def test_a_generated_picture_survives_the_way_through_a_file(session, tmp_path):
    pixels = session("emoji").generate([0], [7], steps=10, guidance_scale=3.0)[0]
    ditq.png_write(tmp_path / "apple.png", pixels, {"class": "red apple", "seed": "7"})
    decoded, texts = png_decode((tmp_path / "apple.png").read_bytes())
    assert np.array_equal(decoded, pixels) and texts == {"class": "red apple", "seed": "7"}


def test_a_red_apple_is_red_in_the_middle_and_white_in_the_corners(session):
    pixels = session("emoji").generate([0], [7], steps=50, guidance_scale=3.0)[0].astype(int)
    red, green, blue = pixels[12:22, 10:22].reshape(-1, 3).mean(0)
    assert red > 150 and red > 2 * green and red > 2 * blue
    assert min(pixels[0, 0].min(), pixels[0, 31].min(), pixels[31, 0].min(), pixels[31, 31].min()) > 230
