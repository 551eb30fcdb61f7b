#!/usr/bin/env python3
"""What must not change when the library is rebuilt from other code: SHA-256 sums of all that it makes, a line each, sorted.

    DITQ_LIBRARY=… Tests/hashes.py > before.txt         a minute or two on one core; --only PART,… makes the lines of some parts alone
    DITQ_LIBRARY=… Tests/hashes.py --compare before.txt  names what differs, what is missing and what is new; ends with 1 unless nothing is

Tests/hashes.txt is such a list, the same on every machine. A line is KEY = SUM, or KEY = refused STATUS. What instruction sets and numbers of threads make is
one line: whatever differs between them stands in it as "DIFFERS". What a run or a machine may change is taken out before: times, paths, how zlib packs a PNG.
Models of ../shared, where it stands, have keys of their own ("shared/…"), which are not asked for where it does not.
"""

import argparse
import collections
import copy
import hashlib
import itertools
import json
import pathlib
import re
import struct
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "python"))

import ditq_c as ditq  # noqa: E402
import numpy as np  # noqa: E402
from ditq_c import DitqFailure, lib  # noqa: E402

ROOT = ditq.ROOT
FIXTURES = ROOT / "Tests/Fixtures"
EMOJI = ROOT / "examples/models/emoji"
SHARED = ROOT.parent / "shared"
DIGITS = 24


def official(**config):
    return FIXTURES / "official-a/model.safetensors", dict(head_count=2, config_json=json.dumps(config).encode()) if config else dict(head_count=2)


# name: (path, facts that open it)
MODELS = {
    "emoji": (EMOJI / "emoji.safetensors", {}),
    "emoji-w8a8": (EMOJI / "emoji-w8a8.ditq", {}),
    "emoji-w4a8": (EMOJI / "emoji-w4a8.ditq", {}),
    "official-a": official(),
    "a flow": official(prediction="velocity"),
    "a flow from 1": official(prediction="velocity", noise_timestep=1, timestep_scale=1000),
    "v": official(prediction="v_prediction", beta_schedule="scaled_linear", timestep_spacing="trailing", rescale_betas_zero_snr=True),
    "clipped sample": official(prediction="sample", beta_schedule="squaredcos_cap_v2", timestep_spacing="linspace", clip_sample_range=1.5),
    "diffusers-a": (FIXTURES / "diffusers-a/pipeline", {}),
    "diffusers-b": (FIXTURES / "diffusers-b/pipeline", {}),
    "diffusers-own": (FIXTURES / "diffusers-own/pipeline", {}),
}
SHARED_MODELS = {
    "shared/official-a.pt": (SHARED / "golden/official-a/model.pt", dict(head_count=2)),
    "shared/official-a-ema.pt": (SHARED / "golden/official-a/model-ema.pt", dict(head_count=2)),
    "shared/diffusers-b-bin": (SHARED / "golden/diffusers-b/pipeline-bin", {}),
    "shared/diffusers-b-sharded": (SHARED / "golden/diffusers-b/pipeline-sharded", {}),
    "shared/emoji32": (SHARED / "models/emoji32/emoji.safetensors", {}),
    "shared/minus-infinity": (SHARED / "golden/reported/diffusers-fail-minus-infinity/pipeline", {}),
    "shared/single-beside-shards": (SHARED / "golden/reported/diffusers-fail-single-beside-shards/pipeline", {}),
}
SAMPLERS = {name.lower(): int(value) for name, value in ditq.Sampler.__members__.items()}
RANDOMS = {name.lower(): int(value) for name, value in ditq.Random.__members__.items()}

