"""gen_png, the example in C, as a person uses it: files, texts, exit statuses and sentences."""
import os
import pty
import subprocess

import numpy as np
import pytest

import ditq_c as ditq
from test_calls import png_decode

GEN_PNG = ditq.ROOT / ".build-embedded/gen_png"
DEFAULT_MODEL = ditq.ROOT / "examples/models/emoji/emoji-w8a8.ditq"
pytestmark = pytest.mark.skipif(not GEN_PNG.exists(), reason="make gen_png builds it")


def gen_png(*arguments, folder):
    return subprocess.run([GEN_PNG, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120)


def test_it_draws_what_the_library_draws_and_says_how(tmp_path):
    done = gen_png("--class", "Red Apple", "--seed", 7, "--steps", 3, "-o", "apple.png", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("apple.png: red apple, 32x32, seed 7, 3 steps, ")
    pixels, texts = png_decode((tmp_path / "apple.png").read_bytes())
    with ditq.Model(DEFAULT_MODEL) as model, model.session() as session:
        assert np.array_equal(pixels, session.generate([0], [7], steps=3)[0])
    assert texts | {"Software": ""} == {
        "Software": "", "Model": "emoji-w8a8.ditq", "Class": "red apple", "Seed": "7", "Steps": "3", "Guidance": "4", "Sampler": "auto"}
    assert texts["Software"] == "libditq " + ditq.lib.ditq_version().decode()


@pytest.mark.parametrize("sampler, eta", [("ddim", 0.5), ("ddpm", 0), ("dpmpp_2m", 0)])
def test_it_samples_as_it_is_told(tmp_path, sampler, eta):
    assert gen_png("--sampler", sampler, "--eta", eta, "--steps", 3, folder=tmp_path).returncode == 0
    pixels, texts = png_decode((tmp_path / "out.png").read_bytes())
    number = getattr(ditq, "SAMPLER_" + sampler.upper())
    with ditq.Model(DEFAULT_MODEL) as model, model.session() as session:
        assert np.array_equal(pixels, session.generate([0], [7], steps=3, sampler=number, eta=eta)[0])
    assert texts["Sampler"] == sampler and texts.get("Eta") == ("0.5" if eta else None)


def test_several_pictures_are_numbered_and_differ_by_seed(tmp_path):
    assert gen_png("--class", 3, "--count", 3, "--seed", 5, "--steps", 2, "-o", "x.png", folder=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-0.png", "x-1.png", "x-2.png"]
    assert gen_png("--class", 3, "--seed", 6, "--steps", 2, "-o", "one.png", folder=tmp_path).returncode == 0
    alone, _ = png_decode((tmp_path / "one.png").read_bytes())
    numbered, _ = png_decode((tmp_path / "x-1.png").read_bytes())
    assert np.array_equal(alone, numbered)


def test_a_grid_is_as_square_as_possible_with_gaps(tmp_path):
    assert gen_png("--grid", "--count", 5, "--steps", 1, folder=tmp_path).returncode == 0
    grid, texts = png_decode((tmp_path / "out.png").read_bytes())
    assert grid.shape == (2 * 34 + 2, 3 * 34 + 2, 3) and (grid[:2] == 255).all() and (grid[34:36] == 255).all()
    assert texts["Seed"] == "7-11"


def test_the_classes_are_listed(tmp_path):
    lines = gen_png("--list-classes", folder=tmp_path).stdout.splitlines()
    assert len(lines) == 128 and lines[0].split(None, 1) == ["0", "red apple"] and lines[127].split(None, 1) == ["127", "alarm clock"]


@pytest.mark.parametrize("arguments, status, parts", [
    (["--class", "red aple"], 1, ["red aple", '"red apple"']),
    (["--model", "nowhere.safetensors"], 1, ["nowhere.safetensors", "No such file"]),
    (["--class", "129"], 2, ["129", "128"]),
    (["--steps", "0", "-o", "x.png"], 2, ["--steps", "0"]),
    (["--steps", "5000"], 1, ["steps", "5000", "1000"]),
    (["--seed", "-1"], 2, ["--seed", "-1"]),
    (["--seed", "18446744073709551616"], 2, ["--seed", "18446744073709551616"]),
    (["--guidance", "nan"], 2, ["--guidance", "nan"]),
    (["--sampler", "euler"], 2, ["--sampler", "euler", "ddim", "dpmpp_2m"]),
    (["--sampler", "flow_euler"], 1, ["sampler", "epsilon", "2 (ddpm)"]),
    (["--sampler", "ddpm", "--eta", "0.5"], 1, ["eta", "ddpm"]),
    (["--count", "3x"], 2, ["--count", "3x"]),
    (["--wrong"], 2, ["--wrong"]),
    (["--steps"], 2, ["--steps"]),
    (["--steps", "1", "-o", "missing/x.png"], 1, ["missing/x.png", "No such file"]),
])
def test_an_error_is_one_clear_sentence(tmp_path, arguments, status, parts):
    done = gen_png(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (status, "") and done.stderr.startswith("gen_png: ") and done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts), done.stderr
    assert not list(tmp_path.iterdir())


def test_progress_is_shown_on_a_terminal_alone(tmp_path):
    leader, follower = pty.openpty()
    command = [GEN_PNG, "--steps", "3", "-o", "x.png"]
    assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=follower, timeout=60).returncode == 0
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "step 3/3" in shown and "\r" in shown
