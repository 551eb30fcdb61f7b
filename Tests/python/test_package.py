"""The Python package `ditq`: pictures, arrays, progress, Ctrl-C, threads, forks; that it installs, and that it finds its library or says where it looked."""
import gc
import importlib.util
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import ditq_c
import numpy as np
import pytest
from conftest import EMOJI, FIXTURES
from test_calls import png_decode

import ditq
from ditq import _ctypes as api
from ditq.errors import BY_STATUS

PACKAGE = ditq_c.ROOT / "bindings/python"
W8A8 = ditq_c.ROOT / "examples/models/emoji/emoji-w8a8.ditq"


@pytest.fixture(scope="module")
def emoji():
    with ditq.Model(W8A8) as model:
        yield model


@pytest.fixture(scope="module")
def tiny():
    """A latent model with a decoder."""
    with ditq.Model(FIXTURES / "diffusers-a/pipeline") as model:
        yield model


def python(program, *arguments, environment={}, **options):
    """What a program prints, run in an interpreter of its own on this package."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), **environment}
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=100, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Pictures ----


def test_a_picture_is_the_librarys_and_says_how_it_was_made(emoji, tmp_path):
    image = emoji.generate("Red Apple", seed=7, steps=3)
    with ditq_c.Model(W8A8) as model, model.session() as session:
        assert np.array_equal(image.numpy(), session.generate([0], [7], steps=3)[0])
    image.save(tmp_path / "apple.png")
    pixels, texts = png_decode((tmp_path / "apple.png").read_bytes())
    assert np.array_equal(pixels, image.numpy()) and texts == image.texts
    assert texts.items() >= {"Model": "emoji-w8a8.ditq", "Class": "red apple", "Seed": "7", "Steps": "3", "Guidance": "4", "Sampler": "ddim", "Label": "0"}.items()
    assert image.png() == image._repr_png_() == (tmp_path / "apple.png").read_bytes()


def test_it_writes_the_file_of_gen_png(emoji, tmp_path):
    program = ditq_c.ROOT / ".build-embedded/gen_png"
    if not program.exists():
        pytest.skip("make gen_png builds it")
    subprocess.run([program, "--model", W8A8, "--class", "red apple", "--steps", "3", "-o", tmp_path / "theirs.png"], check=True, capture_output=True)
    assert emoji.generate("red apple", seed=7, steps=3).png() == (tmp_path / "theirs.png").read_bytes()


def test_a_picture_says_all_that_it_takes_to_make_it_again(emoji):
    given = dict(steps=3, sampler="ddim", eta=0.25, guidance_scale=1 / 3, guidance_begin=0.125, guidance_end=0.75, guidance_channels=2, random="philox")
    texts = emoji.generate(4, seed=11, **given).texts
    begin, end = map(float, texts["Guidance interval"].split(" to "))
    again = dict(steps=int(texts["Steps"]), sampler=texts["Sampler"], eta=float(texts["Eta"]), guidance_scale=float(texts["Guidance"]),
                 guidance_begin=begin, guidance_end=end, guidance_channels=int(texts["Guidance channels"]), random=texts["Random"])
    assert again == given and (texts["Label"], texts["Seed"], texts["Compatibility"]) == ("4", "11", emoji.json()["compatibility"])
    assert emoji.generate(4, noise=np.zeros((1, 3, 32, 32)), steps=1).texts["Noise"] == "given" and "Noise" not in texts


def test_a_decoder_and_a_variant_are_given_and_told(tmp_path):
    path, vae = FIXTURES / "official-a/model.safetensors", FIXTURES / "diffusers-a/pipeline/vae"
    with ditq.Model(path, head_count=2, decoder=vae, prediction="epsilon") as model:
        image = model.generate(1, steps=2)
        assert image.texts["Decoder"] == "vae" and json.loads(image.texts["Config"]) == {"head_count": 2, "prediction": "epsilon"}
    with ditq_c.Model(path, head_count=2, decoder=os.fsencode(vae)) as model, model.session() as session:
        assert np.array_equal(image.numpy(), session.generate([1], [0], steps=2)[0])
    with pytest.raises(ditq.NotFound, match="fp16"):
        ditq.Model(FIXTURES / "diffusers-a/pipeline", variant="fp16")


def test_a_session_goes_on_when_its_model_is_closed(tiny):
    with ditq.Model(W8A8) as model:
        session, expected = model.session(threads=1), model.generate("red apple", seed=7, steps=1)
    picture = session.generate("red apple", seed=7, steps=1)
    assert picture.png() == expected.png()
    with ditq.Model(FIXTURES / "diffusers-a/pipeline") as model:
        latent = model.session(threads=1)
    x = np.ones((1, *tiny.latent_shape), np.float32)
    with tiny.session(threads=1) as other:
        assert np.array_equal(latent.predict(x, [5], [0]), other.predict(x, [5], [0]))
        assert np.array_equal(latent.denoise([1], seed=3, steps=1), other.denoise([1], seed=3, steps=1))
    latent.close()
    for work in (lambda: model.class_name(0), lambda: model.label("x"), model.json, lambda: model.output_channels, lambda: model.session(), lambda: model.generate(0)):
        with pytest.raises(ValueError, match="this Model is closed"):
            work()
    model.close()


def test_a_model_is_closed_when_its_last_session_goes(monkeypatch):
    closed = []
    monkeypatch.setattr(api.lib, "ditq_model_close", closed.append)  # so that this one is not
    model = ditq.Model(W8A8)
    session = model.session(threads=1)
    model.close()
    gc.collect()
    assert not closed
    session.close()
    del session
    gc.collect()
    assert len(closed) == 1


def test_cancelling_and_closing_wait_for_each_other(emoji, monkeypatch):
    """Else a session that is closed meanwhile would be cancelled where its memory was."""
    session, begun, order = emoji.session(threads=1), threading.Event(), []
    destroy, cancel = api.lib.ditq_session_destroy, api.lib.ditq_session_cancel

    def slowly(handle):
        begun.set()
        threading.Event().wait(0.2)
        cancel(handle)
        order.append("cancelled")

    monkeypatch.setattr(api.lib, "ditq_session_cancel", slowly)
    thread = threading.Thread(target=session.cancel)
    thread.start()
    assert begun.wait(10)
    session.close()
    order.append("closed")
    thread.join()
    assert order == ["cancelled", "closed"]
    with pytest.raises(ValueError, match="closed"):
        session.cancel()


def test_texts_of_files_do_not_act_where_they_are_shown(tmp_path):
    path = tmp_path / "a\n\x1b[2J\x9bÄ.ditq"
    path.write_bytes(W8A8.read_bytes())
    model = ditq.Model(path)
    image = ditq.Image(bytes(3), 1, 1, 3, {"Class": "x\n\x1b\x85🍎"})
    assert repr(model).startswith(r"<ditq.Model a\n\x1b[2J\u009bÄ.ditq: ") and repr(image) == r"<ditq.Image 1×1×3, Class: x\n\x1b\u0085🍎>"
    assert model.generate(0, steps=1).texts["Model"] == r"a\n\x1b[2J\u009bÄ.ditq"
    with pytest.raises(ditq.NotFound) as failure:
        model.label("no\n\x1b[2Jsuch")
    assert r"no\n\x1b[2Jsuch" in str(failure.value)


def test_a_model_is_not_saved_onto_the_file_that_it_was_read_from(tmp_path):
    """Mapped or copied."""
    path = tmp_path / "x.ditq"
    path.write_bytes(EMOJI.read_bytes())
    for source in (path, open(path, "rb")):
        quantized = ditq.quantize(ditq.Model(source))
        with pytest.raises(ditq.InvalidArgument, match="came from"):
            quantized.save(path)
        assert path.read_bytes() == EMOJI.read_bytes()


def test_classes_go_by_name_or_number_alone_or_in_batches(emoji):
    images = emoji.generate(["red apple", 5, None, np.int64(3)], seed=20, steps=2)
    assert [image.texts["Class"] for image in images] == ["red apple", emoji.class_name(5), "no class", emoji.class_names[3]]
    assert [image.texts["Seed"] for image in images] == ["20", "21", "22", "23"]
    for index, label in enumerate([0, emoji.class_names[5], None, 3]):
        assert emoji.generate(label, seed=20 + index, steps=2).tobytes() == images[index].tobytes()
    assert emoji.generate([5, 0], seed=[21, 20], steps=2).numpy().tobytes() == images[1].tobytes() + images[0].tobytes()
    assert images.grid().shape == (2 * 32 + 6, 2 * 32 + 6, 3) and images._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ditq.NotFound, match="red apple"):
        emoji.generate("redd apple")
    with pytest.raises(ValueError, match="2 seeds expected, 1 found"):
        emoji.generate([1, 2], seed=[3])
    with pytest.raises(TypeError, match="stepps"):
        emoji.generate(0, stepps=3)
    with pytest.raises(ValueError, match="dpmpp_2m, flow_euler, heun, dpmpp_3m expected, 'dimm' found"):
        emoji.generate(0, sampler="dimm")


def test_arrays_are_not_copied(emoji):
    images = emoji.generate([1, 2], steps=1)
    assert np.shares_memory(images.numpy(), np.asarray(images[1])) and np.shares_memory(images[0].numpy(), np.asarray(images))
    noise = np.zeros((1, 3, 32, 32), np.float32)
    assert ditq.session.floats(noise, 1, 3, 32, 32) is noise
    with pytest.raises(ValueError, match=r"\[1, 3, 32, 32\] expected, \[2, 3, 32, 32\] found"):
        emoji.generate(0, noise=np.zeros((2, 3, 32, 32)))


def test_latents_decode_and_predict_as_the_library_does(tiny, model, session):
    latents, x = tiny.denoise([1, 2], seed=3, steps=2), np.random.default_rng(0).normal(size=(2, *tiny.latent_shape)).astype(np.float32)
    theirs = session("diffusers-a")
    assert np.array_equal(latents, theirs.denoise([1, 2], [3, 4], steps=2))
    with tiny.session(threads=1, batch_limit=2, isa="generic") as own:
        assert own.json()["threads"] == 1
        assert np.array_equal(own.decode(latents).numpy(), theirs.decode(latents))
        assert np.array_equal(own.decode_float(latents), theirs.decode_float(latents))
        assert np.array_equal(own.predict(x, [1, 999], [0, None]), theirs.predict(x, [1, 999], [0, tiny.info.class_count], channels=tiny.output_channels))


def test_a_run_goes_step_by_step_and_elsewhere(tiny):
    run = tiny.run([1, 2], seed=5, steps=3)
    assert run.count == 2 and not run.guess().any() and run.step() == 2
    resumed = tiny.restore(run.save())
    while resumed.step():
        pass
    assert resumed.count == 2 and np.array_equal(resumed.latents(), tiny.denoise([1, 2], seed=5, steps=3))


def test_a_linear_multiplies():
    random = np.random.default_rng(1)
    w, b, x = random.normal(size=(8, 64)), random.normal(size=8), random.normal(size=(3, 64))
    assert np.abs(ditq.Linear(w, b, weight_bits=32)(x) - (x @ w.T + b)).max() < 1e-4
    assert np.abs(ditq.Linear(w, b, activation_range=(-4, 4))(x) - (x @ w.T + b)).max() < 1


def test_a_quantized_model_and_what_it_cost(tmp_path):
    source, stages = ditq.Model(EMOJI), []
    rules = [{"pattern": "blocks.0.*", "weight_bits": 8}]
    quantized = ditq.quantize(source, weight_bits=4, weight_method="round", rules=rules, progress=lambda done, total: stages.append((done, total)))
    assert stages and stages[-1][0] == stages[-1][1]
    assert quantized.json()["layers"]["blocks.0.mlp.fc2"]["weights"].startswith("W8") and quantized.json()["layers"]["blocks.1.mlp.fc2"]["weights"].startswith("W4")
    quantized.save(tmp_path / "w4.ditq")
    with ditq.Model(tmp_path / "w4.ditq") as model:
        model.verify()
        report = ditq.compare(source, model, steps=2, samples=1)
    assert 10 < report.sqnr_db < 60 and len(report.by_step) == 2
    layers = {row["layer"] for row in report}
    assert len(report) == 2 * len(layers) and {type(row["output_sqnr_db"]) for row in report} == {float} and report[0]["step"] == 0
    if importlib.util.find_spec("pandas"):
        assert report.pandas().groupby("layer").output_sqnr_db.min().shape == (len(layers),)
    with pytest.raises(TypeError, match="calibration_stepps"):
        ditq.quantize(source, calibration_stepps=3)


# ---- Progress, Ctrl-C, threads, forks ----


class Bar:
    made = []

    def __init__(self, total=None):
        self.total, self.n, self.closed = total, 0, 0
        Bar.made.append(self)

    def update(self, n):
        self.n += n

    def close(self):
        self.closed += 1


def test_progress_is_a_callable_a_bar_or_its_class(emoji):
    told = []
    with emoji.session(batch_limit=2) as session:
        session.generate([0, 1, 2], steps=2, progress=lambda done, total: told.append((done, total)))
        assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
        session.generate([0, 1, 2], steps=2, progress=Bar)
        own = Bar()
        session.denoise(0, steps=3, progress=own)
    made, _ = Bar.made
    assert (made.total, made.n, made.closed) == (4, 4, 1) and (own.total, own.n, own.closed) == (3, 3, 0)


def test_what_a_hook_raises_ends_the_call_and_nothing_else(emoji):
    def hook(done, total):
        raise ZeroDivisionError("enough")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="enough"):
            emoji.generate(0, steps=500, progress=hook)
    assert emoji.generate(0, seed=7, steps=2).tobytes() == ditq.Model(W8A8).generate(0, seed=7, steps=2).tobytes()


def test_a_hook_that_would_wait_for_its_own_call_is_refused(emoji):
    with pytest.raises(RuntimeError, match="busy"):
        emoji.generate(0, steps=3, progress=lambda done, total: emoji.generate(0, steps=1))
    assert emoji.generate(0, steps=1).shape == (32, 32, 3)


def test_another_thread_may_cancel(emoji):
    with emoji.session() as session, pytest.raises(ditq.Cancelled):
        session.generate(0, steps=1000, progress=lambda done, total: session.cancel())


# A shell starts what it runs in the background with SIGINT ignored, and Python keeps that: so a test run in the background would not be interrupted.
INTERRUPTED = """
import ditq, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
model = ditq.Model(sys.argv[1])
work = {
    "generate": lambda hook: model.generate(0, steps=1000, progress=hook),
    "quantize": lambda hook: ditq.quantize(model, weight_bits=4, calibration_samples=4096, progress=hook),
}[sys.argv[2]]
try:
    work(lambda done, total: print("working", flush=True) if done == 1 else None)
    print("finished")
