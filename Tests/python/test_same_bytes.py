"""The same model, labels, seeds and options give the same bytes: on every instruction set, with any number of threads, alone or in any batch, in every build.

Compared are SHA-256 sums of latents, float images and pixels. Few steps are enough: whatever differs in a sum differs after one.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from conftest import FIXTURES, open_fixture

MODELS = ["emoji", "diffusers-b", "official-a"]
# name: (options of ditq_denoise)
RUNS = {
    "guided": dict(steps=2, guidance_scale=3.0),
    "one branch": dict(steps=2, guidance_scale=1.0),
    "with noise": dict(steps=3, guidance_scale=2.0, eta=0.7, guidance_end=0.5),
    "ddpm": dict(steps=3, guidance_scale=2.0, sampler=ditq.SAMPLER_DDPM),
    "heun": dict(steps=3, guidance_scale=2.0, sampler=ditq.SAMPLER_HEUN),
    "dpmpp_3m": dict(steps=5, guidance_scale=2.0, sampler=ditq.SAMPLER_DPMPP_3M),
    "dpmpp_2m, philox": dict(steps=4, guidance_scale=2.0, sampler=ditq.SAMPLER_DPMPP_2M, random=ditq.RANDOM_PHILOX),
}


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def labels_and_seeds(model, count):
    classes = model.info.class_count
    return [(7 * i + 3) % (classes + 1) for i in range(count)], [11 * i + 1 for i in range(count)]  # among them "no class"


def digests(model, count=2, **options):
    """{what: SHA-256} of everything that a session with these options computes on the model."""
    labels, seeds = labels_and_seeds(model, count)
    sums = {}
    with model.session(**options) as session:
        for name, fields in RUNS.items():
            latents = session.denoise(labels, seeds, **fields)
            assert np.isfinite(latents).all()
            sums[f"latents, {name}"] = sha256(latents)
        if model.info.image_height:
            sums["pixels"] = sha256(session.generate(labels, seeds, **RUNS["guided"]))
            sums["float image"] = sha256(session.decode_float(latents))
        sums["prediction"] = sha256(session.predict(latents, [999.0, 12.5] * (count // 2) + [500.0] * (count % 2), labels))
    return sums


@pytest.fixture(scope="module")
def reference(model):
    """reference(name, count): what one thread computes with the best instructions of this CPU."""
    sums = {}

    def of(name, count=2):
        if (name, count) not in sums:
            sums[name, count] = digests(model(name), count, threads=1)
        return sums[name, count]

    return of


@pytest.mark.parametrize("name", MODELS)
def test_a_session_used_twice_gives_the_same_bytes(model, reference, name):
    assert digests(model(name), threads=1) == reference(name)


@pytest.mark.parametrize("threads", [2, 5, 7, 16])
@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_threads_gives_the_same_bytes(model, reference, name, threads):
    assert digests(model(name), threads=threads) == reference(name)


@pytest.mark.parametrize("limit, word", [(ditq.ISA_GENERIC, "generic"), (ditq.ISA_AVX2, "avx2"), (ditq.ISA_AVX512VNNI, "avx512")])
@pytest.mark.parametrize("name", MODELS)
def test_every_instruction_set_gives_the_same_bytes(model, reference, name, limit, word):
    with model(name).session(threads=1, isa_limit=limit) as session:
        running = session.json()["instruction_set"].lower().replace("-", "")
    if word not in running:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
        needed = {"generic": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}}[word]
        assert not needed <= set(flags), f"this CPU has {word}, and {running} runs"
        pytest.skip(f"this CPU has no {word}; {running} runs instead")
    assert digests(model(name), 1, threads=2, isa_limit=limit) == reference(name, 1)


@pytest.mark.parametrize("batch_limit", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_gives_the_bytes_of_its_images_alone(model, name, batch_limit):
    m, count = model(name), 3
    labels, seeds = labels_and_seeds(m, count)
    with m.session(threads=1) as alone, m.session(threads=2, batch_limit=batch_limit) as together:
        for fields in RUNS.values():
            batch = together.denoise(labels, seeds, **fields)
            for i in range(count):
                assert np.array_equal(batch[i : i + 1], alone.denoise(labels[i : i + 1], seeds[i : i + 1], **fields))
        if m.info.image_height:
            pixels, values = together.generate(labels, seeds, **RUNS["guided"]), together.decode_float(batch)
            assert np.array_equal(pixels, together.decode(together.denoise(labels, seeds, **RUNS["guided"])))
            for i in range(count):
                assert np.array_equal(pixels[i : i + 1], alone.generate(labels[i : i + 1], seeds[i : i + 1], **RUNS["guided"]))
                assert np.array_equal(values[i : i + 1], alone.decode_float(batch[i : i + 1]))
        t = [999.0, 0.25, 400.0]
        predicted = together.predict(batch, t, labels)
        for i in range(count):
            assert np.array_equal(predicted[i : i + 1], alone.predict(batch[i : i + 1], t[i : i + 1], labels[i : i + 1]))


@pytest.mark.parametrize("name", MODELS)
def test_neighbours_and_places_in_a_batch_do_not_matter(model, name):
    m = model(name)
    labels, seeds = labels_and_seeds(m, 5)
    order = [3, 0, 4, 2, 1]
    with m.session(batch_limit=2) as session:
        forth = session.denoise(labels, seeds, **RUNS["with noise"])
        back = session.denoise([labels[i] for i in order], [seeds[i] for i in order], **RUNS["with noise"])
    assert np.array_equal(back, forth[order])
    assert len({sha256(image) for image in forth}) == 5


@pytest.mark.parametrize("name", MODELS)
def test_noise_of_the_caller_is_used_image_by_image_in_several_batches(model, name):
    m = model(name)
    labels, _ = labels_and_seeds(m, 3)
    noise = np.random.default_rng(3).standard_normal((3, *m.latent_shape)).astype(np.float32)
    with m.session(batch_limit=2) as session:
        together = session.denoise(labels, noise=noise, **RUNS["guided"])
        for i in range(3):
            assert np.array_equal(together[i : i + 1], session.denoise(labels[i : i + 1], noise=noise[i : i + 1], **RUNS["guided"]))


def test_the_noise_of_the_caller_and_the_noise_of_a_seed_are_both_float32_and_nothing_else_differs(model):
    """eta = 0: a seed does nothing but choose the first latents."""
    m = model("diffusers-b")
    noise = np.random.default_rng(3).standard_normal((1, *m.latent_shape)).astype(np.float32)
    with m.session() as session:
        outs = [session.denoise([1], seeds, noise=noise, steps=3) for seeds in (None, [1], [2])]
    assert np.array_equal(outs[0], outs[1]) and np.array_equal(outs[0], outs[2])


@pytest.mark.parametrize("name", MODELS)
def test_the_regular_build_gives_the_bytes_of_the_embedded_one(reference, name):
    regular = os.environ.get("DITQ_REGULAR_LIBRARY")
    if not regular:
        pytest.skip("DITQ_REGULAR_LIBRARY names no library built with regular Swift")
    program = "import json, sys, test_same_bytes as t; print(json.dumps(t.digests(t.open_fixture(sys.argv[1]), threads=2)))"
    output = subprocess.run(
        [sys.executable, "-c", program, name], cwd=pathlib.Path(__file__).parent, env=os.environ | {"DITQ_LIBRARY": regular}, check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(output) == reference(name)


# ---- The GEMM by itself ----


def linear(weights, bias, x, threads=1, isa_limit=0):
    handle, y = ditq.c_void_p(), np.full((len(x), len(weights)), np.nan, np.float32)
    options = ditq.LinearOptions(weight_bits=ditq.KEEP_FLOAT, isa_limit=isa_limit)
    ditq.call(ditq.lib.ditq_linear_create, ditq.address(weights), ditq.address(bias), *weights.shape, ditq.byref(options), ditq.byref(handle))
    try:
        ditq.call(ditq.lib.ditq_linear_apply, handle, ditq.address(x), len(x), ditq.address(y), threads)
    finally:
        ditq.lib.ditq_linear_destroy(handle)
    return y


SHAPES = [(1, 1, 1), (1, 7, 3), (2, 1, 33), (3, 31, 17), (5, 33, 64), (14, 64, 129), (15, 65, 5), (16, 96, 255), (17, 127, 96), (64, 48, 1000), (33, 130, 511)]


@pytest.mark.parametrize("rows, outputs, inputs", SHAPES)
def test_a_linear_is_the_product_and_the_same_everywhere(rows, outputs, inputs):
    rng = np.random.default_rng(rows * outputs + inputs)
    w, b, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((outputs, inputs), (outputs,), (rows, inputs)))
    y = linear(w, b, x)
    exact = x.astype(np.float64) @ w.astype(np.float64).T + b
    bound = (inputs + 2) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(w).astype(np.float64).T + np.abs(b))  # of a chain of roundings
    assert (np.abs(y - exact) <= bound).all()
    for isa in (ditq.ISA_GENERIC, ditq.ISA_AVX2, ditq.ISA_AVX512VNNI):
        for threads in (1, 2, 5):
            assert np.array_equal(linear(w, b, x, threads, isa), y)
    assert np.array_equal(np.concatenate([linear(w, b, x[i : i + 1]) for i in range(rows)]), y), "a row does not depend on the others"
    plain = linear(w, None, x)
    assert (np.abs(plain - (exact - b)) <= bound).all()


def test_a_linear_is_one_chain_of_fused_multiply_adds_along_the_inputs():
    """1 + 2⁻²⁴ … : sums in which the order and the single rounding can be seen."""
    x = np.array([[1, 2.0**-24, 2.0**-24, -1]], np.float32)  # along the inputs: 1, 1, 1 (ties to even), 0; in pairs: something else
    assert linear(np.ones((1, 4), np.float32), None, x)[0, 0] == 0
    a = np.float32(1 + 2.0**-12)
    x, w = np.array([[-(a * a), a]], np.float32), np.array([[1, a]], np.float32)
    assert linear(w, None, x)[0, 0] == np.float32(float(a) * float(a) - float(np.float32(a * a))) != 0  # rounded once, not twice


def test_half_precision_weights_of_a_real_file_do_not_depend_on_the_instruction_set(model):
    """F16 is widened exactly by every instruction set: subnormals, the largest numbers and signed zeros too."""
    weights = safetensors_io.read(FIXTURES / "official-a/model.safetensors")
    special = np.array([6e-8, -6e-8, 6.1e-5, 65504, -65504, 0.0, -0.0, 1.0009765625], np.float16)
    narrow = {name: w.astype(np.float16) for name, w in weights.items()}
    narrow["x_embedder.proj.weight"] = np.resize(special * np.float16(1), weights["x_embedder.proj.weight"].shape)
    with ditq.Model(safetensors_io.encode(narrow), head_count=2) as m:
        x = np.random.default_rng(5).standard_normal((1, 4, 8, 8)).astype(np.float32)
        outs = []
        for isa in (ditq.ISA_GENERIC, ditq.ISA_AVX2, ditq.ISA_AVX512VNNI):
            with m.session(isa_limit=isa, threads=1) as s:
                outs.append(s.predict(x, [3.0], [1]))
    assert np.isfinite(outs[0]).all() and np.array_equal(outs[0], outs[1]) and np.array_equal(outs[0], outs[2])