# Options of ditq_denoise, all with two or three steps of two images.
SAMPLINGS = {
    f"{sampler}, {random}": dict(steps=3, guidance_scale=2.0, sampler=SAMPLERS[sampler], random=RANDOMS[random])
    for sampler, random in itertools.product(SAMPLERS, RANDOMS)
} | {
    "one step": dict(steps=1),
    "eight steps": dict(steps=8, guidance_scale=4.0),
    "one branch": dict(steps=2, guidance_scale=1.0),
    "scale 0": dict(steps=2, guidance_scale=0.0),
    "guided at first": dict(steps=3, guidance_end=0.4),
    "guided in the end": dict(steps=3, guidance_begin=0.3, guidance_end=0.9),
    "one channel guided": dict(steps=2, guidance_channels=1),
    "eta 0.6": dict(steps=3, guidance_scale=2.0, sampler=SAMPLERS["ddim"], eta=0.6),
    "eta 1, philox": dict(steps=3, guidance_scale=2.0, sampler=SAMPLERS["ddim"], eta=1.0, random=RANDOMS["philox"]),
    "ddpm, five steps, one branch": dict(steps=5, guidance_scale=1.0, sampler=SAMPLERS["ddpm"]),
    "dpmpp_2m, seven steps": dict(steps=7, sampler=SAMPLERS["dpmpp_2m"]),
}  # fmt: skip

STATIC, PER_STEP, DYNAMIC, NONE = 1, 2, 3, 4
MINMAX, PERCENTILE, MSE_RANGE = 0, 1, 2
ROUND, MSE, GPTQ = 1, 2, 3
FEW = dict(calibration_steps=2, calibration_total_steps=6, calibration_samples=4)


def rule(pattern, bits=0, group=-1, activations=0):
    return dict(weight_bits=bits, weight_group=group, activation_bits=activations, pattern=pattern.encode())


# Options of ditq_quantize. All of them are taken of the models in WHOLE, those of BRIEF of all in QUANTIZED.
QUANTIZATIONS = {
    "w8": dict(),
    "w4": dict(weight_bits=4),
    "w4, static": dict(weight_bits=4, weight_method=ROUND, activation_mode=STATIC),
    "w4, weight-only": dict(weight_bits=4, weight_method=MSE, activation_mode=NONE),
    "vae in 8 bits": dict(rules=[rule("vae.*", bits=8)]),
    "w8, groups of 32": dict(weight_group=32),
    "w8, groups of 48, mse": dict(weight_group=48, weight_method=MSE),
    "w8, gptq": dict(weight_method=GPTQ),
    "w8, static": dict(activation_mode=STATIC),
    "w8, static, first step": dict(activation_mode=STATIC, calibration_steps=1),
    "w8, static, percentile": dict(activation_mode=STATIC, observer=PERCENTILE),
    "w8, static, mse": dict(activation_mode=STATIC, observer=MSE_RANGE),
    "w8, static per step": dict(activation_mode=PER_STEP),
    "w8, static per step, mse, balanced": dict(activation_mode=PER_STEP, observer=MSE_RANGE, balance_channels=1),
    "w8, weight-only": dict(activation_mode=NONE),
    "w8, balanced": dict(balance_channels=1),
    "w4, row, round": dict(weight_bits=4, weight_group=0, weight_method=ROUND),
    "w4, row, gptq": dict(weight_bits=4, weight_group=0),
    "w4, groups of 16, round": dict(weight_bits=4, weight_group=16, weight_method=ROUND),
    "w4, groups of 32, mse": dict(weight_bits=4, weight_group=32, weight_method=MSE),
    "w4, groups of 80, gptq": dict(weight_bits=4, weight_group=80),
    "w4, static per step, balanced": dict(weight_bits=4, activation_mode=PER_STEP, balance_channels=1),
    "w4, seed 9": dict(weight_bits=4, calibration_seed=9),
    "w4, budget 24 dB": dict(weight_bits=4, weight_method=ROUND, error_budget_db=24.0),
    "w4, static, budget 30 dB": dict(weight_bits=4, weight_method=ROUND, activation_mode=STATIC, error_budget_db=30.0),
    "rules": dict(rules=[rule("blocks.*.mlp.*", bits=4, group=64), rule("blocks.0.*", activations=32), rule("*.qkv", bits=32), rule("*.adaLN_modulation.1", bits=4, group=32)]),
    "rules, static": dict(activation_mode=STATIC, rules=[rule("*.fc2", bits=4, group=0), rule("*.attn*", activations=32)]),
}  # fmt: skip
BRIEF = list(QUANTIZATIONS)[:5]
WHOLE = ["diffusers-b", "official-a"]
QUANTIZED = [*WHOLE, "emoji", "diffusers-a", "diffusers-own", "a flow from 1"]
REPORTED = ["w8", "w4, static", "w8, static per step", "w4, weight-only", "rules"]

