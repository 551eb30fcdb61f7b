"""Files that are written: what was there keeps its permissions, owner and links; what is protected stays; and the host hears of it by a status alone."""
import ctypes
import errno
import json
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import tempfile
import threading
import time

import ditq_c as ditq
import numpy as np
import pytest
from conftest import EMOJI, FIXTURES
from test_library import needs_gcc
from test_resources import compiled

W8A8 = EMOJI.with_name("emoji-w8a8.ditq")
PIXELS = np.random.default_rng(1).integers(0, 256, (900, 900, 3), np.uint8)


def write_picture(path):
    ditq.png_write(path, PIXELS)


def save_model(path):
    with ditq.Model(W8A8) as model:
        model.save(path)


WRITERS = pytest.mark.parametrize("write", [write_picture, save_model])


def refused(write, path):
    with pytest.raises(ditq.DitqFailure) as failure:
        write(path)
    return failure.value.status, failure.value.message


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


# ---- Signals ----


@needs_gcc
@pytest.mark.parametrize("case, status", [("closed", 0), ("unread", 0), ("slow", 0), ("limit", 0), ("fault", 42)])
def test_a_host_in_c_hears_of_failures_by_statuses_and_of_faults_on_any_thread(tmp_path, case, status):
    """closed, limit: SIGPIPE and SIGXFSZ. unread, slow: pipes. fault: a truncated file meets the host's handler on a thread of the library."""
    model = tmp_path / "x.ditq"
    shutil.copy(W8A8, model)
    done = subprocess.run([compiled("signals", tmp_path), case, model, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr


# ---- Permissions and owners ----


@WRITERS
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o755, 0o606])
def test_a_replaced_file_keeps_its_permissions(tmp_path, write, permissions):
    path = tmp_path / "x"
    path.write_bytes(b"the old one")
    path.chmod(permissions)
    write(path)
    assert mode(path) == permissions and path.stat().st_size > 1000 and os.listdir(tmp_path) == ["x"]


@WRITERS
def test_a_new_file_has_what_the_umask_leaves(tmp_path, write):
    before = os.umask(0o027)
    try:
        write(tmp_path / "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "x") == 0o640


def test_the_temporary_file_is_never_open_to_more_people_than_the_final_one(tmp_path):
    path, seen, stop = tmp_path / "x", set(), threading.Event()
    path.write_bytes(b"the old one")
    path.chmod(0o600)

    def watch():
        while not stop.is_set():
            for entry in os.scandir(tmp_path):
                try:
                    seen.add((entry.name.endswith(".tmp"), mode(entry.path)))
                except FileNotFoundError:
                    pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        write_picture(path)
        time.sleep(0)
    stop.set()
    watcher.join()
    assert seen == {(False, 0o600), (True, 0o600)}, "or no temporary file was seen"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@WRITERS
def test_the_owner_and_group_stay_where_that_is_permitted(tmp_path, write):
    path = tmp_path / "x"
    path.write_bytes(b"the old one")
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 2345, 0o640)


