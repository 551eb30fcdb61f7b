"""When the system refuses: memory, threads, disks, files that change or vanish, processes that are killed. SECURITY.md says what is promised."""
import ctypes
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time

import ditq_c as ditq
import numpy as np
import pytest
from conftest import EMOJI, FIXTURES
from test_library import needs_gcc
from test_resources import compiled

W8A8, W4A8 = EMOJI.with_name("emoji-w8a8.ditq"), EMOJI.with_name("emoji-w4a8.ditq")

sys.path.insert(0, str(ditq.ROOT / "Tests/tools"))
import many_layers  # noqa: E402

# ---- Memory, threads, callbacks ----

# Of thousands of requests each of these; `make failures` takes all of the tiny pipeline's, which has a decoder, and more of those of many layers and names.
EVERY = {"tiny": {"heap": 7, "exhausted": 17}, "many": {"callback": 29, "hook": 5, "threads": 1, "blocks": 29, "heap": 1999, "exhausted": 9973}}
ALLOCATING = {
    "open", "open_packed", "open_reader", "verify", "session", "session_memory", "run_create", "run_restore", "quantize", "quantize_calibrated",
    "quantize_by_rules", "compare", "save", "describe", "find_class", "png_write", "linear_create", "linear_apply", "apply_at_once",
}  # fmt: skip


@needs_gcc
@pytest.mark.parametrize("fault, refused", [
    ("callback", {"open", "open_packed", "open_reader", "denoise", "generate", "run_step", "quantize", "quantize_calibrated", "quantize_by_rules", "compare"}),
    ("hook", {"open", "open_packed", "open_reader", "session", "linear_create"}),
    ("threads", {"session", "quantize", "quantize_calibrated", "quantize_by_rules", "compare", "linear_apply", "apply_at_once"}),
    ("blocks", ALLOCATING),
    ("heap", ALLOCATING),
    ("exhausted", ALLOCATING),
])  # fmt: skip
@pytest.mark.parametrize("model", ["tiny", "many"])
def test_whatever_is_refused_at_any_moment_is_a_status_and_leaves_nothing(tmp_path, fault, refused, model):
    (tmp_path / "made").mkdir()
    pipeline = ditq.ROOT / "Tests/fuzz/models/pipeline"
    if model == "many":
        pipeline = tmp_path / "many"
        many_layers.make(pipeline)
    program = compiled("failures", tmp_path, "-ldl")
    done = subprocess.run([program, fault, pipeline, "0", tmp_path / "made", str(EVERY[model].get(fault, 1))], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    refusals = dict(line.split() for line in done.stdout.splitlines())
    phases = refusals.pop("phases")
    assert phases == "00000" if fault != "callback" else phases == "11111" or model == "many", "phases in which a callback cancelled"
    assert len(refusals) == 22
    assert {name for name, count in refusals.items() if count != "0"} == refused


def asking_for(shape, dtype="F32", size=4):
    """A header of tensors like official-a's, of which one asks for terabytes; no data."""
    count = size * int(np.prod([int(n) for n in shape], dtype=object))
    header = json.dumps({"x_embedder.proj.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, count]}}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.mark.parametrize("shape", [[1 << 20, 1 << 20], [1 << 40], [1, 1, 1 << 44]])
def test_a_file_that_asks_for_terabytes_is_refused_before_anything_is_allocated(shape):
    allocator, handle, data = ditq.CountingAllocator(), ctypes.c_void_p(), np.frombuffer(asking_for(shape), np.uint8)
    options = ditq.ModelOptions(allocator=ctypes.pointer(allocator.struct))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, message = ditq.outcome(ditq.lib.ditq_model_open_memory, ditq.address(data), data.size, ctypes.byref(options), ctypes.byref(handle))
    assert status == ditq.MALFORMED and "expected" in message
    assert allocator.calls == 0 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KB


def test_terabytes_that_a_sparse_file_really_has_are_refused_too(tmp_path):
    shape, path = [1 << 10, 4, 1 << 14, 1 << 14], tmp_path / "sparse.safetensors"
    header = asking_for(shape)
    path.write_bytes(header)
    try:
        os.truncate(path, len(header) + 4 * int(np.prod(shape, dtype=np.int64)))
    except OSError as refused:
        pytest.skip(f"the file system has no such files: {refused}")
    allocator = ditq.CountingAllocator()
    with pytest.raises(ditq.DitqFailure):
        ditq.Model(path, allocator=ctypes.pointer(allocator.struct))
    assert allocator.calls == 0


def test_the_limits_of_security_md_are_those_of_the_source():
    source = (ditq.ROOT / "Sources/DitqCore/Storage/Limits.swift").read_text()
    limits = [expression.strip() for expression in re.findall(r"static let \w+ = (.+)", source)]
    table = (ditq.ROOT / "SECURITY.md").read_text().split("## Limits")[1].split("## What was tried")[0]
    listed = [number for row in re.findall(r"^\| .+ \| (.+) \|$", table, flags=re.M) for number in row.split(" · ")]
    shown = [limit.replace("_", "").replace("...", " to ") if "..." in limit else str(eval(limit)) for limit in limits]  # noqa: S307: our own source
    assert listed == shown


# ---- Disks ----


@pytest.mark.isolated
@pytest.mark.parametrize("limit", [0, 1, 4096, 1_000_000])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, limit):
    target = tmp_path / "x"
    target.write_bytes(b"the old one")
    pixels = np.random.default_rng(1).integers(0, 256, (700, 700, 3), np.uint8)
    with ditq.Model(W8A8) as model:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for write in (lambda: model.save(target), lambda: ditq.png_write(target, pixels)):
            with pytest.raises(ditq.DitqFailure) as failure:
                write()
            assert failure.value.status == ditq.IO_FAILED and os.strerror(27) in failure.value.message  # EFBIG: "File too large"
            assert target.read_bytes() == b"the old one" and os.listdir(tmp_path) == ["x"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        model.save(target)
    assert target.read_bytes() == W8A8.read_bytes()


SAVING = """
import sys, ditq_c as d
models = [d.Model(path) for path in sys.argv[2:]]
print("ready", flush=True)
while True:
    for model in models: model.save(sys.argv[1])
"""


def test_a_save_that_is_killed_at_any_moment_leaves_the_old_file_or_the_new_one_whole(tmp_path):
    target = tmp_path / "x.ditq"
    whole = [path.read_bytes() for path in (W8A8, W4A8)]
    target.write_bytes(whole[0])
    moments, seen = random.Random(5), set()
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVING, target, W8A8, W4A8], cwd=ditq.ROOT / "Tests/python", stdout=subprocess.PIPE, env=os.environ | {"DITQ_LIBRARY": str(ditq.PATH)}
        )
        child.stdout.readline()
        for _ in range(10):  # stopped, a process is as far as one that is killed there
            time.sleep(moments.uniform(0, 0.02))
            child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED)
            seen.add(whole.index(target.read_bytes()))
            child.send_signal(signal.SIGCONT)
        child.kill()
        child.wait()
        seen.add(whole.index(target.read_bytes()))
        ditq.Model(target).close()
    assert seen == {0, 1}, "it was never caught in the midst of its work"
    left = [name for name in os.listdir(tmp_path) if name != "x.ditq"]
    assert all(re.fullmatch(r"\.ditq-[-\d]+\.tmp", name) for name in left), left


