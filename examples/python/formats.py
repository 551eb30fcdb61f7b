"""What formats look like: the same eight pictures from each model, a row each, as examples/models/emoji/formats.png has them. From the root of
the repository: formats.py OUT.png MODEL… [--steps N]"""
import argparse

import ditq
import numpy as np

LABELS, FIRST_SEED, GUIDANCE, SCALE = [0, 3, 17, 40, 77, 101, 110, 120], 100, 3, 4

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out")
parser.add_argument("models", nargs="+")
parser.add_argument("--steps", type=int, default=50)
arguments = parser.parse_args()

rows = []
for path in arguments.models:
    with ditq.Model(path) as model:
        pictures = model.generate(LABELS, seed=FIRST_SEED, steps=arguments.steps, guidance_scale=GUIDANCE)
        rows.append(np.concatenate(list(pictures.numpy()), axis=1))
pixels = np.concatenate(rows).repeat(SCALE, axis=0).repeat(SCALE, axis=1)
ditq.Image(pixels, *pixels.shape).save(arguments.out)
