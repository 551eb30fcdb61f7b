"""The arithmetic of the public DiT code and of SiT in PyTorch, for differential.py: the network by its checkpoint's names, and its samplers. Written from
the papers and the published description, not from that code, which has a licence of its own.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def positions(width, grid):
    """[1, grid · grid, width]: the first half of a row tells the column, the second the row; sines, then cosines."""
    omega = 10000.0 ** -(np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    halves = [f(place[:, None] * omega) for place in (column, row) for f in (np.sin, np.cos)]
    return torch.tensor(np.concatenate(halves, 1)[None], dtype=torch.float32)


class Block(nn.Module):
    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, mlp), "fc2": nn.Linear(mlp, width)})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x, c):
        batch, tokens, width = x.shape
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(c)[:, None].chunk(6, -1)
        q, k, v = self.attn["qkv"](norm(x) * (1 + scale) + shift).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + gate * self.attn["proj"](attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + gate_mlp * self.mlp["fc2"](F.gelu(self.mlp["fc1"](norm(x) * (1 + scale_mlp) + shift_mlp), approximate="tanh"))


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class DiT(nn.Module):
    def __init__(self, width, depth, heads, patch, channels, size, classes, mlp_ratio, learned):
        super().__init__()
        self.patch, self.outputs, self.classes = patch, channels * (2 if learned else 1), classes
        self.pos_embed = nn.Buffer(positions(width, size // patch))
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, patch)})
        self.t_embedder = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))})
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, width)})
        self.blocks = nn.ModuleList(Block(width, heads, int(mlp_ratio * width)) for _ in range(depth))
        final = {"adaLN_modulation": nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width)), "linear": nn.Linear(width, patch * patch * self.outputs)}
        self.final_layer = nn.ModuleDict(final)

    def forward(self, x, t, y):
        """t is told in float32, whatever the weights are."""
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
        angles = t.float()[:, None] * frequencies
        features = torch.cat([angles.cos(), angles.sin()], -1).to(x.dtype)
        c = self.t_embedder["mlp"](features) + self.y_embedder["embedding_table"](y)
        h = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed.to(x.dtype)
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.final_layer["adaLN_modulation"](c)[:, None].chunk(2, -1)
        h = self.final_layer["linear"](norm(h) * (1 + scale) + shift)
        p, grid = self.patch, x.shape[-1] // self.patch
        return h.reshape(len(x), grid, grid, p, p, self.outputs).permute(0, 5, 1, 3, 2, 4).reshape(len(x), self.outputs, grid * p, grid * p)


def guided(net, c, x, t):
    """forward_with_cfg: guidance on the first three of all channels that the network puts out."""
    y = torch.tensor(c["labels"])
    if c["scale"] == 1:
        return net(x, t.expand(len(x)), y)
    mine, none = net(torch.cat([x, x]), t.expand(2 * len(x)), torch.cat([y, torch.full_like(y, c["classes"])])).chunk(2)
    out = mine.clone()
    out[:, :3] = none[:, :3] + c["scale"] * (mine[:, :3] - none[:, :3])
    return out


def latents_of_flow(net, c, noise):
    x = noise()
    for i in range(c["steps"]):
        now, after = i / c["steps"], (i + 1) / c["steps"]
        if c["noise_timestep"] == 1:
            now, after = 1 - now, 1 - after
        velocity = guided(net, c, x, torch.tensor(now * c["timestep_scale"], dtype=torch.float32))[:, : c["channels"]]
        x = x + velocity * (after - now)
    return x


def kept_timesteps(c):
    """The timesteps of a run, the noisiest first: every T / n-th for DDIM where n divides T, those of DPM-Solver++ as diffusers spaces them, else respaced."""
    total, steps = c["train_steps"], c["steps"]
    if c["sampler"] == "dpmpp_2m":
        return np.linspace(0, total - 1, steps + 1).round().astype(int)[:0:-1]
    if c["sampler"] != "ddpm" and total % steps == 0:
        return np.arange(0, total, total // steps)[::-1]
    place, kept = 0.0, []
    for _ in range(steps):
        kept.append(round(place))
        place += (total - 1) / max(1, steps - 1)
    return np.array(kept)[::-1]


def latents_of_public_code(net, c, noise):
    """Gaussian diffusion in float64 of numbers, respaced: DDIM, DDPM with a learned or the large variance; and DPM-Solver++ (2M) around the same network."""
    bars = np.cumprod(1 - np.linspace(*c["beta"], c["train_steps"], dtype=np.float64))
    times = kept_timesteps(c)
    levels = [*bars[times], 1.0]
    x, channels, last = noise(), c["channels"], None
    for i, t in enumerate(times):
        out = guided(net, c, x, torch.tensor(float(t)))
        now, after = levels[i], levels[i + 1]
        epsilon, origin = out[:, :channels], (x - math.sqrt(1 - now) * out[:, :channels]) / math.sqrt(now)
        if c["sampler"] == "dpmpp_2m":
            carried = origin
            if 0 < i < len(times) - 1:
                lam = [math.log(b / (1 - b)) / 2 for b in levels[i - 1 : i + 2]]
                carried = origin + (lam[2] - lam[1]) / (lam[1] - lam[0]) / 2 * (origin - last)
            ratio = math.sqrt((1 - after) / (1 - now))
            x, last = ratio * x + (math.sqrt(after) - math.sqrt(now) * ratio) * carried, origin
        elif c["sampler"] == "ddpm":
            beta = 1 - now / after
            mean = beta * math.sqrt(after) / (1 - now) * origin + (1 - after) * math.sqrt(now / after) / (1 - now) * x
            drawn, least = noise(), beta * (1 - after) / (1 - now)
            if i == len(times) - 1:
                x = mean
            elif out.shape[1] == 2 * channels:
                share = (out[:, channels:] + 1) / 2
                x = mean + torch.exp((share * math.log(beta) + (1 - share) * math.log(least)) / 2) * drawn
            else:
                x = mean + math.sqrt(beta) * drawn
        else:
            sigma = c["eta"] * math.sqrt((1 - after) / (1 - now)) * math.sqrt(1 - now / after)
            x = math.sqrt(after) * origin + math.sqrt(max(0, 1 - after - sigma**2)) * epsilon
            if c["eta"] > 0:
                x = x + sigma * noise()
    return x