except KeyboardInterrupt:
    print("interrupted", model.generate("red apple", seed=7, steps=2).tobytes() == ditq.Model(sys.argv[1]).generate(0, seed=7, steps=2).tobytes())
"""


@pytest.mark.parametrize("work", ["generate", "quantize"])
def test_ctrl_c_ends_a_call_and_leaves_everything_usable(work):
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, EMOJI, work], env={**os.environ, "PYTHONPATH": str(PACKAGE)}, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "working\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=100)[0].splitlines()[-1] == "interrupted True"
    finally:
        child.kill()


def test_eight_threads_share_one_model(emoji):
    alone = [emoji.generate(label, seed=label, steps=3).tobytes() for label in range(8)]
    together, shared = [None] * 16, emoji.session(threads=1)

    def draw(label):
        together[label] = emoji.generate(label, seed=label, steps=3).tobytes()
        together[8 + label] = shared.generate(label, seed=label, steps=3).tobytes()

    threads = [threading.Thread(target=draw, args=(label,)) for label in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone * 2


FORKED = """
import ditq, numpy, os, signal, sys
model = ditq.Model(sys.argv[1])
session, linear = model.session(threads=2), ditq.Linear(numpy.ones((64, 64)))
draw = lambda: model.generate(0, seed=7, steps=2).tobytes() + session.generate(0, seed=7, steps=2).tobytes()
before = draw()
linear(numpy.ones((64, 64)), threads=2)
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        linear(numpy.ones((1, 64)))
    except RuntimeError as refused:
        assert "before os.fork" in str(refused)
        fresh = ditq.Linear(numpy.ones((64, 64)))(numpy.ones((1, 64)), threads=2)
        same = draw() == before and abs(fresh[0, 0] - 64) < 1
        session.close(), model.close()
        os._exit(0 if same else 1)
    os._exit(2)
