#!/usr/bin/env python3
"""Makes Tests/Fixtures/diffusers-own: a DiT pipeline of Hugging Face diffusers whose blocks have embedders of their own, as every DiT has that
diffusers trained or tuned, and what diffusers computes with it. Apart from `make test`: it needs torch, diffusers and safetensors.

    Tests/tools/make_own_embedders.py OUT

OUT/pipeline/  as save_pretrained writes it; OUT/golden.safetensors and golden.json  as the other cases have them (see the fixtures' README).
Weights are random, drawn wide enough that each block's own conditioning matters.
"""
import argparse, json, pathlib, torch
from safetensors.torch import save_file
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, DPMSolverMultistepScheduler

def main():
    p = argparse.ArgumentParser(); p.add_argument("out", type=pathlib.Path)
    for name, default in (("seed", 7), ("heads", 2), ("head_dim", 16), ("layers", 3), ("classes", 10), ("size", 8), ("label", 3), ("steps", 6)):
        p.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    p.add_argument("--guidance", type=float, default=4.0); a = p.parse_args()
    torch.manual_seed(a.seed); torch.set_grad_enabled(False)
    dit = DiTTransformer2DModel(num_attention_heads=a.heads, attention_head_dim=a.head_dim, in_channels=4, out_channels=8, num_layers=a.layers,
                                sample_size=a.size, patch_size=2, num_embeds_ada_norm=a.classes, norm_eps=1e-5).eval()
    for n, w in dit.named_parameters():
        if w.ndim > 1 and "embedding_table" not in n: torch.nn.init.xavier_normal_(w.view(w.shape[0], -1), gain=1.0)
        elif "embedding_table" in n: torch.nn.init.normal_(w, std=.3)
        else: torch.nn.init.normal_(w, std=.05)
    vae = AutoencoderKL(in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
                        block_out_channels=(16, 32, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=a.size * 4, scaling_factor=.18215).eval()
    ddim = DDIMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=.02, beta_schedule="linear", clip_sample=False, set_alpha_to_one=True, steps_offset=0)
    a.out.mkdir(parents=True, exist_ok=True)
    pipe = DiTPipeline(transformer=dit, vae=vae, scheduler=ddim, id2label={i: f"class {i}, alias {i}" for i in range(a.classes)})
    pipe.save_pretrained(a.out / "pipeline"); pipe.set_progress_bar_config(disable=True)
    g, info = {}, dict(vars(a), out=None, torch=torch.__version__)
    x = torch.randn(2, 4, a.size, a.size); t = torch.tensor([999, 37]); y = torch.tensor([a.label, a.classes])
    taps, hooks = {}, []
    hooks.append(dit.pos_embed.register_forward_hook(lambda m, i, o: taps.__setitem__("embed", o)))
    for i, b in enumerate(dit.transformer_blocks): hooks.append(b.register_forward_hook(lambda m, _, o, i=i: taps.__setitem__(f"block.{i}", o)))
    g["forward.out"] = dit(x, timestep=t, class_labels=y).sample
    for h in hooks: h.remove()
    g |= {"forward.x": x, "forward.t": t.float(), "forward.y": y.int()} | {f"forward.{k}": v.clone() for k, v in taps.items()}
    z = torch.randn(1, 4, a.size, a.size); g |= {"vae.z": z, "vae.out": vae.decode(z).sample}
    null = a.classes
    for name, sched in (("ddim", ddim), ("dpmpp2m", DPMSolverMultistepScheduler.from_config(ddim.config))):
        sched.set_timesteps(a.steps); lat = torch.randn(1, 4, a.size, a.size); g[f"{name}.noise"] = lat.clone(); info[f"{name}.timesteps"] = sched.timesteps.tolist()
        for i, s in enumerate(sched.timesteps):                    # the loop of DiTPipeline.__call__ written out, so that every step can be kept
            out = dit(torch.cat([lat, lat]), timestep=torch.tensor([s, s]), class_labels=torch.tensor([a.label, null])).sample
            c, u = out[:, :4].chunk(2); eps = u + a.guidance * (c - u)
            lat = sched.step(eps, s, lat).prev_sample; g[f"{name}.step.{i}"] = lat.clone()
        img = (vae.decode(lat / vae.config.scaling_factor).sample / 2 + .5).clamp(0, 1).permute(0, 2, 3, 1)
        g |= {f"{name}.image_f32": img, f"{name}.image_u8": (img * 255).round().to(torch.uint8)}
    save_file({k: v.contiguous() for k, v in g.items()}, a.out / "golden.safetensors"); info.pop("out")
    (a.out / "golden.json").write_text(json.dumps(info, indent=1) + "\n"); print(a.out, len(g), "tensors")

if __name__ == "__main__": main()
