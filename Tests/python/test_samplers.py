"""The samplers, against PyTorch's recorded runs and against their formulas in float64, fed with the library's own predictions; the random numbers that
they draw; and what must hold between their options whatever the model says.

Tolerances as in test_golden.py: 1e-4 of a norm for every step of a sampler, which feeds its result back. Where the formula is fed with the library's own
latents of the step before, what differs is the rounding of the prediction, of guidance and of the result: a few 1e-7, and 1e-5 where √ᾱ divides by little.
"""
import json

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import FIXTURES
from ditq_c import INVALID_ARGUMENT, MALFORMED, SAMPLER_AUTO, SAMPLER_DDIM, SAMPLER_DDPM, SAMPLER_DPMPP_2M, SAMPLER_DPMPP_3M, SAMPLER_FLOW_EULER, SAMPLER_HEUN, UNSUPPORTED
from test_golden import distance

EPSILON_SAMPLERS = [SAMPLER_DDIM, SAMPLER_DDPM, SAMPLER_DPMPP_2M, SAMPLER_DPMPP_3M]
NAMES = ["auto", "ddim", "ddpm", "dpmpp_2m", "flow_euler", "heun", "dpmpp_3m"]
ALPHA_BARS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def official_as(config, stored=FIXTURES / "official-a/model.safetensors", channels=8):
    """official-a with a record of its own; `channels` 4 leaves the learned variance out."""
    tensors = dict(safetensors_io.read(stored))
    if channels == 4:
        for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
            w = tensors[name]
            tensors[name] = np.ascontiguousarray(w.reshape(4, 8, *w.shape[1:])[:, :4].reshape(16, *w.shape[1:]))
    return ditq.Model(safetensors_io.encode(tensors, {"ditq.config": json.dumps({"head_count": 2} | config)}))


# ---- PyTorch's recorded runs ----


@pytest.mark.parametrize("name", ["diffusers-a", "diffusers-b"])
def test_every_step_of_dpmpp_2m_agrees_with_diffusers(session, golden, name):
    case, settings = golden(name), golden(name).settings
    _, steps = session(name).denoise_steps(
        [settings["label"]], noise=case["dpmpp2m.noise"], steps=settings["steps"], guidance_scale=settings["guidance"], sampler=SAMPLER_DPMPP_2M
    )
    distances = {i: distance(latents, case[f"dpmpp2m.step.{i}"]) for i, latents in enumerate(steps)}
    assert len(distances) == settings["steps"] and max(distances.values()) <= 1e-4, distances
    assert np.abs(session(name).decode(steps[-1]).astype(int) - case["dpmpp2m.image_u8"].astype(int)).max() <= 1


def test_the_mean_of_ddpm_agrees_with_the_public_code(session, golden):
    """The noise of a host cannot be given, but it adds up: whatever was added is σ times known numbers (test_ddpm_is_its_formula); here the first step
    with the recorded noise in place of the library's own. The whole run with the recorded noise is in DitqCoreTests/SamplingTests."""
    case, s = golden("official-a"), session("official-a")
    _, steps = s.denoise_steps([3], [0], noise=case["ddpm.noise"], steps=8, guidance_scale=1.5, sampler=SAMPLER_DDPM, random=ditq.RANDOM_PHILOX)
    t = case.settings["ddpm.timesteps"]
    _, sigma, _ = ddpm(s, case["ddpm.noise"], t[0], t[1], 3, 1.5, None)
    assert distance(steps[0] + sigma * (case["ddpm.steps_noise"][0] - philox_normals(0, 1, (4, 8, 8))), case["ddpm.step.0"]) <= 1e-4


# ---- The formulas ----


