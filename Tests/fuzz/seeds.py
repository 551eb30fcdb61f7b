#!/usr/bin/env python3
"""Writes the models and seeds that the fuzz targets begin with: seeds.py [FOLDER]. Their results are in the repository, a few kilobytes each.

Needs numpy and a built library (DITQ_LIBRARY), which makes the .ditq files. `models` are what targets build upon, `corpus/TARGET` is what is mutated.
What is there besides stays: inputs that found something, and records of an earlier version.
"""
import json
import pathlib
import struct
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))
import ditq_c as ditq  # noqa: E402
import safetensors_io  # noqa: E402
import test_torch_objects  # noqa: E402
import torch_io  # noqa: E402

HIDDEN, MLP, TOKENS, CLASSES, CHANNELS, PATCH = 16, 64, 4, 3, 4, 2
RANDOM = np.random.default_rng(1)
CONFIG = {"head_count": 2, "compatibility": "official", "pixel_space": False, "class_names": ["red apple, apple", "pear", "Ärger"]}
VELOCITY = {"prediction": "velocity", "sampler": "flow_euler", "noise_timestep": 1, "timestep_scale": 1000, "steps": 3, "guidance_scale": 2}
VAE = json.loads((HERE.parent / "Fixtures/diffusers-b/pipeline/vae/config.json").read_text()) | {"block_out_channels": [4, 8], "norm_num_groups": 2, "up_block_types": ["UpDecoderBlock2D"] * 2}


# A program of `calls`: quantize in 8 bits into the first place, then compare with the model that it began with. A byte of 1 is an argument as it should be.
COMPARED = bytes([1, 2, *[1, 1, 1, 0] * 2, *[1] * 11, 0, 0, 0]) + bytes([1, 3, 1, 1, 1, 1, 0, 0])


def half(*shape):
    return (0.2 * RANDOM.standard_normal(shape)).astype(np.float16)


def linear(name, outputs, inputs):
    return {f"{name}.weight": half(outputs, inputs), f"{name}.bias": half(outputs)}


def official(hidden=HIDDEN, mlp=MLP, tokens=TOKENS, classes=CLASSES, channels=CHANNELS):
    block = "blocks.0."
    tensors = {"x_embedder.proj.weight": half(hidden, channels, PATCH, PATCH), "x_embedder.proj.bias": half(hidden), "pos_embed": half(1, tokens, hidden)}
    tensors |= linear("t_embedder.mlp.0", hidden, 256) | linear("t_embedder.mlp.2", hidden, hidden) | {"y_embedder.embedding_table.weight": half(classes + 1, hidden)}
    tensors |= linear(block + "adaLN_modulation.1", 6 * hidden, hidden) | linear(block + "attn.qkv", 3 * hidden, hidden) | linear(block + "attn.proj", hidden, hidden)
    tensors |= linear(block + "mlp.fc1", mlp, hidden) | linear(block + "mlp.fc2", hidden, mlp)
    return tensors | linear("final_layer.adaLN_modulation.1", 2 * hidden, hidden) | linear("final_layer.linear", 2 * channels * PATCH * PATCH, hidden)


def decoder(latents=CHANNELS, far=8, near=4):
    """The tensors of VAE: channels 8, then 4."""
    def conv(name, outputs, inputs, size=3):
        return {f"{name}.weight": half(outputs, inputs, size, size), f"{name}.bias": half(outputs)}

    def norm(name, channels):
        return {f"{name}.weight": half(channels), f"{name}.bias": half(channels)}

    def resnet(name, inputs, outputs):
        made = norm(name + "norm1", inputs) | conv(name + "conv1", outputs, inputs) | norm(name + "norm2", outputs) | conv(name + "conv2", outputs, outputs)
        return made if inputs == outputs else made | conv(name + "conv_shortcut", outputs, inputs, 1)

    middle = "decoder.mid_block."
    tensors = conv("post_quant_conv", latents, latents, 1) | conv("decoder.conv_in", far, latents) | resnet(middle + "resnets.0.", far, far) | resnet(middle + "resnets.1.", far, far)
    tensors |= norm(middle + "attentions.0.group_norm", far)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        tensors |= linear(f"{middle}attentions.0.{part}", far, far)
    up = "decoder.up_blocks."
    tensors |= resnet(up + "0.resnets.0.", far, far) | resnet(up + "0.resnets.1.", far, far) | conv(up + "0.upsamplers.0.conv", far, far)
    return tensors | resnet(up + "1.resnets.0.", far, near) | resnet(up + "1.resnets.1.", near, near) | norm("decoder.conv_norm_out", near) | conv("decoder.conv_out", 3, near)


