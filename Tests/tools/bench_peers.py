#!/usr/bin/env python3
"""Other libraries and ditq on the same model of random weights, in turn: ratios of the medians of their steps.

`make bench-peers` runs it. It installs what the peers need from PyPI into .build-peers (several GB), writes the model with `ditq bench write`,
gives its weights to the peers and quantizes it for ditq, and then alternates: one run of a peer, one of ditq for each format, so many rounds.
A run is a process of its own with several steps; its figure is its median step, and a ratio is that of the medians over the rounds. A peer
that cannot be installed, prepared or run is named with its reason, and the others go on.

The peers' side is a harness that stands beside the checkout, ../shared/bench/peers.py (or --harness); it has the models DiT-S/2 and DiT-XL/2.
Needs nothing but the standard library itself.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {  # by the first word of a peer's name: what it needs beside the exporter
    "torch": [], "torchao": ["torchao"], "pt2e": ["torchao"], "ort": ["onnx", "onnxruntime", "onnxscript"], "openvino": ["openvino", "nncf"],
}
EXPORTER = ["torch", "diffusers", "accelerate", "safetensors", "numpy"]
MODELS = {"DiT-S/2": "s", "DiT-XL/2": "xl"}  # as the harness names them
DEFAULT_PEERS = ["openvino-int8", "openvino-w8", "openvino-w4", "ort-dyn-int8", "torchao-da8w8", "torch-fp32"]
FORMATS = {"W8A8": ["--weights", "8"], "W4A8": ["--weights", "4"]}
# Runs in the environment of the peers: F16 to the F32 that the harness loads.
TO_F32 = ("import sys; from safetensors.numpy import load_file, save_file; "
          "save_file({k: v.astype('float32') for k, v in load_file(sys.argv[1]).items()}, sys.argv[2])")


class Failed(Exception):
    """A step of one peer went wrong; the text says how."""


def call(command, **options):
    """What a command prints; Failed with its last line otherwise."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise Failed(lines[-1][:300])
    return done.stdout


def say(text):
    print(text, file=sys.stderr, flush=True)


class Peers:
    """The environment, the exported model and the runs of the other side."""

    def __init__(self, arguments, folder):
        self.folder, self.arguments = folder, arguments
        self.python = folder / "venv/bin/python"
        self.cache = folder / "cache" / MODELS[arguments.config]
        self.failures = {}

    def install(self):
        if not self.python.exists():
            call([sys.executable, "-m", "venv", self.folder / "venv"])
        self.pip(EXPORTER)
        for peer in list(self.arguments.peers):
            self.attempt(peer, lambda peer=peer: self.pip(PACKAGES.get(peer.split("-")[0], [])))

    def pip(self, packages):
        if packages:
            call([self.python, "-m", "pip", "install", "--quiet", *packages])

    def export(self, model):
        """The harness takes the weights that lie in its cache under the model's name."""
        self.cache.mkdir(parents=True, exist_ok=True)
        target = self.cache / (MODELS[self.arguments.config] + ".safetensors")
        if not target.exists():
            call([self.python, "-c", TO_F32, model / "transformer/diffusion_pytorch_model.safetensors", target])

    def prepare(self):
        for peer in self.arguments.peers:
            say(f"prepare {peer}")
            self.attempt(peer, lambda peer=peer: self.harness(peer, "--prepare"))

    def step(self, peer):
        """The harness's own figures of one run, or None."""
        return self.attempt(peer, lambda: self.harness(peer, "--repeats", self.arguments.steps))

    def harness(self, peer, *options):
        a = self.arguments
        text = call([self.python, a.harness, "--peer", peer, "--level", "step", "--model", MODELS[a.config], "--batch", "2",
                     "--threads", a.threads, "--cache", self.cache, *options])
        said = json.loads(text.strip().splitlines()[-1])
        if "error" in said:
            raise Failed(said["error"])
        return said

    def attempt(self, peer, work):
        if peer in self.failures:
            return None
        try:
            return work()
        except Failed as failure:
            self.failures[peer] = str(failure)
            say(f"{peer} failed: {failure}")
            return None


