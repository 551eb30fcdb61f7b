"""The library computes what PyTorch computed: every golden case, through ditq.h.

Tolerances are those of the issue: relative norms 2e-5 for one pass through a network (float32 sums in another order), 1e-4 for every step of a sampler,
which feeds its result back, 1 for pixels (a value may lie on the edge of rounding).
"""
import json
import shutil

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import EMOJI, FIXTURES

ALL = ["diffusers-a", "diffusers-b", "diffusers-own", "official-a", "emoji"]
DIFFUSERS = ["diffusers-a", "diffusers-b", "diffusers-own"]
SCALING_FACTOR = 0.18215
WEIGHTS = "diffusion_pytorch_model"


def distance(out, reference):
    out, reference = np.asarray(out, np.float64), np.asarray(reference, np.float64)
    assert out.shape == reference.shape
    assert np.isfinite(out).all()
    return np.linalg.norm(out - reference) / np.linalg.norm(reference)


def steps_of(case):
    return {int(name.rsplit(".", 1)[1]): tensor for name, tensor in case.tensors.items() if name.startswith("ddim.step.")}


def run_ddim(session, case, **fields):
    """(the latents, all steps) of the case's guided run from its noise."""
    settings = {"label": 0, "steps": 50, "guidance": 3.0} | case.settings
    options = dict(steps=settings["steps"], guidance_scale=settings["guidance"], sampler=ditq.SAMPLER_DDIM) | fields
    return session.denoise_steps([settings["label"]], noise=case["ddim.noise"], **options)


# ---- One call of the transformer ----


@pytest.mark.parametrize("name", ALL)
def test_a_forward_call_agrees_with_pytorch(session, golden, name):
    case = golden(name)
    out = session(name).predict(case["forward.x"], case["forward.t"], case["forward.y"])
    assert distance(out, case["forward.out"]) <= 2e-5


@pytest.mark.parametrize("name", ALL)
def test_each_image_of_a_forward_call_agrees_by_itself(session, golden, name):
    case = golden(name)
    for i in range(len(case["forward.x"])):
        one = slice(i, i + 1)
        out = session(name).predict(case["forward.x"][one], case["forward.t"][one], case["forward.y"][one])
        assert distance(out, case["forward.out"][one]) <= 2e-5


def test_the_two_compatibilities_are_different_computations(golden):
    case = golden("diffusers-b")
    with ditq.Model(FIXTURES / "diffusers-b/pipeline", compatibility=ditq.COMPATIBILITY_OFFICIAL) as model, model.session() as session:
        out = session.predict(case["forward.x"], case["forward.t"], case["forward.y"])
    assert distance(out, case["forward.out"]) > 1e-4  # frequencies divide by 128 instead of 127


def test_official_guidance_of_two_halves_agrees_with_forward_with_cfg(session, golden):
    case = golden("official-a")
    out = session("official-a").predict(case["cfg.x"], case["cfg.t"], case["cfg.y"])
    conditional, unconditional = out[:1].astype(np.float64), out[1:].astype(np.float64)
    guided = np.concatenate([conditional, unconditional])
    guided[:, :3] = unconditional[:, :3] + float(case["cfg.scale"][0]) * (conditional[:, :3] - unconditional[:, :3])
    assert distance(guided, case["cfg.out"]) <= 2e-5


# ---- The samplers ----


@pytest.mark.parametrize("name", ALL)
def test_every_step_of_ddim_agrees_with_pytorch(session, golden, name):
    case = golden(name)
    latents, steps = run_ddim(session(name), case)
    expected = steps_of(case)
    assert len(steps) == max(expected) + 1, "one progress call after each step, with its latents"
    distances = {i: distance(steps[i], reference) for i, reference in sorted(expected.items())}
    assert max(distances.values()) <= 1e-4, distances
    assert np.array_equal(latents, steps[-1]), "the last step's latents are the result"


def test_ddim_is_what_auto_means_for_these_models(session, golden):
    for name in ("diffusers-b", "official-a", "emoji"):
        a, _ = run_ddim(session(name), golden(name), sampler=ditq.SAMPLER_AUTO, steps=3)
        b, _ = run_ddim(session(name), golden(name), sampler=ditq.SAMPLER_DDIM, steps=3)
        assert np.array_equal(a, b)


