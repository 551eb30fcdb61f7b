"""What hostile input costs: time in proportion to its bytes, which can be cancelled, and no process where memory is short. The shapes are those of
Tests/tools/hostile.py, and pickles."""
import ctypes
import subprocess
import sys
import time

import ditq_c as ditq
import pytest
import test_bad_torch_files

sys.path.insert(0, str(ditq.ROOT / "Tests/tools"))
import hostile  # noqa: E402


@pytest.mark.parametrize("shape", hostile.SHAPES)
def test_time_grows_as_the_bytes_do(shape):
    def seconds(size):  # of the CPU; the least of some, as others use its caches
        return min(hostile.measured(shape, size)["seconds"] for _ in range(3))

    # Four times the bytes: what grows by squares takes sixteen times as long.
    assert seconds(1 << 20) < 8 * seconds(1 << 18) + 0.02


@pytest.mark.parametrize("room", [10, 20, 40])
@pytest.mark.parametrize("shape", hostile.SHAPES)
def test_a_header_of_two_megabytes_with_little_address_space_left_is_a_status(shape, room):
    found = hostile.measured(shape, 1 << 21, room << 20)
    allowed = (ditq.OUT_OF_MEMORY, ditq.MALFORMED, ditq.OK, ditq.NOT_FOUND, ditq.UNSUPPORTED)
    assert found["status"] in allowed, found["message"]


PICKLES = ("one weight under one name", "tensors of one long tuple", "weights of classes with long names", "tensors of one long name")
LONG = {name: lambda name=name: hostile.FILES[name](1 << 25) for name in ("nested", "members", "metadata", "tensors", "long_beginnings")} | {
    "zip_entries": lambda: hostile.zip_entries(22 << 20)
} | {name: lambda name=name: test_bad_torch_files.SHAPES[name](600_000) for name in PICKLES}  # fmt: skip


class Asked:
    """Options whose progress is told on which CPU seconds of this thread, and ends the call at the `stop`-th time."""

    def __init__(self, stop=None):
        self.times, self.stop = [], stop
        self.hook = ditq.PROGRESS_CALLBACK(self.tell)  # kept
        self.options = ditq.ModelOptions(struct_size=ctypes.sizeof(ditq.ModelOptions), progress=self.hook)

    def tell(self, _, pointer):
        told = pointer.contents
        assert told.phase == ditq.PHASE_LOAD and 0 <= told.done <= told.total
        self.times.append(time.thread_time())
        return int(len(self.times) == self.stop)


@pytest.mark.parametrize("shape", LONG)
def test_reading_is_cancelled_whatever_a_file_holds(shape):
    """The header promises a tenth of a second; here of the CPU, and more of it, as others use its caches. The last time also gives back what was read."""
    data = LONG[shape]()
    asked = Asked()
    _, call = hostile.opening(data, asked.options)
    began = time.thread_time()
    assert call()[0] != ditq.CANCELLED
    times = [began, *asked.times, time.thread_time()]
    assert max(b - a for a, b in zip(times, times[1:-1])) < 0.25 and times[-1] - times[-2] < 0.5
    asked = Asked(stop=2)  # the first time is before anything was read
    status, message = hostile.opening(data, asked.options)[1]()
    assert status == ditq.CANCELLED and "the progress callback ended the call" in message and len(asked.times) == 2


@pytest.mark.parametrize("how", ["path", "reader", "sum"])
def test_reading_is_cancelled_wherever_the_bytes_are(how, tmp_path):
    data, asked = hostile.long_beginnings(1 << 25), Asked(stop=12 if how == "reader" else 3)  # of which 9 pieces are told first
    handle = ctypes.c_void_p()
    if how == "reader":
        reader = ditq.BytesReader(data)
        answer = ditq.outcome(ditq.lib.ditq_model_open_reader, ctypes.byref(reader.struct), ctypes.byref(asked.options), ctypes.byref(handle))
    else:
        (tmp_path / "long.safetensors").write_bytes(data)
        if how == "sum":  # over all of a long file
            with open(tmp_path / "long.safetensors", "r+b") as file:
                file.truncate(1 << 29)
            asked.options.expected_sha256 = b"0" * 64
        answer = ditq.outcome(ditq.lib.ditq_model_open, str(tmp_path / "long.safetensors").encode(), ctypes.byref(asked.options), ctypes.byref(handle))
    assert answer[0] == ditq.CANCELLED and not handle, answer


OPENING = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import hostile, pathlib, ditq_c as ditq
resource.setrlimit(resource.RLIMIT_AS, (hostile.virtual_size() + (64 << 20),) * 2)
try:
    ditq.Model(pathlib.Path(sys.argv[2]))
except ditq.DitqFailure as failure:
    print(failure)
"""


def test_a_file_that_the_address_space_cannot_hold_is_out_of_memory(tmp_path):
    """A sparse file of 16 GB, with 64 MB of addresses left: ENOMEM of mmap is no DITQ_IO_FAILED."""
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.truncate(16 << 30)
    done = subprocess.run([sys.executable, "-c", OPENING, str(ditq.ROOT / "Tests/tools"), str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and done.stdout.startswith(f"DITQ_OUT_OF_MEMORY: {path}: cannot map: "), done.stdout + done.stderr
