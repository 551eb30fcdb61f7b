#!/usr/bin/env python3
"""Makes a model of many small parts: many_layers.py FOLDER [BLOCKS] [CLASSES] [LEVELS]. A diffusers pipeline of so many blocks, class names and
levels of its decoder, of 17 residual blocks each (28, 1000, 8: 287 convolutions), with the numbers of the tiny pipeline that is fuzzed.

What is as long as a model has layers or names is short in the tiny one. Needs numpy.
"""
import json
import pathlib
import shutil
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/python"))
import safetensors_io  # noqa: E402

RESNETS = 17  # the most that a level may have
WEIGHTS = "diffusion_pytorch_model.safetensors"


def renamed(tensors, stem, other):
    """The tensors whose names begin with a stem, under another."""
    return {other + name.removeprefix(stem): tensor for name, tensor in tensors.items() if name.startswith(stem)}


def make(folder, blocks=28, classes=1000, levels=8):
    shutil.copytree(ROOT / "Tests/fuzz/models/pipeline", folder)

    def change(name, **values):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    transformer = safetensors_io.read(folder / "transformer" / WEIGHTS)
    for i in range(1, blocks):
        transformer |= renamed(transformer, "transformer_blocks.0.", f"transformer_blocks.{i}.")
    for name in (name for name in transformer if name.endswith("embedding_table.weight")):
        transformer[name] = np.resize(transformer[name], (classes + 1, transformer[name].shape[1]))
    (folder / "transformer" / WEIGHTS).write_bytes(safetensors_io.encode(transformer))
    change("transformer/config.json", num_layers=blocks, num_embeds_ada_norm=classes, sample_size=2)
    change("model_index.json", id2label={str(i): f"class number {i}, name {i}" for i in range(classes)})

    decoder = safetensors_io.read(folder / "vae" / WEIGHTS)
    up = "decoder.up_blocks."
    for level in range(levels):
        if level > 1:
            decoder |= renamed(decoder, up + "1.resnets.1.", f"{up}{level}.resnets.0.")
        for i in range(1, RESNETS):
            decoder |= renamed(decoder, f"{up}{min(level, 1)}.resnets.1.", f"{up}{level}.resnets.{i}.")
        if 0 < level < levels - 1:  # in half as many channels as the first
            for kind, tensor in (("weight", decoder[up + "0.upsamplers.0.conv.weight"][:4, :4]), ("bias", decoder[up + "0.upsamplers.0.conv.bias"][:4])):
                decoder[f"{up}{level}.upsamplers.0.conv.{kind}"] = tensor
    (folder / "vae" / WEIGHTS).write_bytes(safetensors_io.encode(decoder))
    change("vae/config.json", layers_per_block=RESNETS - 1, block_out_channels=[4] * (levels - 1) + [8], up_block_types=["UpDecoderBlock2D"] * levels)


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