LINEARS = {
    f"{rows} x {inputs} x {outputs}, {name}": (rows, inputs, outputs, fields)
    for rows, inputs, outputs in [(1, 5, 3), (4, 64, 33), (15, 96, 64), (29, 250, 70), (33, 1152, 40)]
    for name, fields in {
        "float": dict(weight_bits=32),
        "w8": dict(weight_bits=8),
        "w8, groups of 32, mse": dict(weight_bits=8, weight_group=32, weight_method=MSE),
        "w8, static": dict(weight_bits=8, activation_mode=STATIC, activation_min=-2.0, activation_max=3.0),
        "w4": dict(weight_bits=4),
        "w4, groups of 16": dict(weight_bits=4, weight_group=16),
        "w4, groups of 48, mse, static": dict(weight_bits=4, weight_group=48, weight_method=MSE, activation_mode=STATIC, activation_min=-3.0, activation_max=2.0),
    }.items()
}  # fmt: skip


# ---- Sums ----


def sum_of(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:DIGITS]


def sum_of_json(value):
    """Without times and paths, its keys in the order that they have."""
    text = json.dumps(value)
    text = re.sub(r'("[a-z_]*seconds[a-z_]*": )(\[[^]]*\]|[-+.0-9e]+)', r"\1null", text)
    return sum_of(text.replace(str(ROOT), "").replace(str(SHARED), "").encode())


def sum_of_png(data):
    """Chunk by chunk, what IDAT packs instead of how it does."""
    chunks, pixels, at = [data[:8]], b"", 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0]
        if kind == b"IDAT":
            pixels += body
        else:
            chunks += [kind, body]
        at += 12 + size
    return sum_of(*chunks, zlib.decompress(pixels))


class Hashes(dict):
    """key → sum"""

    def add(self, key, make):
        assert key not in self, key
        try:
            self[key] = make()
        except DitqFailure as failure:
            self[key] = f"refused {ditq.STATUS_NAMES[failure.status]}"

    def add_same(self, key, ways, make):
        """One line for what each of the ways makes."""

        def of_all():
            by_sum = collections.defaultdict(list)
            for name, way in ways.items():
                by_sum[make(way)].append(name)
            return next(iter(by_sum)) if len(by_sum) == 1 else "DIFFERS " + "; ".join(f"{s}: {', '.join(names)}" for s, names in by_sum.items())

        self.add(key, of_all)


def instruction_sets(model):
    """name: limit, the best first, of all that this CPU has."""
    sets = {}
    for limit in map(int, ditq.Isa):
        try:
            with model.session(threads=1, isa_limit=limit) as session:
                sets.setdefault(session.json()["instruction_set"], limit)
        except DitqFailure as failure:  # a set of another architecture
            assert failure.status == ditq.UNSUPPORTED
    return sets


# ---- What is made ----


def opened(path, facts, **options):
    return ditq.Model(path, **(facts | options))


def labels_and_seeds(model, count):
    classes = model.info.class_count
    return [(5 * i + 3) % classes for i in range(count)], [11 * i + 1 for i in range(count)]


def sessions(model, sets, **options):
    """On every set with one thread; on the best one also with two, and two images at a time."""
    ways = {name: dict(threads=1, isa_limit=limit) for name, limit in sets.items()}
    ways["two threads"] = dict(threads=2)
    ways["batches"] = dict(threads=2, batch_limit=2)
    return {name: model.session(**(way | options)) for name, way in ways.items()}