def philox_normals(seed, draw, shape):
    """Sampling/Philox.swift once more: key = seed, counter = (block, draw), Box–Muller on the four words of a block."""
    count = int(np.prod(shape))
    mask = np.uint64(0xFFFFFFFF)
    block = np.arange(-(-count // 4), dtype=np.uint64)
    c = [block & mask, block >> np.uint64(32), np.full_like(block, draw & 0xFFFFFFFF), np.full_like(block, draw >> 32)]
    k = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        even, odd = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [odd >> np.uint64(32) ^ c[1] ^ k[0], odd & mask, even >> np.uint64(32) ^ c[3] ^ k[1], even & mask]
        k = [k[0] + np.uint64(0x9E3779B9) & mask, k[1] + np.uint64(0xBB67AE85) & mask]
    values = np.empty((block.size, 4))
    for pair in (0, 2):
        radius = np.sqrt(-2 * np.log((c[pair].astype(np.float64) + 1) * 2.0**-32))
        angle = 2 * np.pi * c[pair + 1].astype(np.float64) * 2.0**-32
        values[:, pair], values[:, pair + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return values.reshape(-1)[:count].reshape(1, *shape)


def guided(session, x, t, label, scale):
    """(the prediction guided, the rest of the output) in float64."""
    null, channels = session.model.info.class_count, x.shape[1]
    official = session.model.json()["compatibility"] == "official"
    learned = session.model.json()["architecture"]["output_channels"]
    out = session.predict(np.concatenate([x, x]).astype(np.float32), [t, t], [label, null], channels=learned).astype(np.float64)
    mine, none = out[:1], out[1:]
    some = slice(0, 3 if official else channels)  # of all that the network puts out: forward_with_cfg's model_out[:, :3]
    mixed = mine.copy()
    mixed[:, some] = none[:, some] + scale * (mine[:, some] - none[:, some])
    return mixed[:, :channels], mixed[:, channels:] if learned > channels else None


def ddpm(session, x, t, next_t, label, scale, noise, fixed="large"):
    """(the mean, σ, the guess) of the ancestral step from t to next_t; None is the end."""
    epsilon, share = guided(session, x, t, label, scale)
    now, after = ALPHA_BARS[t], 1 if next_t is None else ALPHA_BARS[next_t]
    beta = 1 - now / after
    origin = (x - np.sqrt(1 - now) * epsilon) / np.sqrt(now)
    mean = (beta * np.sqrt(after) * origin + (1 - after) * np.sqrt(now / after) * x) / (1 - now)
    posterior = beta * (1 - after) / (1 - now)
    if next_t is None:
        return mean, 0 * mean, origin
    if share is None:
        return mean, np.full_like(mean, np.sqrt(beta if fixed == "large" else posterior)), origin
    share = (share + 1) / 2
    return mean, np.exp((share * np.log(beta) + (1 - share) * np.log(posterior)) / 2), origin


def taken(session, seed=11, label=2, scale=2.0, steps=8, **fields):
    """[the latents before, after each step], by philox numbers."""
    first = philox_normals(seed, 0, session.latent_shape)
    return [first] + session.denoise_steps([label], [seed], steps=steps, guidance_scale=scale, random=ditq.RANDOM_PHILOX, **fields)[1]


def respaced(steps):
    return [int(t) for t in np.round(np.arange(steps) * (999 / (steps - 1)))[::-1]] + [None]


def leading(steps):
    return [i * (1000 // steps) for i in range(steps)][::-1] + [None]


@pytest.mark.parametrize("channels, compatibility", [(8, "official"), (4, "official"), (8, "diffusers"), (4, "diffusers")])
def test_ddpm_is_its_formula_with_the_variance_that_was_learned_or_fixed(channels, compatibility):
    with official_as({"compatibility": compatibility}, channels=channels) as model, model.session() as s:
        x = taken(s, sampler=SAMPLER_DDPM)
        times = respaced(8) if compatibility == "official" else leading(8)
        for i in range(8):
            mean, sigma, _ = ddpm(s, x[i], times[i], times[i + 1], 2, 2.0, None, "large" if compatibility == "official" else "small")
            assert distance(x[i + 1], mean + sigma * philox_normals(11, 1 + i, s.latent_shape)) <= 1e-5, i


def of_few_channels(channels):
    """official-a with fewer channels of latents, and a learned variance for each."""
    tensors = dict(safetensors_io.read(FIXTURES / "official-a/model.safetensors"))
    tensors["x_embedder.proj.weight"] = np.ascontiguousarray(tensors["x_embedder.proj.weight"][:, :channels])
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        w = tensors[name]
        w = w.reshape(4, 2, 4, *w.shape[1:])[:, :, :channels]
        tensors[name] = np.ascontiguousarray(w.reshape(8 * channels, *w.shape[3:]))
    return ditq.Model(safetensors_io.encode(tensors, {"ditq.config": json.dumps({"head_count": 2})}))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_guidance_of_the_public_code_reaches_the_variance_where_there_are_few_channels(channels):
    with of_few_channels(channels) as model, model.session() as s:
        assert model.latent_shape[0] == channels
        x, times = taken(s, sampler=SAMPLER_DDPM), respaced(8)
        for i in range(8):
            mean, sigma, _ = ddpm(s, x[i], times[i], times[i + 1], 2, 2.0, None)
            assert distance(x[i + 1], mean + sigma * philox_normals(11, 1 + i, s.latent_shape)) <= 1e-5, i
        explicit = taken(s, sampler=SAMPLER_DDPM, guidance_channels=min(3, 2 * channels))
        assert all(np.array_equal(a, b) for a, b in zip(x, explicit))
        with pytest.raises(ditq.DitqFailure) as failure:
            taken(s, sampler=SAMPLER_DDPM, guidance_channels=4)
        assert failure.value.status == INVALID_ARGUMENT and f"0 to {min(3, 2 * channels)} expected" in failure.value.message
        with ditq.Run(model, [2], [11], steps=3, sampler=SAMPLER_DDPM) as run:
            run.step(s)
            with ditq.Run(model, saved=run.save()) as resumed:
                assert np.array_equal(resumed.finish(s).latents(1)[0], run.finish(s).latents()[0])


@pytest.mark.parametrize("name, eta", [("official-a", 0.0), ("official-a", 1.0), ("diffusers-b", 0.3)])
def test_ddim_is_its_formula_with_eta(session, name, eta):
    s = session(name)
    x, times = taken(s, sampler=SAMPLER_DDIM, eta=eta), leading(8)
    for i in range(8):
        epsilon, _ = guided(s, x[i], times[i], 2, 2.0)
        now, after = ALPHA_BARS[times[i]], 1 if times[i + 1] is None else ALPHA_BARS[times[i + 1]]
        sigma = eta * np.sqrt((1 - after) / (1 - now) * (1 - now / after))
        origin = (x[i] - np.sqrt(1 - now) * epsilon) / np.sqrt(now)
        expected = np.sqrt(after) * origin + np.sqrt(1 - after - sigma**2) * epsilon + sigma * philox_normals(11, 1 + i, s.latent_shape)
        assert distance(x[i + 1], expected) <= 1e-5, i


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_dpmpp_2m_is_its_formula(session, steps):
    s = session("official-a")
    x = taken(s, sampler=SAMPLER_DPMPP_2M, steps=steps)
    times = [int(t) for t in np.round(np.arange(steps + 1) * (999 / steps))[::-1][:-1]]
    lam = lambda a: np.log(np.sqrt(a) / np.sqrt(1 - a))
    guesses = []
    for i, t in enumerate(times):
        epsilon, _ = guided(s, x[i], t, 2, 2.0)
        now = ALPHA_BARS[t]
        guesses.append((x[i] - np.sqrt(1 - now) * epsilon) / np.sqrt(now))
        if i + 1 == steps:
            expected = guesses[-1]
        else:
            after = ALPHA_BARS[times[i + 1]]
            h = lam(after) - lam(now)
            expected = np.sqrt((1 - after) / (1 - now)) * x[i] - np.sqrt(after) * np.expm1(-h) * guesses[-1]
            if i > 0:
                r = (lam(now) - lam(ALPHA_BARS[times[i - 1]])) / h
                expected -= 0.5 * np.sqrt(after) * np.expm1(-h) * (guesses[-1] - guesses[-2]) / r
        assert distance(x[i + 1], expected) <= 2e-5, i


FLOWS = [
    ({"prediction": "velocity"}, 0, 1), ({"sampler": "flow_euler"}, 0, 1), ({"prediction": "velocity", "sampler": "flow_euler", "noise_timestep": 1}, 1, 1),
    ({"prediction": "velocity", "noise_timestep": 1, "timestep_scale": 1000}, 1, 1000),
]  # fmt: skip


@pytest.mark.parametrize("channels", [8, 4])
@pytest.mark.parametrize("config, start, scale", FLOWS, ids=lambda v: str(v))
def test_flow_euler_is_its_formula_in_the_direction_and_scale_that_the_file_records(config, start, scale, channels):
    with official_as(config, channels=channels) as model, model.session() as s:
        for sampler in (SAMPLER_AUTO, SAMPLER_FLOW_EULER):
            x = taken(s, sampler=sampler, steps=6)
            for i in range(6):
                t, after = [abs(start - j / 6) for j in (i, i + 1)]
                velocity, _ = guided(s, x[i], t * scale, 2, 2.0)
                assert distance(x[i + 1], x[i] + velocity * (after - t)) <= 1e-5, i


@pytest.mark.parametrize("channels", [8, 4])
@pytest.mark.parametrize("config, start, scale", FLOWS, ids=lambda v: str(v))
def test_heun_on_a_flow_is_its_formula(config, start, scale, channels):
    """Twice a step, but for the last, the velocity is asked for: as diffusers' FlowMatchHeunDiscreteScheduler, over the timesteps of Euler's method."""
    with official_as(config, channels=channels) as model, model.session() as s:
        x = taken(s, sampler=SAMPLER_HEUN, steps=6)
        for i in range(6):
            t, after = [abs(start - j / 6) for j in (i, i + 1)]
            velocity, _ = guided(s, x[i], t * scale, 2, 2.0)
            expected = x[i] + velocity * (after - t)
            if i < 5:
                second, _ = guided(s, expected.astype(np.float32), after * scale, 2, 2.0)
                expected = x[i] + (velocity + second) / 2 * (after - t)
            assert distance(x[i + 1], expected) <= 2e-5, i


def test_a_sampler_has_a_name_and_the_names_have_an_end():
    names = [ditq.lib.ditq_sampler_name(number) for number in range(len(NAMES) + 3)]
    assert names == [name.encode() for name in NAMES] + 3 * [None]
    assert [ditq.lib.ditq_sampler_name(number) for number in (-1, 2**31 - 1, -(2**31))] == 3 * [None]
    assert {kind.name.lower(): int(kind) for kind in ditq.Sampler} == {name: number for number, name in enumerate(NAMES)}


def test_a_flow_survives_quantizing_and_saving(tmp_path):
    config = {"prediction": "velocity", "noise_timestep": 1, "timestep_scale": 1000.0}
    with official_as(config) as model, model.quantize() as quantized:
        quantized.save(tmp_path / "flow.ditq")
        with ditq.Model(tmp_path / "flow.ditq") as again:
            settings = again.json()["sampling"]
            assert {name: settings[name] for name in config} == config and settings["sampler"] == "flow_euler"
            with quantized.session() as a, again.session() as b:
                assert np.array_equal(a.denoise([1], [2], steps=3), b.denoise([1], [2], steps=3))


# ---- Random numbers ----


def torch_draws(golden, name, shape, draws):
    """The first numbers of torch's stream: fills of a multiple of sixteen are the pieces of one long fill."""
    seed, count = golden(name).settings["seed"], int(np.prod(shape))
    return seed, golden(name)[f"randn.{seed}.4096"][: draws * count].reshape(draws, 1, *shape).astype(np.float64)


@pytest.mark.parametrize("sampler, eta", [(SAMPLER_DDIM, 1.0), (SAMPLER_DDPM, 0.0)])
def test_steps_draw_the_numbers_of_torch_one_after_the_other(session, golden, sampler, eta):
    """The noise of a step is what its result differs from that of philox by, over σ: solved for in each step."""
    s = session("official-a")
    seed, draws = torch_draws(golden, "diffusers-a", s.latent_shape, 8)
    _, steps = s.denoise_steps([2], [seed], steps=7, guidance_scale=2.0, sampler=sampler, eta=eta)
    x, times = [draws[0]] + steps, respaced(7)  # 7 does not divide 1000: both are respaced
    for i in range(6):
        mean, sigma, origin = ddpm(s, x[i], times[i], times[i + 1], 2, 2.0, None)
        if sampler == SAMPLER_DDIM:
            now, after = ALPHA_BARS[times[i]], ALPHA_BARS[times[i + 1]]
            sigma = np.sqrt((1 - after) / (1 - now) * (1 - now / after))
            epsilon = (x[i] - np.sqrt(now) * origin) / np.sqrt(1 - now)
            mean = np.sqrt(after) * origin + np.sqrt(1 - after - sigma**2) * epsilon
        # the result and the prediction are rounded, of numbers that grow as the random weights have it, and divided by σ
        assert np.abs((x[i + 1] - mean) / sigma - draws[1 + i]).max() <= 1e-3 + 4 * 2.0**-24 * np.abs(mean).max() / np.min(sigma), i


def test_philox_takes_all_64_bits_of_a_seed_and_torch_the_low_32(session):
    s = session("official-a")
    run = lambda seed, random: s.denoise([1], [seed], steps=2, random=random)
    for random, same in ((ditq.RANDOM_TORCH, True), (ditq.RANDOM_PHILOX, False)):
        assert np.array_equal(run(5, random), run(5 + 2**32, random)) == same
    first = philox_normals(2**63 + 12345, 0, s.latent_shape)
    with ditq.Run(s.model, [1], [2**63 + 12345], random=ditq.RANDOM_PHILOX) as run:
        assert np.abs(run.latents()[0] - first).max() <= 5e-7


@pytest.mark.parametrize("random", [ditq.RANDOM_TORCH, ditq.RANDOM_PHILOX])
@pytest.mark.parametrize("sampler, eta", [(SAMPLER_DDPM, 0.0), (SAMPLER_DDIM, 0.8), (SAMPLER_DPMPP_2M, 0.0), (SAMPLER_HEUN, 0.0), (SAMPLER_DPMPP_3M, 0.0)])
@pytest.mark.parametrize("name", ["emoji", "official-a"])
def test_an_image_is_the_same_alone_and_anywhere_in_any_batch(model, name, sampler, eta, random):
    labels, seeds, fields = [3, 1, 4, 1, 5], [9, 2, 6, 5, 2**40 + 3], dict(steps=3, sampler=sampler, eta=eta, random=random)
    alone = []
    with model(name).session(threads=1) as s:
        alone = [s.denoise([label], [seed], **fields) for label, seed in zip(labels, seeds)]
    for limit in (2, 4, 5):
        with model(name).session(threads=2, batch_limit=limit) as s:
            assert np.array_equal(s.denoise(labels, seeds, **fields), np.concatenate(alone))
            assert np.array_equal(s.denoise(labels[::-1], seeds[::-1], **fields), np.concatenate(alone[::-1]))


# ---- What must hold between options ----


@pytest.mark.parametrize("sampler", [*EPSILON_SAMPLERS, SAMPLER_HEUN])
def test_guiding_everywhere_is_guiding_and_nowhere_is_scale_one(session, sampler):
    s = session("official-a")
    run = lambda **fields: s.denoise([2], [3], steps=6, sampler=sampler, **fields)
    everywhere, plain = run(guidance_scale=3.0), run(guidance_scale=1.0)
    assert np.array_equal(run(guidance_scale=3.0, guidance_begin=0, guidance_end=1), everywhere) and not np.array_equal(everywhere, plain)
    for begin, end in ((0, 0), (1, 1), (0.5, 0.5), (0.9, 0.1)):
        assert np.array_equal(run(guidance_scale=3.0, guidance_begin=begin, guidance_end=end), plain)


def test_eta_zero_is_plain_ddim_and_draws_nothing(session):
    s = session("official-a")
    noise = philox_normals(1, 0, s.latent_shape).astype(np.float32)
    plain = s.denoise([2], noise=noise, steps=5)
    assert np.array_equal(s.denoise([2], [7], noise=noise, steps=5, eta=0.0, random=ditq.RANDOM_PHILOX), plain)
    assert not np.array_equal(s.denoise([2], [7], noise=noise, steps=5, eta=0.1), plain)


def test_automatic_is_the_sampler_that_the_file_records():
    for sampler in (*EPSILON_SAMPLERS, SAMPLER_HEUN):
        name = NAMES[sampler]
        with official_as({"sampler": name}) as model, model.session() as s:
            assert model.json()["sampling"]["sampler"] == name
            assert np.array_equal(s.denoise([1], [2], steps=3), s.denoise([1], [2], steps=3, sampler=sampler))
    outs = []
    for record in ({}, {"prediction": "epsilon"}):
        with official_as(record) as model, model.session() as s:
            outs.append(s.denoise([1], [2], steps=3))
            assert np.array_equal(outs[-1], s.denoise([1], [2], steps=3, sampler=SAMPLER_DDIM))


def refused(session, status, words, labels=(1,), seeds=(2,), **fields):
    with pytest.raises(ditq.DitqFailure) as failure:
        session.denoise(list(labels), seeds and list(seeds), **fields)
    assert failure.value.status == status and all(word in failure.value.message for word in words), failure.value


def test_a_sampler_that_does_not_fit_the_model_is_refused_with_those_that_do(session):
    refused(session("official-a"), UNSUPPORTED, ["sampler", "epsilon", "1 (ddim), 2 (ddpm), 3 (dpmpp_2m), 5 (heun), 6 (dpmpp_3m)", "4 found"], sampler=SAMPLER_FLOW_EULER)
    with official_as({"prediction": "velocity"}) as model, model.session() as s:
        for sampler in EPSILON_SAMPLERS:
            refused(s, UNSUPPORTED, ["sampler", "velocity", "4 (flow_euler), 5 (heun)", f"{sampler} found"], sampler=sampler)
    for number in (-1, len(NAMES), 2**31 - 1, -(2**31)):
        refused(session("official-a"), UNSUPPORTED, ["sampler", "0 (", f"{number} found"], sampler=number)


def test_options_that_a_sampler_has_not_are_refused(session):
    s = session("official-a")
    noise = np.zeros((1, *s.latent_shape), np.float32)
    refused(s, INVALID_ARGUMENT, ["eta", "ddpm", "0.5"], sampler=SAMPLER_DDPM, eta=0.5)
    refused(s, INVALID_ARGUMENT, ["eta", "dpmpp_2m"], sampler=SAMPLER_DPMPP_2M, eta=1.0)
    refused(s, INVALID_ARGUMENT, ["seeds"], seeds=None, noise=noise, sampler=SAMPLER_DDPM)
    refused(s, INVALID_ARGUMENT, ["seeds"], seeds=None, noise=noise, eta=0.1)
    refused(s, UNSUPPORTED, ["random", "2"], random=2)
    refused(s, INVALID_ARGUMENT, ["steps", "999", "1000"], sampler=SAMPLER_DPMPP_2M, steps=1000)
    assert np.isfinite(s.denoise([1], noise=noise, steps=2, sampler=SAMPLER_DPMPP_2M)).all(), "it draws nothing, and needs no seeds"


@pytest.mark.parametrize("sampler, most", [(SAMPLER_DDIM, 1000), (SAMPLER_DDPM, 1000), (SAMPLER_DPMPP_2M, 999)])
def test_the_shortest_and_the_longest_run_end_in_numbers(model, sampler, most):
    with model("diffusers-b").session() as s:
        for steps in (1, 2, most):
            assert np.isfinite(s.denoise([1], [2], steps=steps, sampler=sampler, guidance_scale=1.0)).all()


@pytest.mark.parametrize("config, status, word", [
    ({"sampler": "ddim", "prediction": "velocity"}, MALFORMED, "epsilon"), ({"sampler": "flow_euler", "prediction": "epsilon"}, MALFORMED, "velocity"),
    ({"prediction": "v-prediction"}, UNSUPPORTED, "v_prediction"), ({"prediction": 1}, MALFORMED, "prediction"),
    ({"prediction": "velocity", "noise_timestep": 0.5}, MALFORMED, "noise_timestep"), ({"prediction": "velocity", "timestep_scale": 0}, MALFORMED, "timestep_scale"),
    ({"prediction": "velocity", "timestep_scale": 1e6}, MALFORMED, "timestep_scale"), ({"noise_timestep": 1}, UNSUPPORTED, "noise_timestep"),
    ({"sampler": "dpmpp_2s"}, UNSUPPORTED, '"ddim" or "ddpm" or "dpmpp_2m" or "flow_euler"'),
])  # fmt: skip
def test_a_record_that_contradicts_itself_is_refused(config, status, word):
    with pytest.raises(ditq.DitqFailure) as failure:
        official_as(config)
    assert failure.value.status == status and word in failure.value.message, failure.value