class Ours:
    """The same model in ditq's formats."""

    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.tool = ROOT / ".build-tool/ditq"
        name = arguments.config.replace("/", "-")
        self.model = folder / "models" / name
        self.files = {form: folder / f"models/{name}-{form}.ditq" for form in FORMATS}

    def prepare(self):
        self.model.parent.mkdir(parents=True, exist_ok=True)
        if not self.model.exists():
            call([self.tool, "bench", "write", "--config", self.arguments.config, "-o", self.model])
        for form, file in self.files.items():
            if not file.exists():
                call([self.tool, "quantize", self.model, "-o", file, "--method", "round", *FORMATS[form]])

    def step(self, form):
        a = self.arguments
        return json.loads(call([self.tool, "bench", "step", "--model", self.files[form], "--no-kinds", "--json", "--batch", "2",
                                "--threads", a.threads, "--steps", a.steps]))


def alternate(peers, ours):
    """{peer: {"ms": [a figure a round], "mb": …, "ditq": {format: …}}}, each peer's runs beside ditq's of the same round."""
    found = {}
    for number in range(peers.arguments.rounds):
        for peer in peers.arguments.peers:
            theirs = peers.step(peer)
            if theirs is None:
                continue
            say(f"round {number + 1}: {peer} {theirs['ms_med']:.1f} ms")
            one = found.setdefault(peer, {"ms": [], "mb": [], "ditq": {form: {"ms": [], "mb": []} for form in FORMATS}})
            one["ms"].append(theirs["ms_med"])
            one["mb"].append(theirs["peak_mb"])
            for form, sums in one["ditq"].items():
                said = ours.step(form)
                sums["ms"].append(1e3 * said["step_seconds"])
                sums["mb"].append(said["peak_resident"] / 2**20)
    return {peer: one for peer, one in found.items() if peer not in peers.failures}


def summary(peer, one):
    """Medians over the rounds; a ratio above 1 says that ditq is faster, or smaller."""
    ms, mb = statistics.median(one["ms"]), statistics.median(one["mb"])
    row = {"peer": peer, "ms": round(ms, 2), "peak_mb": round(mb), "ditq": {}}
    for form, sums in one["ditq"].items():
        own = statistics.median(sums["ms"]), statistics.median(sums["mb"])
        row["ditq"][form] = {"ms": round(own[0], 2), "peak_mb": round(own[1]), "ratio": round(ms / own[0], 3), "memory_ratio": round(mb / own[1], 2)}
    return row


def table(rows):
    cells = [["peer", "ms", "MB", *(text for form in FORMATS for text in (f"{form} ms", "MB", "ratio"))]]
    for row in rows:
        own = [text for form in FORMATS for text in (f"{row['ditq'][form]['ms']:.1f}", str(row["ditq"][form]["peak_mb"]), f"{row['ditq'][form]['ratio']:.2f}")]
        cells.append([row["peer"], f"{row['ms']:.1f}", str(row["peak_mb"]), *own])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join("  ".join(text.ljust(width) if column == 0 else text.rjust(width) for column, (text, width) in enumerate(zip(line, widths)))
                     for line in cells)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="DiT-S/2", choices=list(MODELS))
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), type=lambda text: text.split(","), help="comma-separated; the harness's --list has all")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7, help="steps of a run")
    parser.add_argument("--harness", type=pathlib.Path, default=ROOT.parent / "shared/bench/peers.py")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / ".build-peers")
    parser.add_argument("--no-install", action="store_true", help="take the environment as it is")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def main():
    arguments = parsed()
    if not arguments.harness.exists():
        raise Failed(f"{arguments.harness}: no such file; --harness names the peers' script")
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ours, peers = Ours(arguments, folder), Peers(arguments, folder)
    ours.prepare()
    if not arguments.no_install:
        say("install the peers")
        peers.install()
    peers.export(ours.model)
    peers.prepare()
    rows = [summary(peer, one) for peer, one in alternate(peers, ours).items()]
    if arguments.json:
        print(json.dumps({"config": arguments.config, "threads": arguments.threads, "rounds": arguments.rounds, "peers": rows, "failures": peers.failures}))
        return
    print(f"{arguments.config}, batch 2, {arguments.threads} threads, {arguments.rounds} rounds; ratio: the peer's median step over ditq's")
    print(table(rows))
    for peer, reason in peers.failures.items():
        print(f"{peer}: {reason}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"bench_peers: {failure}")
