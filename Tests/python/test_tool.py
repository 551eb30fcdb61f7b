"""The `ditq` command as a person uses it: files, answers, exit statuses and sentences. DITQ_TOOL names the one to test."""
import csv
import json
import os
import pathlib
import pty
import shutil
import struct
import subprocess
import threading

import numpy as np
import pytest

import ditq_c as ditq
import safetensors_io
from conftest import EMOJI, FIXTURES
from test_calls import png_decode

TOOL = os.environ.get("DITQ_TOOL")
pytestmark = pytest.mark.skipif(not TOOL, reason="DITQ_TOOL names no command; `make tool` builds one")
FAILED, MISUSED = 1, 64
COMMANDS = ["inspect", "quantize", "generate", "compare"]
SCHEMES = {"w8": [], "w4": ["--weights", "4"]}
FEW = ["--calibration-total-steps", 5, "--calibration-samples", 2]


def tool(*arguments, folder=None):
    return subprocess.run([pathlib.Path(TOOL).resolve(), *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120)


def answer(*arguments, folder=None):
    """What a command that succeeds prints; it says nothing on stderr, which is no terminal."""
    done = tool(*arguments, folder=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def named(text):
    """The rows of a table of names and values."""
    return dict(line.split(None, 1) for line in text.splitlines())


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """{"w8": (path, the answer of quantize --json), "w4": …}"""
    folder, made = tmp_path_factory.mktemp("tool"), {}
    for name, options in SCHEMES.items():
        path = folder / f"{name}.ditq"
        made[name] = path, json.loads(answer("quantize", EMOJI, "-o", path, "--json", *options))
    return made


@pytest.fixture(scope="module")
def expected(model, tmp_path_factory):
    """What the library makes, as (information, path)."""
    folder, made = tmp_path_factory.mktemp("library"), {}
    for name, bits in (("w8", 8), ("w4", 4)):
        with model("emoji").quantize(weight_bits=bits) as quantized:
            quantized.save(folder / name)
            made[name] = quantized.info, folder / name
    return made


def formats(path):
    """Each layer's format."""
    return {name: layer["weights"] for name, layer in json.loads(answer("inspect", path, "--json"))["layers"].items()}


# ---- quantize and inspect ----


@pytest.mark.parametrize("scheme, counts, least", [("w8", {"F16": 5, "W8": 6, "W8A8": 24}, 1.8), ("w4", {"F16": 5, "W4": 6, "W4A8": 24}, 3.0)])
def test_quantizing_says_what_became_of_the_model(scheme, counts, least, quantized, expected, model):
    (path, said), info = quantized[scheme], expected[scheme][0]
    assert said["result"] == {"path": str(path), "weights_size": info.weights_size, "file_size": path.stat().st_size}
    assert said["source"] == {"path": str(EMOJI), "weights_size": model("emoji").info.weights_size}
    assert said["layers"] == counts and said["seconds"] > 0 and said["version"] == ditq.lib.ditq_version().decode()
    assert said["ratio"] == pytest.approx(said["source"]["weights_size"] / info.weights_size, abs=1e-4) and said["ratio"] > least


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_file_is_the_one_that_the_library_makes(scheme, quantized, expected):
    assert quantized[scheme][0].read_bytes() == expected[scheme][1].read_bytes()


def test_the_result_of_quantizing_is_a_table_too(tmp_path):
    rows = named(answer("quantize", EMOJI, "-o", "x.ditq", "--activations", 32, "--method", "mse", "--threads", 2, folder=tmp_path))
    assert list(rows) == ["source", "result", "ratio", "layers", "calibration", "seconds"] and rows["layers"] == "5 F16, 30 W8"
    assert rows["calibration"] == "activations float, weights mse"
    assert rows["result"].startswith("x.ditq: ") and [item.name for item in tmp_path.iterdir()] == ["x.ditq"]


@pytest.mark.parametrize("source", [EMOJI, FIXTURES / "diffusers-b/pipeline", "w4"])
def test_inspect_prints_the_librarys_own_description(source, quantized):
    source = quantized["w4"][0] if source == "w4" else source
    with ditq.Model(source) as opened:
        assert answer("inspect", source, "--json") == ditq.text_of(ditq.lib.ditq_model_describe_json, opened.handle) + "\n"
        rows = named(answer("inspect", source))
        assert rows["parameters"] == f"{opened.info.parameter_count:,}" and rows["model"].startswith(str(source))
        assert rows["classes"].startswith(str(opened.info.class_count)) and rows["transformer"].startswith(f"{opened.info.depth} blocks")


def test_inspect_lists_the_layers_in_the_models_order_and_verifies(quantized):
    path = quantized["w4"][0]
    summary, layers = answer("inspect", path, "--layers", "--verify").split("\n\n")
    assert named(summary)["verified"] == "every byte" and named(summary)["layers"] == "5 F16, 6 W4, 24 W4A8"
    rows = [line.split() for line in layers.splitlines()[1:]]
    with ditq.Model(path) as opened:
        expected = [[name, str(x["outputs"]), "×", str(x["inputs"]), x["weights"]] for name, x in opened.json()["layers"].items()]
    assert rows == expected and len({line.index("×") for line in layers.splitlines()}) == 1


def test_verifying_finds_a_flipped_byte(quantized, tmp_path):
    data = bytearray(quantized["w8"][0].read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped.ditq").write_bytes(data)
    answer("inspect", tmp_path / "flipped.ditq")
    assert_refused(tool("inspect", tmp_path / "flipped.ditq", "--verify"), ["SHA-256"])


def test_rules_say_how_layers_are_quantized_and_the_last_one_wins(tmp_path):
    rules = ["*.attn.proj=4:64", "blocks.1.attn.proj=float", "*.fc2=4", "*.fc2=8:rowa32", "final_layer.linear=8", "blocks.0.*=float", "blocks.*.adaLN_modulation.1=8a8"]
    answer("quantize", EMOJI, "-o", tmp_path / "x.ditq", *FEW, "--calibration-steps", 2, *(part for rule in rules for part in ("--rule", rule)))
    found = formats(tmp_path / "x.ditq")
    assert found["blocks.2.attn.proj"] == "W4A8" and found["blocks.1.attn.proj"] == found["blocks.0.attn.qkv"] == "F16"
    assert found["blocks.3.mlp.fc2"] == "W8" and found["blocks.3.mlp.fc1"] == found["final_layer.linear"] == "W8A8"
    assert found["blocks.0.adaLN_modulation.1"] == "W8A8"


def test_a_rule_does_what_the_same_rule_of_the_library_does(model, tmp_path):
    answer("quantize", EMOJI, "-o", tmp_path / "tool.ditq", "--weights", 4, "--group", 64, "--method", "mse",
           "--rule", "*.fc2=8", "--rule", "*.qkv=4:32a32", "--rule", "*.proj=4:rowa8")
    rules = [dict(pattern=b"*.fc2", weight_bits=8, weight_group=-1), dict(pattern=b"*.qkv", weight_bits=4, weight_group=32, activation_bits=32),
             dict(pattern=b"*.proj", weight_bits=4, weight_group=0, activation_bits=8)]
    with model("emoji").quantize(rules=rules, weight_bits=4, weight_group=64, weight_method=2) as expected:
        expected.save(tmp_path / "library.ditq")
    assert (tmp_path / "tool.ditq").read_bytes() == (tmp_path / "library.ditq").read_bytes()


def test_names_with_quotes_and_other_scripts_come_through(tmp_path):
    data = EMOJI.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["ditq.config"])
    config["class_names"][:3] = names = ['a "quoted" \\ name', "tab\tand \u0001", "Ä 🍎 apple"]
    header["__metadata__"]["ditq.config"] = json.dumps(config)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "named.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    shown = [names[0], r"tab\tand \x01", names[2]]  # as a terminal may see them
    assert ", ".join(shown) in answer("inspect", "named.safetensors", folder=tmp_path)
    classes = [part for name in names for part in ("--class", name)]
    said = json.loads(answer("generate", "named.safetensors", *classes, "--steps", 1, "-o", "x.png", "--json", folder=tmp_path))
    assert [picture["class"] for picture in said["pictures"]] == names
    assert [png_decode((tmp_path / f"x{number}.png").read_bytes())[1]["Class"] for number in ("", "-1", "-2")] == shown
    said = answer("generate", "named.safetensors", *classes, "--steps", 1, "-o", "y.png", folder=tmp_path).splitlines()
    assert len(said) == 3 and all(name in line for name, line in zip(shown, said))


# ---- Calibration ----

@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    """(path, what quantize did): static ranges of a single step."""
    path = tmp_path_factory.mktemp("static") / "static.ditq"
    return path, tool("quantize", EMOJI, "-o", path, "--recipe", "paper", *FEW)


@pytest.mark.parametrize("arguments, options", [
    (["--activation-mode", "static", "--calibration-steps", 3, "--observer", "percentile"], dict(activation_mode=1, calibration_steps=3, observer=1)),
    (["--activation-mode", "per-step", "--calibration-steps", 4, "--balance", "--calibration-seed", 9],
     dict(activation_mode=2, calibration_steps=4, balance_channels=1, calibration_seed=9)),
    (["--weights", 4, "--recipe", "paper"], dict(weight_bits=4, weight_method=1, activation_mode=1, calibration_steps=1)),
    (["--method", "gptq", "--calibration-steps", 2, "--error-budget", 55], dict(weight_method=3, calibration_steps=2, error_budget_db=55.0)),
])
def test_options_of_calibrating_are_those_of_the_library(arguments, options, model, tmp_path):
    assert tool("quantize", EMOJI, "-o", tmp_path / "tool.ditq", *arguments, *FEW).returncode == 0
    with model("emoji").quantize(calibration_total_steps=5, calibration_samples=2, **options) as expected:
        expected.save(tmp_path / "library.ditq")
    assert (tmp_path / "tool.ditq").read_bytes() == (tmp_path / "library.ditq").read_bytes()


def test_a_model_that_clips_is_warned_of_with_its_worst_layers(one_step):
    path, done = one_step
    assert done.returncode == 0 and done.stderr.startswith("ditq: warning: static ranges clip ") and done.stderr.count("\n") == 1
    with ditq.Model(path) as opened:
        record = opened.json()["calibration"]
    share, worst = max(record["clipped"]), sorted(record["clipped_by_layer"].items(), key=lambda layer: -layer[1])[:5]
    assert share > 0.001 and f"{100 * share:.2f} %" in done.stderr and ", ".join(f"{name} {100 * layer:.2f} %" for name, layer in worst) in done.stderr
    assert "per-step or dynamic ranges" in done.stderr and named(done.stdout)["clipped"].startswith(f"{100 * share:.2f} %")


def test_ranges_of_the_whole_run_are_not_warned_of_and_the_figures_are_in_json(tmp_path):
    said = json.loads(answer("quantize", EMOJI, "-o", tmp_path / "x.ditq", "--activation-mode", "per-step", *FEW, "--calibration-steps", 5, "--error-budget", 39, "--json"))
    found = said["calibration"]
    assert found == json.loads(answer("inspect", tmp_path / "x.ditq", "--json"))["calibration"]
    assert len(found["clipped"]) == 4 and found["raised"] and found["output_sqnr_db"] >= 39


def test_an_error_budget_says_which_layers_it_raised(tmp_path):
    rows = named(answer("quantize", EMOJI, "-o", tmp_path / "x.ditq", "--error-budget", 47, *FEW, "--calibration-steps", 2))
    raised = json.loads(answer("inspect", tmp_path / "x.ditq", "--json"))["calibration"]["raised"]
    assert rows["raised"] == ", ".join(f"{name} to float" for name in raised) and float(rows["output"].split()[0]) >= 47
    assert named(answer("inspect", tmp_path / "x.ditq"))["raised"] == rows["raised"]


def test_a_budget_that_is_not_met_is_warned_of(tmp_path):
    done = tool("quantize", EMOJI, "-o", tmp_path / "x.ditq", "--error-budget", 199, "--balance", "--calibration-total-steps", 2, "--calibration-steps", 2, "--calibration-samples", 4)
    assert done.returncode == 0 and done.stderr.startswith("ditq: warning: the error budget of 199 dB is not met: 1") and done.stderr.count("\n") == 1


def test_inspect_says_how_a_model_was_calibrated(one_step, quantized):
    rows = named(answer("inspect", one_step[0]))
    assert rows["calibration"] == "activations static (minmax), weights round; from 1 of 5 steps of 2 images, seed 1000000"
    assert " % at the worst checked step, t = " in rows["clipped"] and "a scale a row" in rows["weights"]
    assert named(answer("inspect", quantized["w4"][0]))["calibration"].startswith("activations dynamic per token, weights gptq; from 8 of 50 steps")
    assert "calibration" not in named(answer("inspect", EMOJI))


def test_comparing_shows_the_layers_that_clip_most(one_step):
    arguments = ["compare", EMOJI, one_step[0], "--steps", 4, "--samples", 1]
    report = json.loads(answer(*arguments, "--json"))
    *_, layers = answer(*arguments).split("\n\n")
    worst = sorted(report["layers"], key=lambda layer: -layer["clipped"])[:5]
    assert layers.splitlines()[0].split("  ")[0] == "most clipped"
    assert [line.split() for line in layers.splitlines()[1:]] == [
        [x["name"], f"{100 * x['clipped']:.2f}", "%", f"{100 * max(x['clipped_by_step']):.2f}", "%"] for x in worst]


# ---- The models of the repository ----


@pytest.mark.parametrize("name, scheme", [("emoji-w8a8", "w8"), ("emoji-w4a8", "w4")])
def test_the_models_of_the_repository_are_what_the_command_makes(name, scheme, quantized):
    assert EMOJI.with_name(name + ".ditq").read_bytes() == quantized[scheme][0].read_bytes()


# ---- generate ----


@pytest.mark.parametrize("source", ["emoji", *SCHEMES])
def test_it_draws_what_the_library_draws_and_says_how(source, quantized, tmp_path):
    path = EMOJI if source == "emoji" else quantized[source][0]
    said = answer("generate", path, "--class", "Red Apple", "--steps", 3, "--guidance", 2.5, "-o", "apple.png", folder=tmp_path)
    assert said.startswith("apple.png: red apple, 32x32, seed 7, 3 steps, ") and said.count("\n") == 1
    pixels, texts = png_decode((tmp_path / "apple.png").read_bytes())
    with ditq.Model(path) as opened, opened.session() as session:
        assert np.array_equal(pixels, session.generate([0], [7], steps=3, guidance_scale=2.5)[0])
    with ditq.Model(path) as opened:
        recorded = opened.json()
    assert texts == {
        "Software": "libditq " + ditq.lib.ditq_version().decode(), "Model": path.name, "Compatibility": recorded["compatibility"], "Class": "red apple",
        "Label": "0", "Seed": "7", "Steps": "3", "Guidance": "2.5", "Sampler": recorded["sampling"]["sampler"], "Random": "torch"}


@pytest.mark.parametrize("sampler, eta", [("ddim", 0.5), ("ddpm", 0), ("dpmpp_2m", 0)])
def test_it_samples_as_it_is_told(sampler, eta, session, tmp_path):
    said = json.loads(answer("generate", EMOJI, "--sampler", sampler, "--eta", eta, "--steps", 3, "-o", "x.png", "--json", folder=tmp_path))
    pixels, texts = png_decode((tmp_path / "x.png").read_bytes())
    assert said["sampler"] == texts["Sampler"] == sampler and texts.get("Eta") == ("0.5" if eta else None)
    number = getattr(ditq, "SAMPLER_" + sampler.upper())
    assert np.array_equal(pixels, session("emoji").generate([0], [7], steps=3, sampler=number, eta=eta)[0])


def test_several_pictures_are_numbered_take_classes_in_turn_and_count_seeds(quantized, tmp_path):
    path = quantized["w8"][0]
    said = json.loads(answer("generate", path, "--class", 3, "--class", 128, "--count", 10, "--seed", 5, "--steps", 1, "-o", "x.png", "--json", folder=tmp_path))
    files = ["x.png", *(f"x-{number}.png" for number in range(1, 10))]
    assert [picture["file"] for picture in said["pictures"]] == files and sorted(item.name for item in tmp_path.iterdir()) == sorted(files)
    assert [(picture["label"], picture["seed"]) for picture in said["pictures"]] == [(3 if i % 2 == 0 else 128, 5 + i) for i in range(10)]
    assert said["pictures"][1]["class"] == "no class" and (said["width"], said["height"], said["steps"], said["guidance"]) == (32, 32, 1, 4.0)
    with ditq.Model(path) as opened, opened.session() as session:
        for number in (0, 1, 9):  # the last one is of the second batch
            alone = session.generate([said["pictures"][number]["label"]], [5 + number], steps=1)[0]
            assert np.array_equal(alone, png_decode((tmp_path / files[number]).read_bytes())[0])


def test_numbers_stand_before_the_ending(tmp_path):
    (tmp_path / "a.b").mkdir()
    answer("generate", EMOJI, "--count", 2, "--steps", 1, "-o", "a.b/x.y.PNG", folder=tmp_path)
    assert sorted(item.name for item in (tmp_path / "a.b").iterdir()) == ["x.y-1.PNG", "x.y.PNG"]


@pytest.mark.parametrize("guidance", [1 / 3, 4.123456789, 2, 1e-5])
def test_guidance_is_said_so_that_it_can_be_given_again(guidance, tmp_path):
    """And so by gen_png and Python, whose files have the same bytes."""
    said = json.loads(answer("generate", EMOJI, "--steps", 1, "--guidance", repr(guidance), "-o", "x.png", "--json", folder=tmp_path))
    assert float(png_decode((tmp_path / "x.png").read_bytes())[1]["Guidance"]) == guidance == said["guidance"]
    assert {"sampler", "compatibility", "model", "random", "eta", "steps", "version"} <= set(said)


# ---- Nothing destroyed ----


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
@pytest.mark.parametrize("command", ["quantize", "generate", "compare"])
def test_what_a_command_begins_with_is_not_replaced(command, link, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(EMOJI.read_bytes())
    output = tmp_path / {"quantize": "x.ditq", "generate": "x.png", "compare": "x.csv"}[command]
    if link is None:
        source.rename(output)
        source = output
    elif link == "symbolic":
        output.symlink_to("source")
    else:
        os.link(source, output)
    arguments = {"quantize": [source, "-o", output], "generate": [source, "-o", output], "compare": [EMOJI, source, "--csv", output]}[command]
    assert_refused(tool(command, *arguments, folder=tmp_path), [str(output), "another file than", "expected"])
    assert source.read_bytes() == EMOJI.read_bytes() and len(list(tmp_path.iterdir())) == (1 if link is None else 2)


def test_nor_a_file_of_a_folder(tmp_path):
    folder = tmp_path / "pipeline"
    shutil.copytree(FIXTURES / "diffusers-b/pipeline", folder)
    for command, output in (("compare", ["--csv", folder / "model_index.json"]), ("quantize", ["-o", folder / "vae/diffusion_pytorch_model.safetensors"])):
        before = output[1].read_bytes()
        assert_refused(tool(command, folder, *([folder] if command == "compare" else []), *output), [str(output[1]), "another file than"])
        assert output[1].read_bytes() == before


def test_a_report_keeps_permissions_and_links_and_leaves_what_is_protected(tmp_path):
    (tmp_path / "report.csv").write_text("old")
    (tmp_path / "report.csv").chmod(0o600)
    (tmp_path / "link.csv").symlink_to("report.csv")
    compare = ["compare", EMOJI, EMOJI, "--steps", 1, "--samples", 1, "--csv"]
    answer(*compare, "link.csv", folder=tmp_path)
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "report.csv").read_text().startswith("step,")
    assert (tmp_path / "report.csv").stat().st_mode & 0o777 == 0o600
    for options in ([*compare, "report.csv"], ["quantize", EMOJI, "-o", "x.ditq"], ["generate", EMOJI, "-o", "x.png", "--steps", 1]):
        path = tmp_path / options[-1] if options[0] == "compare" else tmp_path / options[3]
        path.write_text("old")
        path.chmod(0o444)
        assert_refused(tool(*options, folder=tmp_path), [path.name, "Permission denied"])
        assert path.read_text() == "old"
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tool(*compare, "pipe", folder=tmp_path), ["pipe", "No such device or address"])


# What official-a does not say either: else the tool tells on standard error what it assumes.
SAID = ["--config", "prediction=epsilon", "--config", "null_class=true"]


def test_what_the_file_does_not_say_is_said_or_told_as_assumed(tmp_path):
    path = FIXTURES / "official-a/model.safetensors"
    said = json.loads(answer("inspect", path, "--heads", 2, "--prediction", "epsilon", "--class-count", 11, "--json"))
    assert said["assumed"] == [] and said["architecture"]["null_class"] is False
    lines = tool("inspect", path, "--heads", 2).stdout.splitlines()
    assert [line for line in lines if line.startswith("assumed")] == [
        "assumed      prediction epsilon, null_class true (nobody said it; say it with --config KEY=VALUE)"]
    done = tool("quantize", path, "--heads", 2, "-o", "x.ditq", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        0, f"ditq: {path}: assumed, as nobody said it: prediction epsilon, null_class true; say it with --config KEY=VALUE\n")
    assert_refused(tool("inspect", path, "--config", "heads=2"), ["heads"])
    for pair in ("heads", "=2"):
        done = tool("inspect", path, "--config", pair)
        assert done.returncode == MISUSED and f"--config: KEY=VALUE expected, {pair} found" in done.stderr


def test_a_decoder_is_given_and_told(tmp_path):
    model, vae = FIXTURES / "official-a/model.safetensors", FIXTURES / "diffusers-a/pipeline/vae"
    given = ["--heads", 2, *SAID, "--vae", vae]
    answer("generate", model, *given, "--steps", 2, "-o", "x.png", folder=tmp_path)
    pixels, texts = png_decode((tmp_path / "x.png").read_bytes())
    with ditq.Model(model, head_count=2, decoder=os.fsencode(vae)) as opened, opened.session() as session:
        assert np.array_equal(pixels, session.generate([0], [7], steps=2)[0])
    assert texts["Decoder"] == "vae" and json.loads(texts["Config"]) == {"head_count": 2, "prediction": "epsilon", "null_class": True}
    lines = tool("inspect", model, *given).stdout.splitlines()
    assert [line.split()[1:] for line in lines if line.startswith("files")] == [["model.safetensors,", f"{vae}/diffusion_pytorch_model.safetensors"]]
    assert_refused(tool("inspect", FIXTURES / "diffusers-a/pipeline", "--variant", "fp16"), ["variant", "fp16"])
    mine = shutil.copytree(vae, tmp_path / "vae")
    (mine / "x.png").touch()
    assert_refused(tool("generate", model, *given, "--vae", mine, "-o", mine / "x.png", folder=tmp_path), ["replace"])


def test_a_model_without_a_decoder_is_told_where_one_is_given(tmp_path):
    assert_refused(tool("generate", FIXTURES / "official-a/model.safetensors", "--heads", 2, *SAID, "-o", "x.png", folder=tmp_path), ["latents", "decoder"])


def test_inspect_survives_any_number_and_text(quantized, tmp_path):
    """What a file records of its calibration is shown as it is."""
    data = quantized["w8"][0].read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    for number in ("1e300", "-1e300", "1e18", "9223372036854775807", "-0.5", "1e-300", "123456789012345678901234567890"):
        record = '{"activations": "a\\u001b[2J\u0085", "weights": "round", "observer": "minmax", "timesteps": [%s], "total_steps": %s, "samples": %s, "seed": %s' % ((number,) * 4)
        record += ', "checked_timesteps": [%s], "clipped": [%s], "clipped_by_layer": {"blocks.0.attn.qkv": %s}, "output_sqnr_db": %s}' % ((number,) * 4)
        header["__metadata__"]["ditq.calibration"] = record
        header["__metadata__"].pop("ditq.checksums", None)
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % 64)
        (tmp_path / "x.ditq").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
        for options in ([], ["--json"], ["--layers"]):
            done = tool("inspect", "x.ditq", *options, folder=tmp_path)
            assert done.returncode in (0, FAILED) and not done.stderr.startswith("Fatal"), done.stderr
            assert not any(character in done.stdout + done.stderr for character in "\x1b\x85"), done.stdout