def test_guided_channels_follow_the_compatibility_and_can_be_set(session, golden):
    for name, default, other in (("official-a", 3, 4), ("diffusers-b", 4, 3)):
        case = golden(name)
        first = steps_of(case)[0]
        run = lambda channels: session(name).denoise_steps(
            [case.settings["label"]], noise=case["ddim.noise"], steps=case.settings["steps"], guidance_scale=case.settings["guidance"], guidance_channels=channels
        )[1][0]
        assert np.array_equal(run(0), run(default)) and distance(run(default), first) <= 1e-4
        assert distance(run(other)[:, :3], first[:, :3]) <= 1e-4, "the first three channels are guided either way"
        assert distance(run(other)[:, 3], first[:, 3]) > 1e-3


def test_guidance_outside_its_interval_is_none(session, golden):
    case = golden("official-a")
    arguments = dict(labels=[case.settings["label"]], noise=case["ddim.noise"], steps=8)
    run = lambda **fields: session("official-a").denoise_steps(**arguments, **fields)[1]
    plain, guided = run(guidance_scale=1.0), run(guidance_scale=1.5)
    half = run(guidance_scale=1.5, guidance_begin=0.5)
    assert all(np.array_equal(half[i], plain[i]) for i in range(4)) and not np.array_equal(half[4], plain[4])
    half = run(guidance_scale=1.5, guidance_end=0.5)
    assert all(np.array_equal(half[i], guided[i]) for i in range(4)) and not np.array_equal(half[4], guided[4])
    assert np.array_equal(run(guidance_scale=1.5, guidance_begin=0.25, guidance_end=0.25)[-1], plain[-1])


# ---- The random numbers ----


@pytest.mark.parametrize("name, seeds_from", [("diffusers-a", "diffusers-a"), ("diffusers-b", "diffusers-b"), ("emoji", "diffusers-a"), ("official-a", "diffusers-b")])
def test_a_seed_gives_the_numbers_of_torch(session, golden, name, seeds_from):
    """One DDIM step without guidance, at t = 0, is out = (x − √(1−ᾱ)·eps(x)) / √ᾱ with 1 − ᾱ = 1e-4, in torch's float32 of diffusers: solve it for the noise x.

    torch fills normals in blocks of 16, so the first n of 4096 are those of torch.randn(n) for n a multiple of 16.
    """
    seed = golden(seeds_from).settings["seed"]
    s = session(name)
    count = int(np.prod(s.latent_shape))
    expected = golden(seeds_from)[f"randn.{seed}.4096"][:count].reshape(1, *s.latent_shape)
    out = s.denoise([0], [seed], steps=1, guidance_scale=1.0).astype(np.float64)
    x, spread = out, 1e-4 if s.model.json()["compatibility"] == "official" else float(1 - (1 - np.float32(1e-4)))
    for _ in range(8):  # contracts by about 0.01 a round
        x = np.sqrt(1 - spread) * out + np.sqrt(spread) * s.predict(x, [0.0], [0])[:, : s.latent_shape[0]].astype(np.float64)
    # 1e-6 for the numbers, and three float32 roundings of numbers below 8 on the way here
    assert np.abs(x - expected).max() <= 1e-6 + 3 * 2.4e-7


def test_only_the_low_32_bits_of_a_seed_count(session):
    s = session("diffusers-b")
    run = lambda seed: s.denoise([1], [seed], steps=1, guidance_scale=1.0)
    assert np.array_equal(run(5), run(5 + 2**32)) and not np.array_equal(run(5), run(6))


# ---- The decoder ----


@pytest.mark.parametrize("name", DIFFUSERS)
def test_the_decoder_agrees_with_pytorch(session, golden, name):
    case = golden(name)
    values = session(name).decode_float(case["vae.z"] * np.float32(SCALING_FACTOR))
    assert distance(2 * values.astype(np.float64).transpose(0, 3, 1, 2) - 1, case["vae.out"]) <= 2e-5


@pytest.mark.parametrize("name", DIFFUSERS)
def test_the_image_of_the_last_step_agrees_with_pytorch(session, golden, name):
    case = golden(name)
    last = steps_of(case)[case.settings["steps"] - 1]
    assert distance(np.clip(session(name).decode_float(last), 0, 1), case["ddim.image_f32"]) <= 2e-5
    assert np.abs(session(name).decode(last).astype(int) - case["ddim.image_u8"].astype(int)).max() <= 1


