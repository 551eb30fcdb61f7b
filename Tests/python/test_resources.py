"""What the library takes from its host: stack, measured call by call, and memory, which does not grow."""
import re
import subprocess

import ditq_c as ditq
import pytest
import safetensors_io
import torch_io
from conftest import EMOJI, FIXTURES
from test_library import needs_gcc, output

W8A8 = EMOJI.with_name("emoji-w8a8.ditq")
STACK_LIMIT = 64 << 10  # the README's promise


def compiled(name, folder, *options):
    """A program of Tests/c, linked with the library that is tested."""
    (folder / "libditq.so.1").symlink_to(ditq.PATH)
    program = folder / name
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", f"-I{ditq.ROOT / 'include'}"]
    output("gcc", *flags, *options, ditq.ROOT / f"Tests/c/{name}.c", "-o", program, ditq.PATH, f"-Wl,-rpath,{folder}", "-pthread")
    return program


@needs_gcc
def test_a_call_takes_less_than_64_kilobytes_of_stack(tmp_path, capsys):
    torch_file = tmp_path / "model.pt"
    torch_file.write_bytes(torch_io.save({"ema": safetensors_io.read(FIXTURES / "official-a/model.safetensors")}))
    text = output(compiled("stack", tmp_path), EMOJI, W8A8, FIXTURES / "diffusers-b/pipeline", torch_file, tmp_path)
    taken = {name: int(bytes) for name, bytes in (line.split() for line in text.splitlines())}
    with capsys.disabled():
        print("\nstack, bytes: " + ", ".join(f"{name} {size}" for name, size in sorted(taken.items(), key=lambda item: -item[1])[:6]), end=" ")
    assert abs(taken.pop("(100_KB)") - 100 * 1024) < 1024, "the measure itself is wrong"
    assert 0 < taken["(threads)"] and len(taken) > 40
    assert max(taken.values()) < STACK_LIMIT, taken


def test_the_stack_of_every_function_is_measured_but_of_the_few_that_answer_at_once():
    measured = set(re.findall(r"\b(ditq_\w+)\(", (ditq.ROOT / "Tests/c/stack.c").read_text()))
    assert set(ditq.PROTOTYPES) - measured == {"ditq_abi_version", "ditq_version", "ditq_abi_layout", "ditq_status_name", "ditq_sampler_name", "ditq_model_class_name"}


@needs_gcc
@pytest.mark.parametrize("model, count", [(ditq.ROOT / "Tests/fuzz/corpus/ditq/decoder", 1000), (W8A8, 100)], ids=["with a decoder", "emoji"])
def test_two_sessions_in_two_threads_make_pictures_and_nothing_grows(tmp_path, model, count):
    done = subprocess.run([compiled("growth", tmp_path), model, str(count)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    _, early, late = ([int(word) for word in line.split()] for line in done.stdout.splitlines())
    assert (early[0], late[0]) == (count // 10, count)
    assert late[1:3] == early[1:3], "allocations, and pieces of memory that are held"
    assert late[3] <= early[3] + (64 << 10), "resident bytes"
