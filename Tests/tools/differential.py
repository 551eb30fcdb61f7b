#!/usr/bin/env python3
"""Random configurations on both the library and PyTorch: pipelines of diffusers, and the arithmetic of the public DiT code and of SiT.

    make differential COUNT=300                  # builds what it needs: the library, and .build-torch with PyTorch from its registry
    DITQ_LIBRARY=… Tests/tools/differential.py --seeds 0:300 [--family diffusers,official,sit] [--out FILE]

A seed below 100,000 draws one configuration, which is plain data: the line that is written of it repeats it (--config JSON). Each is either right
(predictions within 3e-5, latents within 3e-4 of a norm, images within one level) or refused, by a message that names a field which the library may refuse
(REFUSABLE). Where PyTorch's own float32 is as far from its float64, the bound is four times that distance: such ones are counted as "soft".

    right · soft · refused · skipped (PyTorch itself cannot make, load or run it) · FAIL

The references are written down here where the public code would be needed, in its order of operations; diffusers is asked itself.
"""

import argparse
import copy
import inspect
import json
import logging
import os
import pathlib
import random
import sys
import tempfile
import time
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))

import diffusers  # noqa: E402
import ditq_c as ditq  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from official_reference import DiT, latents_of_flow, latents_of_public_code  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(1)
torch.set_grad_enabled(False)
logging.disable(logging.WARNING)
diffusers.logging.set_verbosity(50)
diffusers.logging.disable_progress_bar()

MOST_SEEDS = 100_000
SAMPLERS = {"auto": 0, "ddim": 1, "ddpm": 2, "dpmpp_2m": 3, "flow_euler": 4}
CLASSES = {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler"}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

# What scheduler_config.json may say beside what is drawn for all: (field, values that run, values that may be refused by the field's name).
FIELDS = [
    ("beta_schedule", ["scaled_linear", "squaredcos_cap_v2"], ["sigmoid"]),
    ("prediction_type", ["v_prediction", "sample"], []),
    ("timestep_spacing", ["trailing", "linspace", "leading"], []),
    ("steps_offset", [1, 7], []),
    ("clip_sample", [True, None], []),
    ("clip_sample_range", [0.5, 3.0], []),
    ("set_alpha_to_one", [False], []),
    ("rescale_betas_zero_snr", [True], []),
    ("trained_betas", ["cubic"], []),
    ("thresholding", [], [True]),
    ("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"], ["learned_range", "learned"]),
    ("algorithm_type", [], ["sde-dpmsolver++", "dpmsolver"]),
    ("solver_type", ["bh2"], ["heun"]),
    ("solver_order", [], [3]),
    ("final_sigmas_type", [], ["sigma_min"]),
    ("lower_order_final", [False], []),
    ("euler_at_final", [True], []),
    ("use_karras_sigmas", [], [True]),
    ("use_lu_lambdas", [], [True]),
    ("lambda_min_clipped", [float("-inf")], [-5.1]),
    ("unknown_field", [float("nan"), {"a": [1]}], []),
    ("_use_default_values", [["timestep_spacing"]], []),
]
# What the files may hold: (kind, values); none of them changes what is computed, or else PyTorch reads it just so.
FILES = [("positions", ["doubled"]), ("index", ["DDPMScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"]), ("embedders", ["own"]), ("resaved", ["single-then-sharded", "sharded-then-single"])]
REFUSABLE = {field: values for field, _, values in FIELDS if values}