def diffusers(tensors):
    """The same transformer in the names of diffusers."""
    block, out = "transformer_blocks.0.", {}
    names = {"x_embedder.proj": "pos_embed.proj", "t_embedder.mlp.0": block + "norm1.emb.timestep_embedder.linear_1", "t_embedder.mlp.2": block + "norm1.emb.timestep_embedder.linear_2",
             "y_embedder.embedding_table": block + "norm1.emb.class_embedder.embedding_table", "blocks.0.adaLN_modulation.1": block + "norm1.linear", "blocks.0.attn.proj": block + "attn1.to_out.0",
             "blocks.0.mlp.fc1": block + "ff.net.0.proj", "blocks.0.mlp.fc2": block + "ff.net.2", "final_layer.adaLN_modulation.1": "proj_out_1", "final_layer.linear": "proj_out_2"}  # fmt: skip
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition(".")
        if stem == "blocks.0.attn.qkv":
            out |= {f"{block}attn1.to_{part}.{kind}": third for part, third in zip("qkv", np.split(tensor, 3))}
        elif stem:
            out[f"{names[stem]}.{kind}"] = tensor
    return out


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode())


def joined(sizes, decoders, config):
    """The header alone of a file with a decoder, its sizes all different, so that shapes.h changes one at a time: the target has the data."""
    tensors = official(**sizes) | {"vae." + name: tensor for name, tensor in decoder(**decoders).items()}
    return safetensors_io.join(safetensors_io.header_of(tensors, {"ditq.config": json.dumps(config)}), b"")


def listed(tensors):
    return "".join(f"{name} {' '.join(map(str, tensor.shape))}\n" for name, tensor in tensors.items())


def stripped(path):
    """(the bytes of a safetensors file without its metadata, the metadata)"""
    data = path.read_bytes()
    header, start = safetensors_io.read_header(data)
    metadata = header.pop("__metadata__")
    return safetensors_io.join(header, data[start:]), metadata