@pytest.mark.parametrize("name", DIFFUSERS)
def test_generated_pixels_are_within_one_of_pytorch(session, golden, name):
    case = golden(name)
    pixels = session(name).generate([case.settings["label"]], noise=case["ddim.noise"], steps=case.settings["steps"], guidance_scale=case.settings["guidance"])
    assert np.abs(pixels.astype(int) - case["ddim.image_u8"].astype(int)).max() <= 1


def test_a_seed_generates_the_picture_of_the_whole_diffusers_pipeline(session, golden):
    case = golden("diffusers-a")
    pixels = session("diffusers-a").generate([case.settings["label"]], [5], steps=case.settings["steps"], guidance_scale=case.settings["guidance"])
    reference = np.round(255 * case["pipeline_seed5.image_f32"].astype(np.float64))
    assert np.abs(pixels - reference).max() <= 1


@pytest.mark.parametrize("compatibility", [ditq.COMPATIBILITY_OFFICIAL, ditq.COMPATIBILITY_DIFFUSERS])
def test_pixels_of_a_pixel_space_model_are_rounded_as_its_code_base_rounds(compatibility):
    rng = np.random.default_rng(1)
    latents = np.concatenate([rng.uniform(-1.2, 1.2, 3 * 32 * 32 - 6), [-1, 1, 0, -5, 5, 0.5]]).astype(np.float32).reshape(1, 3, 32, 32)
    with ditq.Model(EMOJI, compatibility=compatibility) as model, model.session(threads=1) as session:
        pixels, values = session.decode(latents), session.decode_float(latents)
    x = latents.astype(np.float64).transpose(0, 2, 3, 1)
    if compatibility == ditq.COMPATIBILITY_OFFICIAL:
        exact = np.clip(127.5 * x + 128, 0, 255)
        expected, edge = np.floor(exact), np.abs(exact - np.round(exact))
    else:
        exact = 255 * np.clip(x / 2 + 0.5, 0, 1)
        expected, edge = np.round(exact), np.abs(np.abs(exact - np.floor(exact)) - 0.5)
    certain = (edge > 1e-4) | (np.abs(x) >= 1)  # nearer to an edge, float32 and float64 may differ
    assert np.array_equal(pixels[certain], expected[certain]) and certain.mean() > 0.99
    assert np.abs(pixels - expected).max() <= 1
    assert np.abs(values - (x / 2 + 0.5)).max() <= 1 / 255 / 2 + 1e-6, "0 … 1 nominally, not clamped"
    assert values.min() < -1 and values.max() > 2


def test_the_emoji_golden_run_ends_in_a_picture(session, golden):
    s, case = session("emoji"), golden("emoji")
    latents = case["ddim.step.49"]
    assert np.array_equal(s.generate([0], noise=case["ddim.noise"], steps=50, guidance_scale=3.0), s.decode(run_ddim(s, case)[0]))
    assert np.abs(s.decode(latents).astype(int) - s.decode(run_ddim(s, case)[0]).astype(int)).max() <= 1


# ---- The same weights in other files ----


def copy_of(tmp_path, name="diffusers-b"):
    return shutil.copytree(FIXTURES / name / "pipeline", tmp_path / "pipeline")


def prediction(path_or_bytes, case, **options):
    with ditq.Model(path_or_bytes, **options) as model, model.session() as session:
        return session.predict(case["forward.x"], case["forward.t"], case["forward.y"])


def test_a_sharded_directory_gives_the_bytes_of_the_whole_one(session, golden, tmp_path):
    case, whole = golden("diffusers-b"), session("diffusers-b")
    folder = copy_of(tmp_path)
    for part, count in (("transformer", 5), ("vae", 3)):
        file = folder / part / f"{WEIGHTS}.safetensors"
        tensors = safetensors_io.read(file)
        file.unlink()
        safetensors_io.write_shards(folder / part, WEIGHTS, tensors, count)
    with ditq.Model(folder) as model, model.session() as sharded:
        run = lambda s: s.predict(case["forward.x"], case["forward.t"], case["forward.y"])
        assert np.array_equal(run(sharded), run(whole))
        assert np.array_equal(sharded.decode_float(case["vae.z"]), whole.decode_float(case["vae.z"]))