print(os.waitpid(child, 0)[1], draw() == before)
"""


def test_a_child_of_fork_makes_its_own_threads():
    assert python(FORKED, W8A8) == "0 True\n"


# ---- Errors, handles ----


def test_each_status_has_its_exception():
    assert {status.name.replace("_", "").lower() for status in api.Status} - {"ok"} == {each.__name__.lower() for each in BY_STATUS.values()}
    assert all(BY_STATUS[status].__name__.lower() == status.name.replace("_", "").lower() for status in list(api.Status)[1:])
    with pytest.raises(ditq.Malformed, match="safetensors|zip|bytes") as caught:
        ditq.Model(b"not a model at all")
    assert isinstance(caught.value, ditq.Error) and isinstance(caught.value, ValueError)
    with pytest.raises(LookupError, match="nowhere.ditq"):
        ditq.Model("/nowhere.ditq")
    with pytest.raises(ditq.ChecksumMismatch):
        ditq.Model(W8A8, sha256="0" * 64)


def test_what_is_closed_says_so():
    model = ditq.Model(W8A8.read_bytes())
    with model.session() as session, model:
        assert session.generate(0, steps=1).tobytes() == model.generate(0, steps=1).tobytes()
    for use in (lambda: model.generate(0), lambda: session.generate(0), lambda: model.json()):
        with pytest.raises(ValueError, match="is closed"):
            use()
    model.close(), session.close()


def test_what_nobody_holds_goes_at_once():
    gc.disable()
    try:
        model = ditq.Model(W8A8)
        session, run = model.session(), model.run(0, steps=1)
        held = [weakref.ref(each) for each in (model, session, run, model.default_session())]
        session.generate(0, steps=1), model.generate(0, steps=1), run.step(session)
        with pytest.raises(ditq.InvalidArgument):
            session.generate(-1)
        del model, session, run
        assert [each() for each in held] == [None] * 4
    finally:
        gc.enable()


# ---- The library, the package ----


def test_its_structs_are_those_of_the_library():
    theirs = json.loads(api.lib.ditq_abi_layout())
    assert api.layout() == theirs
    grown = json.loads(api.lib.ditq_abi_layout())
    grown["ditq_error"]["size"] += 8
    grown["ditq_error"]["fields"]["later"] = [512, 8]
    api.check_layout(json.dumps(grown))
    for change in ({"size": 8}, {"fields": {}}):
        with pytest.raises(ImportError, match="ditq_error"):
            api.check_layout(json.dumps({**theirs, "ditq_error": {**theirs["ditq_error"], **change}}))


def test_it_says_where_it_looked_for_the_library():
    program = "try:\n  import ditq\nexcept ImportError as e: print(e)"
    assert "/nowhere/libditq.so.1: " in python(program, environment={"DITQ_LIBRARY": "/nowhere/libditq.so.1"})
    looked = python(program, environment={"DITQ_LIBRARY": "", "LD_LIBRARY_PATH": ""})
    assert "DITQ_LIBRARY" in looked and str(PACKAGE / "ditq/libditq.so.1") in looked or looked == ""  # an installed one was found


def test_pictures_need_no_numpy(tmp_path):
    program = "import sys; sys.modules['numpy'] = None\nimport ditq; ditq.Model(sys.argv[1]).generate([0, 1], steps=1).grid().save('out.png')"
    python(program, W8A8, cwd=tmp_path)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_pip_installs_it_with_its_library(tmp_path):
    source = tmp_path / "repository/bindings/python"  # pip leaves build folders in what it installs
    source.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    for name in ("Makefile", "Package.swift", "Sources", "include", "Tests", ".build-embedded"):
        (tmp_path / "repository" / name).symlink_to(ditq_c.ROOT / name)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", tmp_path / "site", source]
    subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    program = "import ditq, sys; print(ditq.__file__, ditq._ctypes.lib._name); ditq.Model(sys.argv[1]).generate(0, seed=7, steps=2).save('apple.png')"
    found = python(program, W8A8, environment={"DITQ_LIBRARY": "", "PYTHONPATH": str(tmp_path / "site")}, cwd=tmp_path).split()
    assert found == [str(tmp_path / "site/ditq/__init__.py"), str(tmp_path / "site/ditq/libditq.so.1")]
    assert (tmp_path / "site/ditq/libditq.so.1").read_bytes() == (ditq_c.ROOT / ".build-embedded/lib/libditq.so.1").read_bytes()
    assert (tmp_path / "apple.png").read_bytes() == ditq.Model(W8A8).generate(0, seed=7, steps=2).png()
    (metadata,) = pathlib.Path(tmp_path / "site").glob("ditq-*.dist-info/METADATA")
    assert f"Version: {ditq.__version__}\n" in metadata.read_text()


def test_the_notebook_example_runs(tmp_path):
    (tmp_path / "examples").symlink_to(ditq_c.ROOT / "examples")
    subprocess.run([sys.executable, "examples/python/notebook.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=True, timeout=100)
    assert {path.name for path in tmp_path.glob("*.png")} == {"apple.png", "basket.png"}


def test_the_example_of_formats_draws_a_row_for_each_model(tmp_path):
    command = [sys.executable, "examples/python/formats.py", tmp_path / "formats.png", W8A8, W8A8, "--steps", "1"]
    subprocess.run(command, cwd=ditq_c.ROOT, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=True, timeout=100)
    pixels, _ = png_decode((tmp_path / "formats.png").read_bytes())
    assert pixels.shape == (2 * 128, 8 * 128, 3) and (pixels[:128] == pixels[128:]).all() and pixels.std() > 10


@pytest.mark.parametrize("kind", [bytes, bytearray, np.frombuffer])
def test_a_picture_of_any_buffer_is_saved(tmp_path, kind):
    pixels = kind(bytes(range(48)))
    ditq.Image(pixels, 4, 4, 3).save(tmp_path / "a.png")
    assert png_decode((tmp_path / "a.png").read_bytes())[0].tobytes() == bytes(range(48))


# ---- What is not meant is not done ----


def test_a_quantized_model_holds_the_bytes_that_its_source_was_made_of():
    quantized = ditq.quantize(ditq.Model(EMOJI.read_bytes()))
    gc.collect()
    with ditq.quantize(ditq.Model(EMOJI)) as expected:
        assert quantized.generate(0, seed=1, steps=2).tobytes() == expected.generate(0, seed=1, steps=2).tobytes()


def test_what_a_rule_does_not_mention_stays_as_the_options_say():
    source = ditq.Model(EMOJI)
    sizes = [
        ditq.quantize(source, weight_bits=4, weight_method="round", rules=[{"pattern": "blocks.*.attn.*", "activation_bits": 32} | more]).info.weights_size
        for more in ({}, {"weight_group": 128}, {"weight_group": 0})
    ]
    assert sizes[0] == sizes[1] > sizes[2]


@pytest.mark.parametrize("rule, error", [({"pattern": "*", "bits": 4}, TypeError), ({"weight_bits": 4}, KeyError), ({"pattern": "*\0", "weight_bits": 4}, ValueError)])
def test_a_rule_of_unknown_words_is_refused(rule, error):
    with pytest.raises(error, match=r"'bits'|'pattern'|null"):
        ditq.quantize(ditq.Model(EMOJI), rules=[rule])


@pytest.mark.parametrize("call", [
    lambda model: model.generate(2**32), lambda model: model.label(-(2**40)), lambda model: model.class_name(2**32), lambda model: model.generate(0, steps=2**32 + 1),
    lambda model: model.session(threads=2**32 + 1), lambda model: ditq.quantize(model, weight_bits=2**32 + 8), lambda model: model.generate(0, seed=[-1]),
])  # fmt: skip
def test_numbers_that_c_would_cut_are_refused(emoji, call):
    with pytest.raises(ValueError, match=r"a number from .* expected, -?\d+ found"):
        call(emoji)


@pytest.mark.parametrize("call", [
    lambda model: model.generate(0, seed=[1.7]), lambda model: model.generate(0, seed="7"), lambda model: model.generate(b"red"), lambda model: model.generate(0, steps=20.5),
])  # fmt: skip
def test_what_is_no_number_is_not_made_one(emoji, call):
    with pytest.raises(TypeError, match="expected"):
        call(emoji)


def test_a_null_character_does_not_end_a_text(emoji, tmp_path):
    image = emoji.generate(0, steps=1)
    for call in (
        lambda: ditq.Model(str(EMOJI) + "\0x"), lambda: image.save(str(tmp_path / "a.png") + "\0x"), lambda: emoji.label("red apple\0x"),
        lambda: ditq.Image(image.tobytes(), *image.shape, {"Title": "a\0b"}).png(),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="null"):
            call()
    assert not list(tmp_path.iterdir())


def test_pictures_are_pickled(emoji):
    images = emoji.generate([0, 1, 2], steps=1)
    copies = pickle.loads(pickle.dumps(images))
    assert np.array_equal(copies, images) and [copy.texts for copy in copies] == [image.texts for image in images]
    assert pickle.loads(pickle.dumps(images[1])).png() == images[1].png()


def test_a_run_knows_its_images_while_another_thread_steps_it(tiny):
    run = tiny.run([0] * 5, steps=200)
    stepping = threading.Thread(target=lambda: [run.step() for _ in range(200)])
    stepping.start()
    counts = {run.count for _ in range(1000)}
    stepping.join()
    assert counts == {5} and tiny.restore(run.save()).count == 5


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_contents(tiny, kind):
    with ditq.Model(kind(W8A8.read_bytes())) as model:
        assert model.info.class_count == 128
    run = tiny.run([1], steps=2)
    assert tiny.restore(kind(run.save())).step() == 1


def test_a_closed_model_says_that_it_is_one():
    model = ditq.Model(W8A8)
    model.generate(0, steps=1)
    model.close()
    with pytest.raises(ValueError, match="this Model is closed"):
        model.generate(0, steps=1)