# ---- compare ----


def test_comparing_says_what_the_report_says(quantized, tmp_path):
    arguments = ["compare", EMOJI, quantized["w4"][0], "--steps", 4, "--samples", 2, "--seed", 3]
    report = json.loads(answer(*arguments, "--json", "--csv", "report.csv", folder=tmp_path))
    assert (report["steps"], report["samples"], report["seed"], report["free_running"]) == (4, 2, 3, False) and 15 < report["sqnr_db"] < 60
    rows = list(csv.DictReader((tmp_path / "report.csv").read_text().splitlines()))
    assert len(rows) == 4 * 30 and [item.name for item in tmp_path.iterdir()] == ["report.csv"]
    assert float(rows[1]["output_sqnr_db"]) == report["layers"][1]["output_sqnr_db"][0] and rows[1]["layer"] == report["layers"][1]["name"]
    models, outputs, layers = answer(*arguments).split("\n\n")
    assert [line.split()[0] for line in models.splitlines()] == ["reference", "model"]
    shown = {line.split("  ")[0]: line.split()[-2:] for line in outputs.splitlines()}
    by_step = report["sqnr_db_by_step"]
    wanted = {"output, all steps": report["sqnr_db"], "output, first step": by_step[0], "output, step 3": by_step[2], "output, last step": by_step[3]}
    assert shown == {name: [f"{value:.1f}", "dB"] for name, value in wanted.items()}
    worst = sorted(report["layers"], key=lambda layer: layer["output_sqnr_db_all"])[:5]
    assert [line.split()[:3] for line in layers.splitlines()[1:]] == [[x["name"], f"{x['output_sqnr_db_all']:.1f}", "dB"] for x in worst]


