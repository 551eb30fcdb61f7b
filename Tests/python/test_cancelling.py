"""Cancelling from another thread, on models whose small files ask for much work: attention over as many tokens as there may be, the decoder's too, wide
layers, large images. The header promises a tenth of a second on an idle machine; here a second is given, as others work on it. Without looks inside
of operations these take 5 to 100 times as long."""
import json
import shutil
import threading
import time

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
from ditq_c import CANCELLED, UNSUPPORTED

pytestmark = pytest.mark.isolated(seconds=300)

PIPELINE = ditq.ROOT / "Tests/fuzz/models/pipeline"


def numbers(shape, seed=1):
    return (np.random.default_rng(seed).standard_normal(shape, np.float32) * 0.1).astype(np.float16)


def transformer(hidden, grid, patch, channels=1, mlp=None, depth=1, heads=1):
    """A model in the public layout. A quarter of its file or more is the table of positions."""
    mlp, width = mlp or hidden, channels * patch * patch
    shapes = {"x_embedder.proj": (hidden, channels, patch, patch), "t_embedder.mlp.0": (hidden, 256), "t_embedder.mlp.2": (hidden, hidden),
              "final_layer.linear": (width, hidden), "final_layer.adaLN_modulation.1": (2 * hidden, hidden)}
    for block in range(depth):
        for name, shape in {"attn.qkv": (3 * hidden, hidden), "attn.proj": (hidden, hidden), "mlp.fc1": (mlp, hidden), "mlp.fc2": (hidden, mlp),
                            "adaLN_modulation.1": (6 * hidden, hidden)}.items():
            shapes[f"blocks.{block}.{name}"] = shape
    tensors = {"y_embedder.embedding_table.weight": numbers((3, hidden)), "pos_embed": numbers((1, grid * grid, hidden))}
    for name, shape in shapes.items():
        tensors |= {name + ".weight": numbers(shape), name + ".bias": numbers(shape[:1])}
    return ditq.Model(safetensors_io.encode(tensors, {"ditq.config": json.dumps({"head_count": heads, "pixel_space": True})}))


def pipeline(folder, latent_size):
    """The tiny directory with other sizes: what it asks for is in its texts alone."""
    shutil.copytree(PIPELINE, folder / "pipeline")
    for part in ("transformer", "vae"):
        file = folder / "pipeline" / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | ({"sample_size": latent_size} if part == "transformer" else {})))
    return ditq.Model(folder / "pipeline")


def cancelled_after(session, work, wait=0.3):
    """Seconds from the asking to the answer, of work that goes on for longer than `wait`."""
    ended = {}

    def run():
        try:
            work()
        except ditq.DitqFailure as failure:
            ended.update(status=failure.status)
        ended.update(at=time.perf_counter())

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(wait)
    assert thread.is_alive(), "the work was over before it could be cancelled"
    asked = time.perf_counter()
    session.cancel()
    thread.join(250)
    assert not thread.is_alive() and ended["status"] == CANCELLED
    print(f"cancelled after {ended['at'] - asked:.3f} s")
    return ended["at"] - asked


MODELS = {
    "65536 tokens": dict(hidden=64, grid=256, patch=1), "heads of 1024 channels": dict(hidden=1024, grid=128, patch=1, channels=3),
    "wide layers": dict(hidden=256, grid=128, patch=1, mlp=16384), "patches of 256 by 256": dict(hidden=4, grid=16, patch=256, channels=1),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", [ditq.ISA_GENERIC, ditq.ISA_BEST])
@pytest.mark.parametrize("kind", ["float", "integers"])
@pytest.mark.parametrize("name", MODELS)
def test_a_transformer_of_any_size_is_cancelled_at_once(name, kind, isa, threads):
    with transformer(**MODELS[name]) as source:
        model = source.quantize() if kind == "integers" else source
        with model.session(threads=threads, isa_limit=isa) as session:
            assert cancelled_after(session, lambda: session.denoise([0], [1], steps=1000, sampler=ditq.SAMPLER_DDPM)) < 1


@pytest.mark.parametrize("kind", ["float", "integers"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_decoder_of_any_size_is_cancelled_at_once(threads, kind, tmp_path):
    with pipeline(tmp_path, 256) as source:
        model = source.quantize(rules=[dict(pattern=b"vae.*", weight_bits=8)], weight_method=1) if kind == "integers" else source
        with model.session(threads=threads) as session:
            latents = np.zeros((1, *model.latent_shape), np.float32)
            assert cancelled_after(session, lambda: session.decode(latents)) < 1
            assert cancelled_after(session, lambda: session.decode_float(latents), wait=1.0) < 1


def test_a_decoder_of_more_tokens_than_anybody_waits_for_is_refused(tmp_path):
    with pytest.raises(ditq.DitqFailure) as failure:
        pipeline(tmp_path, 258)
    assert failure.value.status == UNSUPPORTED and "decoder: tokens: 1 to 65536 expected, 66564 found" in failure.value.message


def test_other_calls_are_cancelled_at_once_and_leave_what_they_had():
    """A run's step, which can be taken again, and a prediction."""
    with transformer(**MODELS["65536 tokens"]) as model, model.session() as session, ditq.Run(model, [0], [1], steps=3) as run:
        before = run.save()
        assert cancelled_after(session, lambda: run.step(session)) < 1
        assert run.save() == before
        x = np.zeros((1, *model.latent_shape), np.float32)
        assert cancelled_after(session, lambda: session.predict(x, [5.0], [0], channels=1)) < 1