def main(folder):
    models, corpus = folder / "models", folder / "corpus"
    tensors, vae = official(), decoder()
    config, strings = json.dumps(CONFIG, ensure_ascii=False), {}
    write(models / "float.safetensors", safetensors_io.encode(tensors))
    write(models / "pipeline/transformer/diffusion_pytorch_model.safetensors", safetensors_io.encode(diffusers(tensors)))
    write(models / "pipeline/vae/diffusion_pytorch_model.safetensors", safetensors_io.encode(vae))
    source = HERE.parent / "Fixtures/diffusers-b/pipeline"
    texts = {name: json.loads((source / name).read_text()) for name in ("model_index.json", "transformer/config.json", "scheduler/scheduler_config.json")} | {"vae/config.json": VAE}
    texts["transformer/config.json"] |= {"attention_head_dim": 8, "num_attention_heads": 2, "num_layers": 1, "num_embeds_ada_norm": CLASSES, "sample_size": 4}
    texts["model_index.json"]["id2label"] = {"0": "red apple, apple", "1": "pear", "2": "x"}
    for name, text in texts.items():
        write(models / "pipeline" / name, text)
    write(corpus / "diffusers/whole", b"\0".join(json.dumps(texts[name]).encode() for name in sorted(texts)) + b"\0")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(diffusers(tensors), "diffusion_pytorch_model.safetensors")}
    write(corpus / "diffusers/sharded", b"\0".join(json.dumps(texts[name]).encode() for name in sorted(texts)) + b"\0" + json.dumps(index).encode())

    write(corpus / "safetensors/config", safetensors_io.encode(tensors, {"ditq.config": config}))
    write(corpus / "safetensors/bare", safetensors_io.encode({name: tensor.astype(np.float32) if "block" in name else tensor for name, tensor in tensors.items()}))
    odd = json.dumps(safetensors_io.header_of(tensors)).encode()
    odd += b" " * (1 - len(odd) % 2)  # 16-bit numbers at odd addresses
    write(corpus / "safetensors/odd", struct.pack("<Q", len(odd)) + odd + b"".join(tensor.tobytes() for tensor in tensors.values()))
    write(corpus / "torch/plain", b"\0" + torch_io.save(tensors))
    write(corpus / "torch/training", b"\0" + torch_io.save(torch_io.training({}, tensors), zip64=False, descriptors=False))
    for protocol in (2, 4):
        write(corpus / f"torch/pickle{protocol}", b"\1" + torch_io.dumps(torch_io.training({}, tensors), protocol)[0])
    beside = {name: value for name, value in test_torch_objects.BESIDE.items() if not name.startswith("random")}
    for protocol in (1, 2, 4, 5):
        write(corpus / f"torch/objects{protocol}", b"\1" + torch_io.dumps({"model": {f"module.{name}": tensor for name, tensor in tensors.items()}, "ema": {"shadow": {}}, "beside": beside}, protocol)[0])
    write(corpus / "torch/lines", b"\1(S'a'\nctorch._utils\n_rebuild_tensor_v2\n((V\\u00e9\ncos\nsystem\nL12L\nF1e-5\nI01\ntQI0\n(I2\nt(I1\ntI00\nNtRp1\nsPid\n(ia\nB\n(la0g1\n(d.")

    with ditq.Model(models / "pipeline") as whole:
        for name, options in {"w4": {"weight_bits": 4, "weight_group": 16}, "static": {"activation_mode": 2, "calibration_steps": 2, "calibration_samples": 1, "balance_channels": 1},
                              "decoder": {"rules": [{"pattern": b"vae.*", "weight_bits": 8}]}}.items():  # fmt: skip
            path = corpus / "ditq" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole.quantize(**options) as quantized:
                quantized.save(path)
    packed, strings = stripped(corpus / "ditq/static")
    write(models / "packed.safetensors", packed)
    write(models / "packed.metadata", "".join(f"{json.dumps(key)}:{json.dumps(strings[key])},\n" for key in sorted(strings)))
    write(corpus / "json/config", b"\0" + config.encode())
    write(corpus / "json/velocity", b"\0" + json.dumps(CONFIG | VELOCITY).encode())
    for number, key in enumerate(["ditq.layers", "ditq.calibration", "ditq.checksums"], 1):
        write(corpus / "json" / key, bytes([number]) + strings[key].encode())
    write(corpus / "json/ditq.config", b"\4" + strings["ditq.config"].encode())
    write(corpus / "json/escapes", b'\0{"class_names": ["\\ud83c\\udf4e", "\\u0000\\n", "b"], "steps": 1e1, "x": [[[{"y": null}]], -0.5E-3, true, false]}')

    with ditq.Model(models / "float.safetensors", head_count=2) as model:
        for name, options in {"ddim": {"eta": 0.5}, "ddpm": {"sampler": 2}, "dpmpp": {"sampler": 3, "random": 1}}.items():
            with ditq.Run(model, [1, 2], [3, 4], steps=3, **options) as run, model.session(threads=1) as session:
                run.step(session)
                write(corpus / "run" / name, b"\1" + run.save())
    write(corpus / "png/texts", b"\3\2\2key\0text\0Title\0\xc3\x84pfel\0")
    write(corpus / "png/latin", b"\1\7\5a\xe9b\0x\0")
    write(corpus / "names/find", b"red apple, apple\npear\n\xc3\x84rger, two words\0APPLE")
    write(corpus / "names/near", b"granny smith\nother\n\0grany smth")
    write(corpus / "calls/compare", COMPARED)
    for number in range(12):
        write(corpus / f"calls/bytes{number}", RANDOM.bytes(160))
    sizes = dict(hidden=44, mlp=52, tokens=9, classes=16, channels=7)
    vae_of_seven = VAE | {"latent_channels": 7, "block_out_channels": [12, 20]}
    write(corpus / "safetensors/decoder", joined(sizes, dict(latents=7, far=20, near=12), {"head_count": 2, "pixel_space": False, "decoder": vae_of_seven}))
    sizes["mlp"] = 4 * sizes["hidden"]
    texts["transformer/config.json"] |= {"attention_head_dim": 11, "num_attention_heads": 4, "num_embeds_ada_norm": 16, "sample_size": 6, "in_channels": 7, "out_channels": 14}
    texts["vae/config.json"] = vae_of_seven
    parts = [json.dumps(texts[name]) for name in sorted(texts)] + ["", listed(diffusers({name: tensor for name, tensor in official(**sizes).items() if name != "pos_embed"})), listed(decoder(latents=7, far=20, near=12))]
    write(corpus / "diffusers/sizes", b"\0".join(part.encode() for part in parts) + b"\0")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