def draw(seed, families):
    """A configuration, plain data."""
    r = random.Random(seed * 7919 + 17)
    family = r.choices(families, [{"diffusers": 6, "official": 3, "sit": 1}[f] for f in families])[0]
    patch = r.choice([1, 2, 2, 4])
    heads, head_dim = r.choice([(1, 16), (2, 16), (2, 24), (3, 12), (4, 8), (2, 72), (3, 20)])
    c = {
        "seed": seed, "family": family, "patch": patch, "size": patch * r.choice([2, 3, 4, 5, 6]), "heads": heads, "head_dim": head_dim,
        "layers": r.choice([1, 1, 2, 3]), "channels": r.choice([1, 3, 4, 4, 4, 16]), "learned": r.random() < 0.6, "classes": r.choice([1, 2, 5, 10, 50]),
        "dtype": r.choice(["f32", "f32", "f16", "bf16"]), "gain": r.choice([0.3, 0.7, 1.0]), "eta": 0.0,
        "train_steps": r.choice([1000] * 4 + [50, 333, 2000]), "beta": r.choice([[1e-4, 0.02]] * 4 + [[8.5e-4, 0.012], [1e-5, 0.05], [1e-6, 1e-4]]),
        "steps": r.choice([1, 2, 3, 5, 8, 11, 16, 25, 48]), "scale": r.choice([1.0, 0.0, 1.5, 4.0, 4.0, 7.5]), "batch": r.choice([1, 1, 2, 3]),
        "threads": r.choice([1, 2]), "isa": r.choice([0, 0, 0, 1, 2]), "sampler": "flow_euler",
    }  # fmt: skip
    if family != "sit":
        c["sampler"] = r.choice(["auto", "auto", "ddim", "ddpm", "dpmpp_2m"])
        c["eta"] = r.choice([0.0, 0.0, 0.5, 1.0]) if c["sampler"] == "ddim" else 0.0
    c["labels"] = [r.randint(0, c["classes"]) for _ in range(c["batch"])]
    c["seeds"] = [r.choice([0, 5, 2**31, 2**32 + 7, r.getrandbits(63)]) for _ in range(c["batch"])]
    if family == "diffusers":
        c |= {"norm_eps": r.choice([1e-5, 1e-5, 1e-6, 1e-3]), "files": r.choice(["safetensors", "bin", "sharded"]), "vae": r.choice([[8], [8, 16], [16, 8, 8]])}
        c["class"], c["fields"], c["held"], c["drop"] = r.choice(list(CLASSES)), {}, {}, r.random() < 0.3
        for _ in range(r.choice([0, 0, 1, 1, 2, 3])):
            field, runs, refused = r.choice(FIELDS)
            c["fields"][field] = r.choice(runs * 3 + refused)
        if r.random() < 0.3:
            kind, values = r.choice(FILES)
            c["held"][kind] = r.choice(values)
    else:
        c |= {"mlp_ratio": r.choice([4, 4, 2, 3]), "file": r.choice(["safetensors", "pt", "pt-ema"]) if family == "official" else "safetensors"}
        c |= {"noise_timestep": r.choice([0, 0, 1]), "timestep_scale": r.choice([1, 1000])} if family == "sit" else {}
        if c["file"] != "safetensors":
            c["train_steps"], c["beta"] = 1000, [1e-4, 0.02]
    c["steps"] = min(c["steps"], c["train_steps"] - 1)
    return c


def fill(module, c):
    """Random weights, so wide that every branch counts."""
    torch.manual_seed(c["seed"] + 1)
    for name, w in module.named_parameters():
        if w.ndim > 1 and "embedding_table" not in name:
            torch.nn.init.xavier_normal_(w.view(w.shape[0], -1), gain=c["gain"])
        elif "norm" in name and name.endswith("weight") and w.ndim == 1:
            w.copy_(1 + 0.2 * torch.randn_like(w))
        else:
            torch.nn.init.normal_(w, std=0.3 if w.ndim > 1 else 0.05)
    return module.to(DTYPES[c["dtype"]]).eval()


def generators(c):
    return [torch.Generator().manual_seed(s if s < 2**63 else s - 2**64) for s in c["seeds"]]


def normals(gens, shape):
    return torch.cat([torch.randn((1, *shape), generator=g) for g in gens])


# ---- diffusers ----


def scheduler_fields(c):
    fields = {"num_train_timesteps": c["train_steps"], "beta_start": c["beta"][0], "beta_end": c["beta"][1], "clip_sample": False} | c["fields"]
    if fields.get("trained_betas") == "cubic":
        a, b = (beta ** (1 / 3) for beta in c["beta"])
        fields["trained_betas"] = [float(np.float32((a + (b - a) * i / max(1, c["train_steps"] - 1)) ** 3)) for i in range(c["train_steps"])]
    if not c["drop"]:  # as save_pretrained writes it: with what nobody said
        known = inspect.signature(getattr(diffusers, CLASSES[c["class"]]).__init__).parameters
        fields = {k: list(v.default) if isinstance(v.default, tuple) else v.default for k, v in known.items() if k != "self"} | fields
    return fields