def add_samplings(hashes, name, model, sets, samplings):
    labels, seeds = labels_and_seeds(model, 3)
    ways = sessions(model, sets)
    best = next(iter(ways))
    for what, fields in samplings.items():
        everywhere = what in ("auto, torch", "ddim, torch")
        hashes.add_same(
            f"{name} | latents | {what}",
            ways if everywhere else {best: ways[best]},
            lambda session: sum_of(session.denoise(labels if everywhere else labels[:2], seeds if everywhere else seeds[:2], **fields)),
        )
    noise = np.random.default_rng(5).standard_normal((2, *model.latent_shape)).astype(np.float32)
    hashes.add(f"{name} | latents | own noise", lambda: sum_of(ways[best].denoise(labels[:2], None, steps=2, noise=noise)))
    channels = model.json()["output_channels"] if "output_channels" in model.json() else None
    hashes.add_same(f"{name} | prediction", ways, lambda session: sum_of(session.predict(noise[:1], [999.0], labels[:1], channels)))
    for session in ways.values():
        session.destroy()


def add_pictures(hashes, name, model, sets):
    if not model.info.image_height:
        return
    labels, seeds = labels_and_seeds(model, 1)
    ways = sessions(model, sets)
    values = np.random.default_rng(3).standard_normal((1, *model.latent_shape)).astype(np.float32)
    hashes.add_same(f"{name} | float image", ways, lambda session: sum_of(session.decode_float(values)))
    pixels = next(iter(ways.values())).generate(labels, seeds, steps=2)
    hashes.add(f"{name} | pixels", lambda: sum_of(pixels))
    hashes.add(f"{name} | PNG", lambda: sum_of_png(ditq.png_encode(pixels[0], {"Title": "one", "Comment": "ü 雪"})))
    for session in ways.values():
        session.destroy()


def add_runs(hashes, name, model):
    labels, seeds = labels_and_seeds(model, 2)
    for what in ("auto, torch", "ddpm, torch", "dpmpp_2m, philox", "eta 0.6", "flow_euler, philox"):

        def bytes_of_each_step():
            parts = []
            with model.session(threads=1) as session, ditq.Run(model, labels, seeds, **SAMPLINGS[what]) as run:
                parts += [run.save(), *run.latents()]
                while run.step(session):
                    parts += [run.save(), *run.latents()]
                with ditq.Run(model, saved=parts[0]) as again:
                    assert again.finish(session).save() == run.save()
                return sum_of(*parts, run.save())

        hashes.add(f"{name} | run | {what}", bytes_of_each_step)


def report(reference, model, **fields):
    handle = ditq.c_void_p()
    ditq.call(lib.ditq_compare, reference.handle, model.handle, ditq.byref(ditq.CompareOptions(threads=1, **fields)), ditq.byref(handle))
    text = json.loads(lib.ditq_report_json(handle))
    lib.ditq_report_destroy(handle)
    return sum_of_json(text)


def add_quantized(hashes, name, model, sets, which):
    """Each as JSON, as a file, and what the file makes when it is opened again."""
    labels, seeds = labels_and_seeds(model, 1)
    with tempfile.TemporaryDirectory() as folder:
        for what in which:
            key, path = f"{name} | quantized | {what}", f"{folder}/model.ditq"
            try:
                quantized = model.quantize(threads=1, **(FEW | copy.deepcopy(QUANTIZATIONS[what])))
            except DitqFailure as failure:
                hashes[key] = f"refused {ditq.STATUS_NAMES[failure.status]}"
                continue
            with quantized:
                quantized.save(path)
                hashes.add(f"{key} | JSON", lambda: sum_of_json(quantized.json()))
                hashes.add(f"{key} | file", lambda: sum_of(pathlib.Path(path).read_bytes()))
                if what in REPORTED:
                    for free in 0, 1:
                        hashes.add(f"{key} | report{', free-running' * free}", lambda: report(model, quantized, steps=2, samples=2, seed=4, free_running=free))
            with ditq.Model(path) as model_of_file:
                hashes.add(f"{key} | JSON of the file", lambda: sum_of_json(model_of_file.json()))
                ways = sessions(model_of_file, sets)
                hashes.add_same(f"{key} | latents", ways, lambda session: sum_of(session.denoise(labels, seeds, steps=2, guidance_scale=3.0)))
                if "vae" in what:
                    hashes.add_same(f"{key} | float image", ways, lambda session: sum_of(session.decode_float(np.ones((1, *model.latent_shape), np.float32))))
                for session in ways.values():
                    session.destroy()