# ---- Files that change ----


def picture(model):
    with model.session(threads=1) as session:
        return session.generate([3], [5], steps=2).tobytes()


@pytest.mark.isolated
def test_a_mapped_file_may_be_replaced_or_removed_but_not_by_its_own_save(tmp_path):
    path = tmp_path / "x.ditq"
    path.write_bytes(W8A8.read_bytes())
    with ditq.Model(path) as model, ditq.Model(W4A8) as other:
        before = picture(model)
        with pytest.raises(ditq.DitqFailure) as failure:
            model.save(path)
        assert failure.value.status == ditq.INVALID_ARGUMENT and path.read_bytes() == W8A8.read_bytes() and picture(model) == before
        other.save(path)
        assert path.read_bytes() == W4A8.read_bytes() and picture(model) == before
        model.save(path)  # which is another file now
        assert path.read_bytes() == W8A8.read_bytes()
        path.unlink()
        assert picture(model) == before
        model.verify()


def test_a_mapped_file_that_is_truncated_is_what_security_md_says(tmp_path):
    """The one thing that no library can turn into a status: should it change, SECURITY.md is to be changed with it."""
    program = "import os, sys, ditq_c as d\nm = d.Model(sys.argv[1])\nos.truncate(sys.argv[1], 4096)\nm.verify()"
    path = tmp_path / "x.ditq"
    path.write_bytes(W8A8.read_bytes())
    done = subprocess.run([sys.executable, "-c", program, path], cwd=ditq.ROOT / "Tests/python", env=os.environ | {"DITQ_LIBRARY": str(ditq.PATH)})
    assert done.returncode == -signal.SIGBUS


# ---- Processes that fork ----

FORK = """
import os, signal, sys
import numpy as np
import ditq_c as d
weights, handle = np.ones((40, 70), np.float32), d.c_void_p()
d.call(d.lib.ditq_linear_create, d.address(weights), None, 40, 70, None, d.byref(handle))
def linear(rows, threads):
    y = np.zeros((rows, 40), np.float32)
    d.call(d.lib.ditq_linear_apply, handle, d.address(weights), rows, d.address(y), threads)
    return y
model = d.Model(sys.argv[1])
one, two = model.session(threads=1), model.session(threads=2)
draw = lambda session: session.generate([3], [5], steps=2).tobytes()
before, product, run = draw(two), linear(4, 2), d.Run(model, [1], [1], steps=3)
run.step(two)
child = os.fork()
if child == 0:
    signal.alarm(100)
    for work in (lambda: draw(two), lambda: run.step(two)):
        try: work()
        except d.DitqFailure as failure: assert failure.status == d.UNSUPPORTED and "fork" in failure.message
        else: os._exit(2)
    two.destroy()
    fresh = model.session(threads=2)
    same = draw(one) == before and draw(fresh) == before and (linear(4, 2) == product).all() and (linear(9, 3) == product[0]).all()
    run.step(fresh)
    d.lib.ditq_run_destroy(run.handle), d.lib.ditq_linear_destroy(handle)
    one.destroy(), fresh.destroy(), model.close()
    os._exit(0 if same else 3)
print(os.waitpid(child, 0)[1], draw(two) == before, (linear(4, 2) == product).all())
"""


def test_a_child_of_fork_works_or_says_why_not():
    """Sessions whose threads stayed in the parent say so, instead of waiting for them for ever; all else works there, as in the parent."""
    done = subprocess.run([sys.executable, "-c", FORK, W8A8], cwd=ditq.ROOT / "Tests/python", env=os.environ | {"DITQ_LIBRARY": str(ditq.PATH)}, capture_output=True, text=True, timeout=200)
    assert done.stdout == "0 True True\n", done.stdout + done.stderr