class Pipeline:
    """A configuration as a directory, and diffusers' answers to it."""

    def __init__(self, c, folder):
        self.c, self.path = c, folder / "pipeline"
        dit = fill(
            diffusers.DiTTransformer2DModel(
                num_attention_heads=c["heads"], attention_head_dim=c["head_dim"], in_channels=c["channels"], out_channels=c["channels"] * (2 if c["learned"] else 1),
                num_layers=c["layers"], sample_size=c["size"], patch_size=c["patch"], num_embeds_ada_norm=c["classes"], norm_eps=c["norm_eps"],
            ),
            c,
        )  # fmt: skip
        if c["held"].get("embedders") != "own":
            for block in dit.transformer_blocks[1:]:
                block.norm1.emb.load_state_dict(dit.transformer_blocks[0].norm1.emb.state_dict())
        n = len(c["vae"])
        vae = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * n, up_block_types=("UpDecoderBlock2D",) * n, block_out_channels=tuple(c["vae"]), layers_per_block=1,
            latent_channels=c["channels"], norm_num_groups=4, sample_size=c["size"] * 2 ** (n - 1), scaling_factor=0.18215,
        )  # fmt: skip
        vae = fill(vae, c | {"gain": 1.0})
        pipe = diffusers.DiTPipeline(transformer=dit, vae=vae, scheduler=diffusers.DDIMScheduler(), id2label=None)
        shards = {"max_shard_size": sum(p.numel() * p.element_size() for p in dit.parameters()) // 3}
        if c["held"].get("resaved"):
            pipe.save_pretrained(self.path, **({} if c["held"]["resaved"].startswith("single") else shards))
            for p in dit.parameters():
                p.mul_(-0.5)
            pipe.save_pretrained(self.path, **(shards if c["held"]["resaved"].startswith("single") else {}))
        else:
            pipe.save_pretrained(self.path, safe_serialization=c["files"] != "bin", **(shards if c["files"] == "sharded" else {}))
        self.edit(dit)
        options = {"use_safetensors": False} if c["files"] == "bin" and not c["held"].get("resaved") else {}
        self.pipe = diffusers.DiTPipeline.from_pretrained(str(self.path), torch_dtype=torch.float32, local_files_only=True, **options)
        self.dit, self.vae, self.scheduler = self.pipe.transformer.eval(), self.pipe.vae.eval(), self.pipe.scheduler
        if c["sampler"] != "auto":
            self.scheduler = self.swapped()
        self.outputs = self.dit.config.out_channels

    def edit(self, dit):
        c = self.c
        (self.path / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": CLASSES[c["class"]]} | scheduler_fields(c)))
        index = json.loads((self.path / "model_index.json").read_text())
        index["scheduler"] = ["diffusers", c["held"].get("index", CLASSES[c["class"]])]
        (self.path / "model_index.json").write_text(json.dumps(index))
        file = self.path / "transformer/diffusion_pytorch_model.safetensors"
        if c["held"].get("positions") and file.exists():
            save_file(load_file(file) | {"pos_embed.pos_embed": 2 * dit.pos_embed.pos_embed.float().contiguous()}, file, metadata={"format": "pt"})

    def swapped(self):
        """Another sampler than the model's. include/ditq.h: as from_config makes it, but that a sampler's own spacing stays with it, and that DDPM takes
        the variance which the network learned where the scheduler names none."""
        name = CLASSES[self.c["sampler"]]
        if type(self.scheduler).__name__ == name:
            return self.scheduler
        # What its scheduler reads, and what others read in its place: from_config would find the fields of the other in the file, too, and clip by default.
        known = [*inspect.signature(type(self.scheduler).__init__).parameters, "clip_sample", "clip_sample_range", "set_alpha_to_one"]
        config = {"clip_sample": False} | {k: v for k, v in self.scheduler.config.items() if k in known}
        own = "linspace" if "Solver" in type(self.scheduler).__name__ else "leading"
        if config["timestep_spacing"] == own:
            del config["timestep_spacing"]
        scheduler = getattr(diffusers, name).from_config(config)
        if "DDPM" in name and self.dit.config.out_channels == 2 * self.c["channels"]:
            scheduler.variance_type = "learned_range"
            scheduler.register_to_config(variance_type="learned_range")
        return scheduler

    def predict(self, x, t, y):
        return self.dit(x, timestep=t, class_labels=y).sample

    def latents(self, gens, dtype):
        """The loop of DiTPipeline, with each image's own noise. Its variance half is dropped, as there, but for a DDPM that was swapped in."""
        c, dit, scheduler = self.c, self.dit.to(dtype), copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(c["steps"])
        shape, y = (c["channels"], c["size"], c["size"]), torch.tensor(c["labels"])
        x, null, kind = normals(gens, shape).to(dtype), torch.full_like(y, c["classes"]), type(scheduler).__name__
        keeps = kind == "DDPMScheduler" and scheduler.config.variance_type == "learned_range" and self.c["sampler"] == "ddpm"
        module = sys.modules[type(scheduler).__module__]
        real, module.randn_tensor = module.randn_tensor, lambda *_, **__: normals(gens, shape).to(dtype)
        try:
            for t in scheduler.timesteps:
                if c["scale"] > 1:
                    mine, none = dit(torch.cat([x, x]), timestep=t.expand(2 * len(x)), class_labels=torch.cat([y, null])).sample.chunk(2)
                    out = mine.clone()
                    out[:, : c["channels"]] = (none + c["scale"] * (mine - none))[:, : c["channels"]]
                else:
                    out = dit(x, timestep=t.expand(len(x)), class_labels=y).sample
                x = scheduler.step(out if keeps else out[:, : c["channels"]], t, x, **({"eta": c["eta"]} if kind == "DDIMScheduler" else {})).prev_sample
        finally:
            module.randn_tensor = real
            self.dit.float()
        return x

    def images(self, x):
        decoded = self.vae.decode(x / self.vae.config.scaling_factor).sample
        return ((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round()


# ---- the public code ----


class Checkpoint:
    """A configuration as a file in the public layout, and the answers of the public code's arithmetic."""

    def __init__(self, c, folder):
        self.c = c
        self.net = fill(DiT(c["heads"] * c["head_dim"], c["layers"], c["heads"], c["patch"], c["channels"], c["size"], c["classes"], c["mlp_ratio"], c["learned"]), c)
        state = {k: v.clone() for k, v in self.net.state_dict().items()}
        facts = {"head_count": c["heads"], "train_steps": c["train_steps"], "beta_start": c["beta"][0], "beta_end": c["beta"][1]}
        if c["family"] == "sit":
            facts = {"head_count": c["heads"], "prediction": "velocity", "noise_timestep": c["noise_timestep"], "timestep_scale": c["timestep_scale"]}
        if c["file"] == "safetensors":
            self.path = folder / "model.safetensors"
            save_file(state, self.path, metadata={"ditq.config": json.dumps(facts)})
        else:
            self.path = folder / "model.pt"
            torch.save(state if c["file"] == "pt" else {"model": {k: 0 * v for k, v in state.items()}, "ema": state, "opt": {}}, self.path)
        self.net.float()
        self.outputs = c["channels"] * (2 if c["learned"] else 1)

    def predict(self, x, t, y):
        return self.net(x, t, y)

    def latents(self, gens, dtype):
        c, net = self.c, self.net.to(dtype)
        try:
            return (latents_of_flow if c["family"] == "sit" else latents_of_public_code)(net, c, lambda: normals(gens, (c["channels"], c["size"], c["size"])).to(dtype))
        finally:
            self.net.float()


# ---- both ----


class Failure(Exception):
    pass


def distance(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def require(result, what, found, expected, bound, wide):
    error = result["errors"][what] = distance(found, expected)
    if error <= bound:
        return
    exact = wide()
    own, mine = distance(expected, exact), distance(found, exact)
    result["errors"][what + ", PyTorch's own"] = own
    if not (mine <= bound or error <= 4 * own):
        raise Failure(f"{what}: {error:.2g} from PyTorch, {mine:.2g} from it in float64, which it is {own:.2g} from itself")
    result["status"] = "soft"


def refusable(c):
    fields = c.get("fields", {})
    return [field for field, values in REFUSABLE.items() if fields.get(field) in values]


def compare(c, reference, model, result):
    session = model.session(threads=c["threads"], batch_limit=2, isa_limit=c["isa"])
    try:
        generator, top = torch.Generator().manual_seed(c["seed"]), c["train_steps"] - 1
        x = torch.randn((3, c["channels"], c["size"], c["size"]), generator=generator)
        t = torch.tensor([0.0, 0.3, 1.0]) * c["timestep_scale"] if c["family"] == "sit" else torch.tensor([top, top // 3, 0])
        y = torch.tensor([0, c["classes"] - 1, c["classes"]])
        expected = reference.predict(x, t, y)
        network = reference.dit if c["family"] == "diffusers" else reference.net

        def wide():
            network.double()
            out = reference.predict(x.double(), t, y).numpy()
            network.float()
            return out

        require(result, "prediction", session.predict(x.numpy(), t.float().numpy(), y.numpy(), channels=reference.outputs), expected.numpy(), 3e-5, wide)
        try:
            expected = reference.latents(generators(c), torch.float32).numpy()
            assert np.isfinite(expected).all(), "it is not finite"
        except Exception as error:
            result.update(status="skipped", why=f"PyTorch cannot run it: {type(error).__name__}: {error}"[:200])
            return
        options = dict(steps=c["steps"], guidance_scale=c["scale"], sampler=SAMPLERS[c["sampler"]], eta=c["eta"])
        found = session.denoise(c["labels"], c["seeds"], **options)
        require(result, "latents", found, expected, 3e-4, lambda: reference.latents(generators(c), torch.float64).numpy())
        if c["family"] == "diffusers":
            pixels = session.generate(c["labels"], c["seeds"], **options)
            # Of the library's own latents where float32 has blurred them.
            levels = np.abs(pixels - reference.images(torch.from_numpy(found if result["status"] == "soft" else expected))).max()
            if levels > 1:
                raise Failure(f"images: {levels:.0f} levels")
    finally:
        session.destroy()


def run(c):
    result = {"status": "right", "config": c, "errors": {}}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            reference, why = None, ""
            reference = (Pipeline if c["family"] == "diffusers" else Checkpoint)(c, pathlib.Path(folder))
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:200]
        path = reference.path if reference else pathlib.Path(folder) / "pipeline"
        try:
            facts = {} if c["family"] == "diffusers" or c["file"] == "safetensors" else {"head_count": c["heads"]}
            with ditq.Model(path, **facts) as model:
                if reference:
                    compare(c, reference, model, result)
                else:
                    result.update(status="skipped", why=why)
        except ditq.DitqFailure as failure:
            named = [field for field in refusable(c) if field in failure.message]
            result.update(why=failure.message, status="skipped" if not reference else "refused" if named else "FAIL")
        except Failure as failure:
            result.update(status="FAIL", why=str(failure))
    return result | {"seconds": round(time.monotonic() - began, 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:300", help="from:to, below 100,000")
    parser.add_argument("--family", default="diffusers,official,sit")
    parser.add_argument("--config", help="one configuration as JSON")
    parser.add_argument("--out", help="a file for a line of each")
    a = parser.parse_args()
    low, high = (int(s) for s in a.seeds.split(":"))
    if not 0 <= low <= high <= MOST_SEEDS:
        parser.error("seeds from 0 to 100000")
    counts, out = {}, open(a.out, "a") if a.out else None
    for c in [json.loads(a.config)] if a.config else (draw(seed, a.family.split(",")) for seed in range(low, high)):
        result = run(c)
        counts[result["status"]] = counts.get(result["status"], 0) + 1
        if out:
            print(json.dumps(result), file=out, flush=True)
        if result["status"] == "FAIL" or a.config:
            print(c["seed"], result["status"], result.get("why", ""), json.dumps(c), result["errors"], flush=True)
    print(counts)
    return 1 if counts.get("FAIL") else 0


if __name__ == "__main__":
    sys.exit(main())