def test_of_candidates_side_by_side_the_one_is_read_that_diffusers_reads(session, golden, tmp_path):
    """Shards of an index before a single file, which an earlier save may have left there; safetensors before torch's."""
    case, whole = golden("diffusers-b"), session("diffusers-b")
    folder = copy_of(tmp_path)
    for part in ("transformer", "vae"):
        file = folder / part / f"{WEIGHTS}.safetensors"
        tensors = safetensors_io.read(file)
        safetensors_io.write_shards(folder / part, WEIGHTS, tensors, 3)
        file.write_bytes(safetensors_io.encode({name: 2 * tensor for name, tensor in tensors.items()}))
        for name in (f"{WEIGHTS}.bin", f"{WEIGHTS}.bin.index.json"):
            (folder / part / name).write_bytes(b"nothing that could be read")
    with ditq.Model(folder) as model, model.session() as sharded:
        run = lambda s: s.predict(case["forward.x"], case["forward.t"], case["forward.y"])
        assert np.array_equal(run(sharded), run(whole))
        assert np.array_equal(sharded.decode_float(case["vae.z"]), whole.decode_float(case["vae.z"]))
    (folder / f"transformer/{WEIGHTS}.safetensors.index.json").unlink()
    assert not np.array_equal(prediction(folder, case), run(whole))  # the single file, now
    (folder / f"transformer/{WEIGHTS}.safetensors").unlink()
    with pytest.raises(ditq.DitqFailure, match=f"{WEIGHTS}.bin(?!.index)"):
        ditq.Model(folder)


def test_an_older_directory_with_the_former_class_name_is_the_same_model(golden, session, tmp_path):
    case, folder = golden("diffusers-b"), copy_of(tmp_path)
    config = folder / "transformer/config.json"
    config.write_text(config.read_text().replace("DiTTransformer2DModel", "Transformer2DModel"))
    assert np.array_equal(prediction(folder, case), session("diffusers-b").predict(case["forward.x"], case["forward.t"], case["forward.y"]))


def test_an_older_decoder_with_the_former_attention_names_is_the_same_decoder(golden, session, tmp_path):
    case, folder = golden("diffusers-b"), copy_of(tmp_path)
    file = folder / f"vae/{WEIGHTS}.safetensors"
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in safetensors_io.read(file).items():
        for new, old in former.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        tensors[name] = tensor
    file.write_bytes(safetensors_io.encode(tensors, {"format": "pt"}))
    with ditq.Model(folder) as model, model.session() as older:
        assert np.array_equal(older.decode_float(case["vae.z"]), session("diffusers-b").decode_float(case["vae.z"]))


def test_a_file_in_memory_gives_the_bytes_of_the_file_on_disk(golden, session):
    case = golden("official-a")
    out = prediction((FIXTURES / "official-a/model.safetensors").read_bytes(), case, head_count=2)
    assert np.array_equal(out, session("official-a").predict(case["forward.x"], case["forward.t"], case["forward.y"]))


@pytest.mark.parametrize("stored", ["F16", "BF16"])
def test_half_precision_weights_give_the_bytes_of_the_same_numbers_stored_as_f32(golden, stored):
    case = golden("official-a")
    weights = safetensors_io.read(FIXTURES / "official-a/model.safetensors")
    if stored == "F16":
        narrow = {name: w.astype(np.float16) for name, w in weights.items()}
        wide = {name: w.astype(np.float32) for name, w in narrow.items()}
    else:
        narrow = {name: safetensors_io.BF16.rounded(w) for name, w in weights.items()}
        wide = {name: w.widened() for name, w in narrow.items()}
    outs = [prediction(safetensors_io.encode(w), case, head_count=2) for w in (narrow, wide)]
    assert np.array_equal(*outs)
    assert 1e-5 < distance(outs[0], case["forward.out"]) < 0.1, "the weights were not narrowed at all"


def position_table(grid, width):
    """2-D sin-cos: the first half of the dimensions encodes the column, the rest the row."""
    omega = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    half = lambda p: np.concatenate([np.sin(np.outer(p, omega)), np.cos(np.outer(p, omega))], 1)
    return np.concatenate([half(column), half(row)], 1).astype(np.float32)[None]