def test_a_report_goes_into_a_pipe_that_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    answer("compare", EMOJI, EMOJI, "--steps", 1, "--samples", 1, "--csv", "pipe", folder=tmp_path)
    reader.join(10)
    assert found and found[0].startswith("step,timestep,layer,") and [item.is_fifo() for item in tmp_path.iterdir()] == [True]


def test_a_model_whose_file_does_not_say_its_heads_is_told_them(tmp_path):
    model = FIXTURES / "official-a/model.safetensors"
    assert_refused(tool("inspect", model, folder=tmp_path), ["head_count"])
    assert " 2 heads" in answer("inspect", model, "--heads", 2, *SAID)
    answer("quantize", model, "-o", "x.ditq", "--heads", 2, *SAID, folder=tmp_path)
    answer("compare", model, "x.ditq", "--steps", 1, "--samples", 1, "--heads", 2, *SAID, folder=tmp_path)
    assert " 2 heads" in answer("inspect", "x.ditq", folder=tmp_path)


def test_an_answer_that_could_not_be_written_is_a_failure(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([pathlib.Path(TOOL).resolve(), "inspect", EMOJI, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "standard output" in done.stderr and "No space left" in done.stderr


def test_a_model_differs_from_itself_in_nothing_and_a_free_run_is_another_one(quantized):
    text = answer("compare", EMOJI, EMOJI, "--steps", 2, "--samples", 1)
    assert text.count("no difference") == 4 and "worst" not in text
    runs = [json.loads(answer("compare", EMOJI, quantized["w4"][0], "--steps", 3, "--samples", 1, "--json", *extra)) for extra in ([], ["--free-running"])]
    assert [run["free_running"] for run in runs] == [False, True] and runs[1]["sqnr_db"] < runs[0]["sqnr_db"]
    assert runs[0]["sqnr_db_by_step"][0] == runs[1]["sqnr_db_by_step"][0]


# ---- bench: nothing here looks at a time, but for its being there ----

TINY = ["--config", "DiT-S/8", "--depth", 1, "--hidden", 64, "--heads", 2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(path, what was said): a tiny model of random weights."""
    path = tmp_path_factory.mktemp("bench") / "tiny"
    return path, json.loads(answer("bench", "write", *TINY, "-o", path, "--json"))


def test_a_written_model_is_of_the_shape_that_was_asked_for(written):
    path, said = written
    with ditq.Model(path) as opened:
        info, architecture = opened.info, opened.json()["architecture"]
        assert (info.depth, info.hidden_size, info.head_count, info.patch_size, info.class_count) == (1, 64, 2, 8, 1000)
        assert (info.image_height, info.has_decoder, architecture["latent_size"], architecture["learned_variance"]) == (256, 1, 32, True)
        assert (said["parameter_count"], said["macs_per_forward"]) == (info.parameter_count, info.macs_per_forward)
        assert {layer["weights"] for layer in opened.json()["layers"].values()} <= {"F16", "F32"}
    assert said["file_size"] == sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) and said["path"] == str(path)


def test_its_weights_are_normal_small_and_those_of_the_seed(written, tmp_path):
    def weights(path):
        return safetensors_io.read(path / "transformer/diffusion_pytorch_model.safetensors")

    tensors = weights(written[0])
    everything = np.concatenate([tensor.ravel() for name, tensor in tensors.items() if ".emb." not in name]).astype(np.float64)
    count = everything.size
    assert all(tensor.dtype == np.float16 for tensor in tensors.values()) and count > 90_000
    # Of a normal sample: the mean's standard error is s / √n, the deviation's s / √2n, the kurtosis's √(24 / n). Five of each, and of the deck's.
    errors = 5 * (1 / np.sqrt(count) + 1 / np.sqrt(65536))
    scaled = everything / 0.02
    assert abs(scaled.mean()) < errors and abs(scaled.std() - 1) < errors and abs((scaled**4).mean() - 3) < 5 * errors
    for number in (0, 1):
        answer("bench", "write", *TINY, "--seed", number, "-o", tmp_path / str(number))
    same, other = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert all(np.array_equal(same[name], tensor) for name, tensor in tensors.items())
    assert not any(np.array_equal(other[name], tensor) for name, tensor in tensors.items())


def test_the_embedders_of_all_blocks_are_copies(tmp_path):
    answer("bench", "write", "--config", "dit-b/8", "--depth", 2, "--hidden", 32, "--heads", 1, "-o", f"{tmp_path}/x/")
    tensors = safetensors_io.read(tmp_path / "x/transformer/diffusion_pytorch_model.safetensors")
    second = [name for name in tensors if name.startswith("transformer_blocks.1.")]
    for name in second:
        is_copy = np.array_equal(tensors[name], tensors[name.replace("blocks.1.", "blocks.0.")])
        assert is_copy == (".emb." in name), name
    assert len(second) == 19 and [item.name for item in tmp_path.iterdir()] == ["x"]


STEP_KEYS = ["model", "depth", "hidden_size", "head_count", "patch_size", "tokens", "batch", "weight_bits", "weight_group", "activation_bits",
             "weights_size", "threads", "instruction_set", "steps", "step_seconds", "step_seconds_best", "gmac_per_step", "gmacs", "gmacs_best",
             "peak_gmacs", "peak_gmacs_best", "ratio", "instruction", "open_seconds", "session_seconds", "first_step_seconds",
             "open_to_first_step_seconds", "resident_before_open", "peak_resident", "private_added", "session_memory", "kinds", "version"]


@pytest.mark.parametrize("options, bits, group", [(["--weights", 8], 8, 0), (["--weights", 4, "--group", 32], 4, 32), (["--float"], 32, 0)])
def test_a_step_of_a_random_model_is_measured_with_all_that_belongs_to_it(options, bits, group, written):
    said = json.loads(answer("bench", "step", *TINY, *options, "--steps", 2, "--batch", 3, "--threads", 2, "--json"))
    assert list(said) == ["model", "seed", *STEP_KEYS[1:]] and said["model"] == "DiT-S/8, depth 1, hidden 64, heads 2" and said["seed"] == 0
    assert (said["depth"], said["hidden_size"], said["head_count"], said["patch_size"], said["tokens"]) == (1, 64, 2, 8, 16)
    assert (said["weight_bits"], said["weight_group"], said["batch"], said["threads"], said["steps"]) == (bits, group, 3, 2, 2)
    assert said["gmac_per_step"] == pytest.approx(3e-9 * written[1]["macs_per_forward"], abs=6e-4)
    assert 0 < said["step_seconds_best"] <= said["step_seconds"] and 0 < said["peak_gmacs"] <= said["peak_gmacs_best"] and said["ratio"] > 0
    parts = said["open_seconds"] + said["session_seconds"] + said["first_step_seconds"]
    assert said["open_to_first_step_seconds"] == pytest.approx(parts, abs=3e-6)
    assert 0 < said["resident_before_open"] < said["peak_resident"] and 0 < said["private_added"] < said["peak_resident"]
    if bits == 32:
        assert said["kinds"] is None and said["instruction"] != "vpdpbusd zmm"
    else:
        assert list(said["kinds"]) == ["adaLN_modulation.1", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "other"]
        assert sum(kind["share"] for kind in said["kinds"].values()) == pytest.approx(1, abs=1e-3) or said["kinds"]["other"]["seconds"] == 0


def test_a_models_file_is_measured_as_it_is_and_nothing_is_left_behind(quantized, tmp_path):
    path = quantized["w4"][0]
    said = json.loads(answer("bench", "step", "--model", path, "--steps", 1, "--no-kinds", "--json"))
    assert list(said) == STEP_KEYS and said["model"] == str(path) and said["kinds"] is None and said["weight_bits"] == 4
    done = subprocess.run([pathlib.Path(TOOL).resolve(), "bench", "step", *map(str, TINY), "--steps", "1"], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)})
    summary, kinds = done.stdout.split("\n\n")
    assert done.returncode == 0 and not list(tmp_path.iterdir()) and len(kinds.splitlines()) == 6
    names = ["model", "weights", "batch", "threads", "instruction set", "step", "ditq", "peak", "ratio", "open to step", "memory",
             "a 2nd process"]
    assert [line.split("  ")[0] for line in summary.splitlines()] == names


@pytest.mark.parametrize("options, bits, instruction", [([], 32, "vfmadd"), (["--decoder", 8], 8, "")])
def test_the_public_decoder_is_measured_with_random_weights(options, bits, instruction):
    said = json.loads(answer("bench", "decode", "--size", 64, "--images", 1, "--threads", 2, *options, "--json"))
    assert (said["height"], said["width"], said["decoder_bits"], said["threads"], said["images"]) == (64, 64, bits, 2, 1)
    assert said["gmac"] == pytest.approx(311.1 / 16, rel=0.01) and said["gmacs"] == pytest.approx(said["gmac"] / said["decode_seconds"], rel=0.01)
    assert said["ratio"] == pytest.approx(said["gmacs"] / said["peak_gmacs"], rel=0.01) and instruction in said["instruction"]
    assert 0 < said["session_memory"] < 40e6 and said["weights_size"] < (60e6 if bits == 8 else 210e6)


def test_a_decoder_in_8_bits_is_said_to_be_by_quantize_inspect_and_compare(tmp_path):
    source, path = FIXTURES / "diffusers-b/pipeline", tmp_path / "small.ditq"
    answer("quantize", source, "-o", path, "--decoder", 8)
    assert "W8A8 convolutions of 3×3" in named(answer("inspect", path))["decoder"]
    assert "F32 convolutions of 3×3" in named(answer("inspect", source))["decoder"]
    assert "decoder, an image" in answer("compare", source, path, "--steps", 1, "--samples", 1)


@pytest.mark.parametrize("options", [[], ["--weights", 4, "--group", 32], ["--float"]])
def test_a_gemm_of_one_row_is_held_against_memory_and_one_of_many_is_not(options):
    shape = ["--inputs", 64, "--outputs", 96, "--seconds", 0.01, "--json"]
    one, many = (json.loads(answer("bench", "gemm", *options, "--rows", rows, *shape)) for rows in (1, 17))
    assert set(one) - set(many) == {"weights_size", "cache_size", "weights_exceed_cache", "weights_gb_per_second", "memory_gb_per_second",
                                    "memory_gb_per_second_best", "memory_ratio"}
    assert one["weights_size"] == 64 * 96 * one["weights"] // 8 and 0 < one["memory_gb_per_second"] <= one["memory_gb_per_second_best"]
    assert many["multiply_ratio"] == pytest.approx(many["multiply_gmacs"] / many["peak_gmacs"], rel=0.05, abs=1e-3) and many["multiply_gmacs"] > 0
    assert many["ratio"] > 0 and one["weights_exceed_cache"] == (one["weights_size"] > one["cache_size"])
    assert one["memory_ratio"] == pytest.approx(one["weights_gb_per_second"] / one["memory_gb_per_second"], rel=0.05, abs=1e-3)


# ---- Refusals, help, progress ----


def assert_refused(done, parts):
    """By the library: one sentence and status 1."""
    assert (done.returncode, done.stdout) == (FAILED, "") and done.stderr.startswith("ditq: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


@pytest.mark.parametrize("arguments, parts", [
    (["inspect", "nowhere.ditq"], ["nowhere.ditq", "No such file"]),
    (["inspect", EMOJI, "--verify"], ["checksum"]),
    (["inspect", __file__], ["test_tool.py"]),
    (["quantize", "nowhere", "-o", "x.ditq"], ["nowhere", "No such file"]),
    (["quantize", EMOJI, "-o", "missing/x.ditq"], ["missing/x.ditq", "No such file"]),
    (["quantize", EMOJI, "-o", "."], [".", "Is a directory"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--group", 24], ["--group", "16", "24"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--threads", 100000], ["--threads", "100000"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--rule", "blocks.9.*=4"], ["--rule: ", "blocks.9.*", "matches no layer"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--rule", "*.fc2=4:24"], ["blocks.0.mlp.fc2", "16", "24"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--balance", "--calibration-steps", 51], ["--calibration-steps", "1 to 50", "51"]),
    (["quantize", EMOJI, "-o", "x.ditq", "--error-budget", 1000], ["--error-budget", "0 to 200", "1000"]),
    (["generate", EMOJI, "-o", "x.png", "--class", "red aple"], ["red aple", '"red apple"']),
    (["generate", EMOJI, "-o", "x.png", "--class", 129], ["129", "128"]),
    (["generate", EMOJI, "-o", "x.png", "--steps", 5000], ["--steps", "5000", "1000"]),
    (["generate", EMOJI, "-o", "x.png", "--steps", 1, "--guidance", "nan"], ["--guidance", "nan"]),
    (["generate", EMOJI, "-o", "x.png", "--sampler", "flow_euler"], ["--sampler", "epsilon"]),
    (["generate", EMOJI, "-o", "missing/x.png"], ["missing/x.png", "No such file"]),
    (["compare", EMOJI, FIXTURES / "diffusers-b/pipeline"], ["architecture"]),
    (["compare", EMOJI, EMOJI, "--steps", 5000], ["--steps", "1000", "5000"]),
    (["compare", EMOJI, EMOJI, "--csv", "missing/x.csv"], ["missing/x.csv", "No such file"]),
    (["bench", "write", *TINY, "-o", "missing/x"], ["missing/x", "No such file"]),
    (["bench", "write", *TINY, "-o", "."], [".", "File exists"]),
    (["bench", "step", "--model", "nowhere.ditq"], ["nowhere.ditq", "No such file"]),
    (["bench", "decode", "--model", EMOJI], ["a model with a decoder expected"]),
    (["bench", "step", *TINY, "--steps", 1, "--group", 24], ["--group", "16", "24"]),
])
def test_what_the_library_refuses_is_one_sentence_and_leaves_no_file(arguments, parts, tmp_path):
    assert_refused(tool(*arguments, folder=tmp_path), parts)
    assert not list(tmp_path.iterdir())


def test_a_quantized_model_is_not_quantized_again_and_the_old_file_stays(quantized, tmp_path):
    (tmp_path / "x.ditq").write_bytes(b"before")
    assert_refused(tool("quantize", quantized["w8"][0], "-o", "x.ditq", folder=tmp_path), ["float"])
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"before"]


@pytest.mark.parametrize("arguments, part", [
    (["--wrong"], "--wrong"), (["inspect"], "model"), (["quantize", EMOJI], "-o"), (["generate", EMOJI], "-o"), (["compare", EMOJI], "model"),
    (["quantize", EMOJI, "-o", "x.ditq", "--weights", 3], "'8' and '4'"),
    (["quantize", EMOJI, "-o", "x.ditq", "--activations", 16], "'8' and '32'"),
    (["quantize", EMOJI, "-o", "x.ditq", "--method", "best"], "'auto', 'round', 'mse' or 'gptq'"),
    (["quantize", EMOJI, "-o", "x.ditq", "--group", 0], "row or auto"),
    *((["quantize", EMOJI, "-o", "x.ditq", f"--calibration-{name}", 1], f"--calibration-{name}: nothing is calibrated") for name in ("steps", "total-steps", "samples", "seed")),
    (["quantize", EMOJI, "-o", "x.ditq", "--observer", "mse"], "--observer: --activation-mode static or per-step expected, dynamic found"),
    (["quantize", EMOJI, "-o", "x.ditq", "--activations", 32, "--activation-mode", "static"], "--activation-mode: 8-bit activations expected"),
    (["quantize", EMOJI, "-o", "x.ditq", "--activations", 32, "--balance"], "--balance: 8-bit activations expected"),
    (["quantize", EMOJI, "-o", "x.ditq", "--activation-mode", "fixed"], "'dynamic', 'static' or 'per-step'"),
    *((["quantize", EMOJI, "-o", "x.ditq", "--recipe", "paper", *options], "--recipe paper: " + part) for options, part in [
        (["--activation-mode", "per-step"], "--activation-mode static expected, per-step found"), (["--activations", 32], "--activations 8 expected, 32 found"),
        (["--calibration-steps", 8], "--calibration-steps 1 expected, 8 found"), (["--method", "gptq"], "--method round expected, gptq found"),
        (["--group", 64], "--group row expected, 64 found"), (["--weights", 4, "--group", "row"], "--group 128 expected, row found"),
        (["--observer", "mse"], "--observer minmax expected, mse found"), (["--balance"], "no --balance expected"),
        (["--error-budget", 30], "no --error-budget expected")]),
    *((["quantize", EMOJI, "-o", "x.ditq", "--rule", rule], part) for rule, part in [
        ("*.fc2", "PATTERN=BITS"), ("=8", "PATTERN=BITS"), ("*=", "4, 8 or float"), ("*=5", "4, 8 or float"), ("*=float8", "4, 8 or float"),
        ("*=8a16", "8 or 32 bits"), ("*=8a", "8 or 32 bits"), ("*=4:", "row expected"), ("*=4:auto", "row expected"), ("*=4:-16", "row expected")]),
    (["generate", EMOJI, "-o", "x.png", "--steps", 0], "--steps"),
    *((["generate", EMOJI, "-o", name], f"a name that ends in .png expected, '{name}' found") for name in ("x.jpg", "x", "x.png.jpeg", ".png")),
    *((["quantize", EMOJI, "-o", name], f"a name that ends in .ditq expected, '{name}' found") for name in ("x.png", "x", "x.pt")),
    (["generate", EMOJI, "-o", "x.png", "--count", 0], "--count"),
    (["generate", EMOJI, "-o", "x.png", "--sampler", "euler"], "--sampler"),
    (["generate", EMOJI, "-o", "x.png", "--seed", 2**64], "--seed"),
    (["compare", EMOJI, EMOJI, "--samples", 0], "--samples"),
    (["bench", "write", "--config", "DiT-M/2", "-o", "x"], "--config"),
    (["bench", "write", "--config", "DiT-S/3", "-o", "x"], "--config"),
    (["bench", "write", "--config", "DiT-S/2", "--hidden", 100, "-o", "x"], "--hidden: a multiple of 16"),
    (["bench", "write", "--config", "DiT-S/2", "--depth", 0, "-o", "x"], "--depth"),
    (["bench", "step", "--model", EMOJI, "--weights", 8], "--weights, --group, --float: not with --model"),
    (["bench", "step", "--float", "--group", 64], "--weights, --group: not with --float"),
    (["bench", "step", "--batch", 0], "--batch"),
    (["bench", "decode", "--size", 72], "--size: a multiple of 16"), (["bench", "decode", "--model", EMOJI, "--decoder", 8], "--decoder: not with --model"),
    (["bench", "step", "--steps", 0], "--steps"),
])
def test_what_the_command_line_gets_wrong_has_a_status_of_its_own(arguments, part, tmp_path):
    done = tool(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (MISUSED, "") and done.stderr.startswith("Error: ") and part in done.stderr.splitlines()[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [*COMMANDS, "bench gemm", "bench step", "bench decode", "bench write"])
def test_help_has_examples_that_fit_a_terminal(command):
    text = answer(*command.split(), "--help")
    lines = text[text.index("\nExamples:\n") :].splitlines()[2:]
    examples = lines[: lines.index("")]
    assert examples and all(line.startswith(("  ditq " + command + " ", "    --")) for line in examples), examples
    assert command.split()[0] in answer("--help") and "ditq " + command in answer("help", *command.split())


@pytest.mark.parametrize("arguments, shown", [
    (["quantize", EMOJI, "-o", "x.ditq"], "35/35"),
    (["generate", EMOJI, "--count", 9, "--steps", 2, "-o", "x.png"], "4/4"),
    (["compare", EMOJI, EMOJI, "--steps", 2, "--samples", 1], "2/2"),
])
def test_progress_is_shown_on_a_terminal_and_then_wiped_away(arguments, shown, tmp_path):
    leader, follower = pty.openpty()
    done = subprocess.run([pathlib.Path(TOOL).resolve(), *map(str, arguments)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=follower, timeout=60)
    os.close(follower)
    text = os.read(leader, 65536).decode()
    os.close(leader)
    assert done.returncode == 0 and shown in text and "█" in text and text.endswith("\r\x1b[K")
