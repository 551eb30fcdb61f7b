"""Models and golden cases that the tests share, opened once; and the mark `isolated`, which turns a crash of the library into a failed test."""
import functools
import json
import mmap
import os
import pickle
import signal
import traceback

import pytest

try:
    import ditq_c as ditq
except ImportError as missing:
    pytest.exit(f"no library to test: {missing}. Build it with `make lib`, or name one in DITQ_LIBRARY.", returncode=2)
import safetensors_io

FIXTURES = ditq.ROOT / "Tests/Fixtures"
EMOJI = ditq.ROOT / "examples/models/emoji/emoji.safetensors"


class Golden:
    """The tensors of a golden.safetensors and the settings of the golden.json beside it."""

    def __init__(self, name):
        self.folder = FIXTURES / name
        self.tensors = safetensors_io.read(self.folder / "golden.safetensors")
        settings = self.folder / "golden.json"
        self.settings = json.loads(settings.read_text()) if settings.exists() else {}

    def __getitem__(self, name):
        return self.tensors[name]


def open_fixture(name, **options):
    """A fixture's model; the public checkpoint layout has no config, so official-a is told its heads."""
    if name == "emoji":
        return ditq.Model(EMOJI, **options)
    if name == "official-a":
        return ditq.Model(FIXTURES / name / "model.safetensors", head_count=Golden(name).settings["heads"], **options)
    return ditq.Model(FIXTURES / name / "pipeline", **options)


@pytest.fixture(scope="session")
def golden():
    """golden(name): a golden case, read once."""
    return functools.cache(Golden)


@pytest.fixture(scope="session")
def model():
    """model(name): a fixture's model, opened once."""
    models = {}

    def opened(name):
        if name not in models:
            models[name] = open_fixture(name)
        return models[name]

    yield opened
    for each in models.values():
        each.close()


@pytest.fixture(scope="session")
def session(model):
    """session(name): a session of the defaults on a fixture's model, made once."""
    sessions = {}

    def made(name):
        if name not in sessions:
            sessions[name] = model(name).session()
        return sessions[name]

    yield made
    for each in sessions.values():
        each.destroy()


# ---- Tests marked `isolated` run in a forked process: a crash or a hang of the library is one failed test, not the end of all ----

PLACE = mmap.mmap(-1, 8)  # shared with the child: how far it is


def note(number):
    PLACE[:8] = number.to_bytes(8, "little")


def pytest_configure(config):
    config.addinivalue_line("markers", "isolated(seconds=100): run in a process of its own, for so many seconds at most; sessions of other fixtures have no threads there")


def in_the_child(work, write, seconds):
    signal.alarm(seconds)
    try:
        work()
        answer = ("passed", "")
    except pytest.skip.Exception as skip:
        answer = ("skipped", str(skip))
    except BaseException:
        answer = ("failed", traceback.format_exc())
    with os.fdopen(write, "wb") as pipe:
        pickle.dump(answer, pipe)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    marker = pyfuncitem.get_closest_marker("isolated")
    if not marker:
        return None
    seconds = marker.kwargs.get("seconds", 100)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    note(0)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            in_the_child(lambda: pyfuncitem.obj(**arguments), write, seconds)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    at = int.from_bytes(PLACE[:8], "little")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        pytest.fail(f"the process died of {name} at {at}" + (f": it took more than {seconds} s" if name == "SIGALRM" else ""), pytrace=False)
    if not data:
        pytest.fail(f"the process ended by itself at {at}: the library called exit", pytrace=False)
    kind, text = pickle.loads(data)
    if kind == "skipped":
        pytest.skip(text)
    if kind == "failed":
        pytest.fail(f"at {at}: {text}", pytrace=False)
    return True