def test_one_file_in_the_official_layout_may_ask_for_the_arithmetic_of_diffusers(golden):
    """Compatibility is data: diffusers-b rewritten under official names is diffusers-b still."""
    case = golden("diffusers-b")
    w = safetensors_io.read(FIXTURES / f"diffusers-b/pipeline/transformer/{WEIGHTS}.safetensors")
    out = {"pos_embed": position_table(4, 128)}
    block0 = "transformer_blocks.0.norm1.emb."
    out["y_embedder.embedding_table.weight"] = w[block0 + "class_embedder.embedding_table.weight"]
    for kind in ("weight", "bias"):
        out[f"x_embedder.proj.{kind}"] = w[f"pos_embed.proj.{kind}"]
        out[f"t_embedder.mlp.0.{kind}"] = w[f"{block0}timestep_embedder.linear_1.{kind}"]
        out[f"t_embedder.mlp.2.{kind}"] = w[f"{block0}timestep_embedder.linear_2.{kind}"]
        out[f"final_layer.adaLN_modulation.1.{kind}"] = w[f"proj_out_1.{kind}"]
        out[f"final_layer.linear.{kind}"] = w[f"proj_out_2.{kind}"]
        for i in range(2):
            theirs, ours = f"transformer_blocks.{i}.", f"blocks.{i}."
            out[f"{ours}attn.qkv.{kind}"] = np.concatenate([w[f"{theirs}attn1.to_{c}.{kind}"] for c in "qkv"])
            pairs = {"attn.proj": "attn1.to_out.0", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2", "adaLN_modulation.1": "norm1.linear"}
            for name, theirs_name in pairs.items():
                out[f"{ours}{name}.{kind}"] = w[f"{theirs}{theirs_name}.{kind}"]
    config = {"ditq.config": json.dumps({"head_count": 4, "compatibility": "diffusers"})}
    assert distance(prediction(safetensors_io.encode(out, config), case), case["forward.out"]) <= 2e-5
    assert distance(prediction(safetensors_io.encode(out), case, head_count=4, compatibility=ditq.COMPATIBILITY_DIFFUSERS), case["forward.out"]) <= 2e-5
    assert distance(prediction(safetensors_io.encode(out), case, head_count=4), case["forward.out"]) > 1e-4, "AUTO goes by the layout"


# ---- What the models say of themselves ----


@pytest.mark.parametrize(
    "name, expected",
    [
        ("diffusers-a", dict(image=(32, 32, 3), latent=(4, 8, 8), patch_size=2, hidden_size=144, depth=3, head_count=2, class_count=1000, has_decoder=1)),
        ("diffusers-b", dict(image=(32, 32, 3), latent=(4, 8, 8), patch_size=2, hidden_size=128, depth=2, head_count=4, class_count=10, has_decoder=1)),
        ("official-a", dict(image=(0, 0, 0), latent=(4, 8, 8), patch_size=2, hidden_size=144, depth=3, head_count=2, class_count=10, has_decoder=0)),
        ("emoji", dict(image=(32, 32, 3), latent=(3, 32, 32), patch_size=4, hidden_size=256, depth=6, head_count=4, class_count=128, has_decoder=0)),
    ],
)
def test_a_model_says_what_it_is(model, name, expected):
    m = model(name)
    info = {"image": m.image_shape, "latent": m.latent_shape} | {f: getattr(m.info, f) for f in expected if f not in ("image", "latent")}
    assert info == expected
    assert (m.info.weight_bits, m.info.weight_group, m.info.activation_bits) == (32, 0, 32)


def test_the_emoji_model_counts_its_parameters_and_its_work(model):
    info = model("emoji").info
    tensors = safetensors_io.read(EMOJI)
    everything = sum(t.size for t in tensors.values())
    assert info.parameter_count in (everything, everything - tensors["pos_embed"].size)  # the position table is computed, not learned
    assert info.weights_size >= everything * 2
    tokens, width = 64, 256
    linears = tokens * (4 * width * width + 8 * width * width) * 6  # qkv, proj, fc1, fc2
    assert linears <= info.macs_per_forward <= 1.15 * linears  # attention, embeddings and the final layer are the rest
