"""gen_png, the example in C, as a person uses it: files, texts, exit statuses and sentences."""
import json
import os
import pty
import struct
import subprocess

import numpy as np
import pytest

import ditq_c as ditq
import safetensors_io
from conftest import EMOJI, FIXTURES
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
        "Software": "", "Model": "emoji-w8a8.ditq", "Compatibility": "official", "Class": "red apple", "Label": "0", "Seed": "7", "Steps": "3",
        "Guidance": "4", "Sampler": "ddim", "Random": "torch"}
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
    (["--steps", "5000"], 1, ["--steps", "5000", "1000"]),
    (["-o", "x.jpg"], 2, ["-o", ".png expected", '"x.jpg" found']),
    (["-o", "x"], 2, ["-o", ".png expected"]),
    (["--seed", "-1"], 2, ["--seed", "-1"]),
    (["--seed", "18446744073709551616"], 2, ["--seed", "18446744073709551616"]),
    (["--guidance", "nan"], 2, ["--guidance", "nan"]),
    (["--sampler", "euler"], 2, ["--sampler", "euler", "ddim", "dpmpp_2m"]),
    (["--sampler", "flow_euler"], 1, ["--sampler", "epsilon", "2 (ddpm)"]),
    (["--sampler", "ddpm", "--eta", "0.5"], 1, ["--eta", "ddpm"]),
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


def test_a_model_without_a_decoder_is_told_from_one_that_makes_pictures(tmp_path):
    with ditq.Model(FIXTURES / "official-a/model.safetensors", head_count=2) as source, source.quantize() as quantized:
        quantized.save(tmp_path / "latents.ditq")
    done = gen_png("--model", "latents.ditq", folder=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("gen_png: latents.ditq: ") and "decoder" in done.stderr and "ditq_" not in done.stderr


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_picture_does_not_replace_the_model(tmp_path, link):
    (tmp_path / "model.ditq").write_bytes(DEFAULT_MODEL.read_bytes())
    link(tmp_path / "model.ditq", tmp_path / "x-1.png")
    done = gen_png("--model", "model.ditq", "--count", 2, "--steps", 1, "-o", "x.png", folder=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("gen_png: x-1.png: another file than the model expected"), done.stderr
    assert (tmp_path / "model.ditq").read_bytes() == DEFAULT_MODEL.read_bytes() and len(list(tmp_path.iterdir())) == 2


def test_what_the_file_does_not_say_is_said_or_told_as_assumed(tmp_path):
    (tmp_path / "silent.safetensors").write_bytes(safetensors_io.encode(safetensors_io.read(EMOJI)))
    said = {"head_count": 4, "pixel_space": True, "learned_variance": True, "compatibility": "official", "prediction": "epsilon", "null_class": True}
    arguments = ["--model", "silent.safetensors", "--steps", 2, "-o", "x.png"]
    done = gen_png(*arguments, "--config", json.dumps(said), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with ditq.Model(EMOJI) as model, model.session() as session:
        assert np.array_equal(png_decode((tmp_path / "x.png").read_bytes())[0], session.generate([0], [7], steps=2)[0])
    done = gen_png(*arguments, "--config", json.dumps({**said, "null_class": False}), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and png_decode((tmp_path / "x.png").read_bytes())[1]["Guidance"] == "1"
    del said["prediction"]
    done = gen_png(*arguments, "--config", json.dumps(said), folder=tmp_path)
    assert done.returncode == 0 and done.stderr == 'gen_png: silent.safetensors: assumed, as nobody said it: "prediction"; say it with --config\n'
    for config in ("{", '{"heads": 4}'):
        done = gen_png(*arguments, "--config", config, folder=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith("gen_png: silent.safetensors: config_json: ") and done.stderr.count("\n") == 1, done.stderr


def test_a_decoder_and_a_variant_are_given_and_told(tmp_path):
    model, vae = FIXTURES / "official-a/model.safetensors", FIXTURES / "diffusers-a/pipeline/vae"
    facts = '{"head_count": 2, "prediction": "epsilon", "null_class": true}'
    assert gen_png("--model", model, "--config", facts, "--vae", vae, "--steps", 2, "-o", "x.png", folder=tmp_path).stderr == ""
    pixels, texts = png_decode((tmp_path / "x.png").read_bytes())
    with ditq.Model(model, head_count=2, decoder=os.fsencode(vae)) as opened, opened.session() as session:
        assert np.array_equal(pixels, session.generate([0], [7], steps=2)[0])
    assert texts.items() >= {"Config": facts, "Decoder": "vae"}.items() and "Variant" not in texts
    done = gen_png("--model", FIXTURES / "diffusers-a/pipeline", "--variant", "fp16", folder=tmp_path)
    assert done.returncode == 1 and "fp16" in done.stderr


def test_texts_of_files_do_not_act_on_the_terminal_or_in_the_picture(tmp_path):
    data = EMOJI.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["ditq.config"])
    config["class_names"][0] = "a\n\x1b[2J\x7f\x9b\tÄ 🍎"
    header["__metadata__"]["ditq.config"] = json.dumps(config)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "b\x1b.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    shown = r"a\n\x1b[2J\x7f\u009b\tÄ 🍎"
    listed = gen_png("--model", "b\x1b.safetensors", "--list-classes", folder=tmp_path).stdout
    assert listed.splitlines()[0] == f"0  {shown}" and listed.count("\n") == 128
    done = gen_png("--model", "b\x1b.safetensors", "--steps", 1, folder=tmp_path)
    assert done.stdout.startswith(f"out.png: {shown}, 32x32") and done.stdout.count("\n") == 1
    texts = png_decode((tmp_path / "out.png").read_bytes())[1]
    assert (texts["Class"], texts["Model"]) == (shown, r"b\x1b.safetensors")


def test_progress_is_shown_on_a_terminal_alone(tmp_path):
    leader, follower = pty.openpty()
    command = [GEN_PNG, "--steps", "3", "-o", "x.png"]
    assert subprocess.run(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=follower, timeout=60).returncode == 0
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "step 3/3" in shown and "\r" in shown