@pytest.fixture
def open_folder():
    """One that every user reaches."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_group_that_takes_the_place_of_another_gains_nothing(open_folder):
    path = open_folder / "x"
    for permissions, kept in ((0o672, 0o622), (0o666, 0o666)):
        path.unlink(missing_ok=True)
        path.write_bytes(b"the old one")
        os.chown(path, 1234, 2345)
        path.chmod(permissions)
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(99, 99, 99)
                os.setresuid(98, 98, 98)
                write_picture(path)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (98, 99, kept)


@WRITERS
def test_what_is_protected_from_writing_stays(tmp_path, write):
    """For root too, whose rights pass over that: whoever took all permission to write away meant it."""
    path = tmp_path / "x"
    path.write_bytes(b"the old one")
    path.chmod(0o444)
    (tmp_path / "link").symlink_to("x")
    for name in ("x", "link"):
        status, message = refused(write, tmp_path / name)
        assert status == ditq.IO_FAILED and os.strerror(errno.EACCES) in message and message.startswith(str(tmp_path / name))
    assert path.read_bytes() == b"the old one" and mode(path) == 0o444 and sorted(os.listdir(tmp_path)) == ["link", "x"]


# ---- Links ----


@WRITERS
def test_symbolic_links_stay_and_lead_to_the_new_file(tmp_path, write):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "a" / "file"
    target.write_bytes(b"the old one")
    target.chmod(0o600)
    (tmp_path / "a" / "b" / "relative").symlink_to("../file")
    (tmp_path / "chain").symlink_to("a/b/relative")
    (tmp_path / "absolute").symlink_to(tmp_path / "chain")
    (tmp_path / "elsewhere" / "folder").symlink_to("../a/b")
    for link in ("a/b/relative", "chain", "absolute", "elsewhere/folder/relative"):
        target.write_bytes(b"the old one")
        write(tmp_path / link)
        assert target.stat().st_size > 1000 and not target.is_symlink() and mode(target) == 0o600
        assert all((tmp_path / name).is_symlink() for name in ("a/b/relative", "chain", "absolute", "elsewhere/folder"))
    assert sorted(os.listdir(tmp_path / "a")) == ["b", "file"] and os.listdir(tmp_path / "a" / "b") == ["relative"]


def test_a_dangling_link_makes_its_file_and_a_loop_is_a_status(tmp_path):
    (tmp_path / "dangling").symlink_to("made")
    write_picture(tmp_path / "dangling")
    assert (tmp_path / "made").stat().st_size > 1000 and (tmp_path / "dangling").is_symlink()
    (tmp_path / "lost").symlink_to("missing/made")
    assert refused(write_picture, tmp_path / "lost")[0] == ditq.NOT_FOUND
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    status, message = refused(write_picture, tmp_path / "one")
    assert status == ditq.IO_FAILED and os.strerror(errno.ELOOP) in message
    assert sorted(os.listdir(tmp_path)) == ["dangling", "lost", "made", "one", "two"]


def test_a_link_of_the_system_to_a_file_that_is_redirected_to_or_gone(tmp_path):
    with open(tmp_path / "x", "w+b") as file:
        write_picture(f"/proc/self/fd/{file.fileno()}")
        assert (tmp_path / "x").stat().st_size > 1000 and os.listdir(tmp_path) == ["x"]
        status, message = refused(write_picture, f"/proc/self/fd/{file.fileno()}")  # that file was replaced
        assert status == ditq.IO_FAILED and "no name" in message and os.listdir(tmp_path) == ["x"]


def test_hard_links_keep_the_old_file(tmp_path):
    """What the header says."""
    (tmp_path / "x").write_bytes(b"the old one")
    os.link(tmp_path / "x", tmp_path / "other")
    write_picture(tmp_path / "x")
    assert (tmp_path / "other").read_bytes() == b"the old one" and (tmp_path / "x").stat().st_size > 1000


# ---- Sources ----


@pytest.mark.parametrize("how", ["itself", "symbolic", "hard", "quantized"])
def test_a_model_is_not_saved_onto_the_file_that_it_came_from(tmp_path, how):
    source = tmp_path / "source"
    shutil.copy(EMOJI if how == "quantized" else W8A8, source)
    target = {"symbolic": tmp_path / "symbolic", "hard": tmp_path / "hard"}.get(how, source)
    if how == "symbolic":
        target.symlink_to(source)
    if how == "hard":
        os.link(source, target)
    before = source.read_bytes()
    with ditq.Model(source) as opened:
        model = opened.quantize() if how == "quantized" else opened
        with model:
            status, message = refused(model.save, target)
            model.save(tmp_path / "another")
    assert status == ditq.INVALID_ARGUMENT and str(target) in message and "came from" in message and source.read_bytes() == before


def test_nor_onto_a_shard_or_its_decoder(tmp_path):
    folder = tmp_path / "pipeline"
    shutil.copytree(FIXTURES / "diffusers-b/pipeline", folder)
    with ditq.Model(folder) as source, source.quantize() as model:
        for part in ("transformer", "vae"):
            path = folder / part / "diffusion_pytorch_model.safetensors"
            before = path.read_bytes()
            assert refused(model.save, path)[0] == ditq.INVALID_ARGUMENT and path.read_bytes() == before


# ---- What people are shown ----

HOSTILE = "a\n\x1b[2J\x7f\x9b1m\u0085b\tÄ 🍎 \u200f"
SHOWN = r"a\n\x1b[2J\x7f\u009b1m\u0085b\tÄ 🍎 " + "\u200f"


def test_messages_are_one_line_whatever_names_hold(tmp_path):
    """Of a path, a class, a tensor of a file; and cut between characters where there is little room."""
    messages = [refused(write_picture, tmp_path / HOSTILE / "x")[1]]
    with ditq.Model(W8A8) as model:
        label = ctypes.c_int32()
        messages.append(ditq.outcome(ditq.lib.ditq_model_find_class, model.handle, HOSTILE.encode(), ctypes.byref(label))[1])
    header = json.dumps({HOSTILE: {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ditq.DitqFailure) as failure:
        ditq.Model(tmp_path / "x.safetensors")
    messages.append(failure.value.message)
    assert all(SHOWN in message for message in messages), messages
    for size in range(8, 512):
        error = ditq.Error(struct_size=size)
        ditq.lib.ditq_model_open(os.fsencode(tmp_path / HOSTILE), None, ctypes.byref(ctypes.c_void_p()), ctypes.byref(error))
        found = error.message.decode("utf-8")
        assert len(error.message) < max(1, size - 8) and not set(HOSTILE[1:3]) & set(found) and not found.endswith(("\\", "\\x", "\\u", "\\x1", "\\u0"))


def test_a_description_holds_no_control_characters_raw(tmp_path):
    text = EMOJI.read_bytes()[8:]
    length = struct.unpack("<Q", EMOJI.read_bytes()[:8])[0]
    header = json.loads(text[:length])
    config = json.loads(header["__metadata__"]["ditq.config"])
    config["class_names"][0] = HOSTILE
    header["__metadata__"]["ditq.config"] = json.dumps(config, ensure_ascii=False)
    packed = json.dumps(header, ensure_ascii=False).encode()
    (tmp_path / "named.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + text[length:])
    with ditq.Model(tmp_path / "named.safetensors") as model, model.quantize() as quantized:
        quantized.save(tmp_path / "x.ditq")
        with ditq.Model(tmp_path / "x.ditq") as again:
            for opened in (model, quantized, again):
                described = ditq.text_of(ditq.lib.ditq_model_describe_json, opened.handle)
                assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in described)
                assert json.loads(described)["class_names"][0] == HOSTILE