def add_model(hashes, name, path, facts, sets, parts):
    for word in ("auto", "official", "diffusers"):

        def description():
            with opened(path, facts, compatibility=int(ditq.Compatibility[word.upper()])) as model:
                if word != "auto" and "sampling" in parts:
                    add_samplings(hashes, f"{name}, {word}", model, dict(itertools.islice(sets.items(), 1)), {"ddim, torch": SAMPLINGS["ddim, torch"]})
                return sum_of_json(model.json())

        hashes.add(f"{name} | JSON | {word}", description)
    with opened(path, facts) as model:
        if "sampling" in parts:
            add_samplings(hashes, name, model, sets, SAMPLINGS)
            add_pictures(hashes, name, model, sets)
            add_runs(hashes, name, model)
        if "quantizing" in parts and name in QUANTIZED:
            add_quantized(hashes, name, model, sets, QUANTIZATIONS if name in WHOLE else BRIEF)


def add_linears(hashes, sets):
    for what, (rows, inputs, outputs, fields) in LINEARS.items():
        random = np.random.default_rng(rows * inputs)
        weights, bias, x = (random.standard_normal(shape).astype(np.float32) for shape in ((outputs, inputs), outputs, (rows, inputs)))

        def product(limit):
            handle, y = ditq.c_void_p(), np.zeros((rows, outputs), np.float32)
            options = ditq.LinearOptions(isa_limit=limit, **fields)
            ditq.call(lib.ditq_linear_create, ditq.address(weights), ditq.address(bias), outputs, inputs, ditq.byref(options), ditq.byref(handle))
            try:
                ditq.call(lib.ditq_linear_apply, handle, ditq.address(x), rows, ditq.address(y), 2)
            finally:
                lib.ditq_linear_destroy(handle)
            return sum_of(y)

        hashes.add_same(f"linear | {what}", sets, product)


PARTS = ("sampling", "quantizing", "linear")


def made(parts=PARTS, models=None):
    """All lines of these parts, of these models."""
    hashes = Hashes()
    with opened(*MODELS["diffusers-b"]) as model:
        sets = instruction_sets(model)
    print(f"instruction sets: {', '.join(sets)}", file=sys.stderr)
    if "linear" in parts:
        add_linears(hashes, sets)
    there = {name: model for name, model in SHARED_MODELS.items() if model[0].exists()}
    for name, (path, facts) in (MODELS | there).items():
        if models is None or name in models:
            add_model(hashes, name, path, facts, sets, parts)
    return hashes


def differences(lines, expected):
    """Sentences: of keys that both have; of those that only one has, where `expected` could have been made here."""
    told = [f"{key}: {expected[key]} expected, {lines[key]} found" for key in lines.keys() & expected.keys() if lines[key] != expected[key]]
    missing = {key for key in expected.keys() - lines.keys() if SHARED.exists() or not key.startswith("shared/")}
    new = {key for key in lines.keys() - expected.keys() if not key.startswith("shared/") or any(other.startswith("shared/") for other in expected)}
    return sorted(told) + [f"{key}: missing" for key in sorted(missing)] + [f"{key}: new" for key in sorted(new)]


def read(path):
    return dict(line.rsplit(" = ", 1) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines() if line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compare", metavar="FILE", help="a list made before")
    parser.add_argument("--only", metavar="PARTS", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--models", metavar="NAMES", help=f"of {', '.join(MODELS)}")
    arguments = parser.parse_args()
    lines = made(arguments.only.split(",") if arguments.only else PARTS, arguments.models.split(",") if arguments.models else None)
    if not arguments.compare:
        print("\n".join(f"{key} = {lines[key]}" for key in sorted(lines)))
        return 0
    expected = read(arguments.compare)
    if arguments.only or arguments.models:
        expected = {key: expected[key] for key in expected if key in lines}
    told = differences(lines, expected)
    print("\n".join(told) if told else f"ok  {len(lines)} sums")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
