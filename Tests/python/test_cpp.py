"""ditq.hpp: Tests/cpp and the example in C++, compiled with each compiler, with exceptions and without, and run."""
import os
import subprocess

import ditq_c as ditq
import pytest
from conftest import EMOJI
from test_calls import png_decode

W8A8 = ditq.ROOT / "examples/models/emoji/emoji-w8a8.ditq"
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", f"-I{ditq.ROOT / 'include'}", "-pthread"]


def compiled(source, folder, *options, compiler="c++"):
    for name in ("libditq.so", "libditq.so.1"):
        os.symlink(ditq.PATH, folder / name)
    program = folder / "program"
    subprocess.run([compiler, *FLAGS, *options, ditq.ROOT / source, f"-L{folder}", f"-Wl,-rpath,{folder}", "-lditq", "-o", program], check=True)
    return program


@pytest.mark.parametrize("mode", [[], ["-fno-exceptions"]], ids=["throwing", "returning"])
@pytest.mark.parametrize("compiler", [os.environ.get("CXX_GCC", "g++"), os.environ.get("CXX_CLANG", "clang++")])
def test_all_of_the_header_works(tmp_path, compiler, mode):
    program = compiled("Tests/cpp/test_ditq.cpp", tmp_path, *mode, compiler=compiler)
    done = subprocess.run([program, EMOJI, W8A8, tmp_path], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok  ") == 7



def test_the_example_draws_what_the_library_draws(tmp_path):
    program = compiled("examples/cpp/gen_png.cpp", tmp_path)
    run = lambda *arguments: subprocess.run([program, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert run(W8A8, "Red Apple", 7, "apple.png").stdout == "apple.png: red apple, 32x32, seed 7\n"
    pixels, texts = png_decode((tmp_path / "apple.png").read_bytes())
    with ditq.Model(W8A8) as model, model.session() as session:
        assert (pixels == session.generate([0], [7])[0]).all()
    assert texts["Class"] == "red apple" and texts["Seed"] == "7"
    refused = run(W8A8, "redd apple")
    assert refused.returncode == 1 and refused.stderr.startswith("gen_png: redd apple: no such class") and run().returncode == 2
