"""What a file cannot say of its model: asked of the call, the file beside and the training's arguments, listed where it is assumed, refused where tensors
say something else."""
import argparse
import json

import ditq_c as ditq
import numpy as np
import pytest
import safetensors_io
import torch_io
from conftest import FIXTURES
from ditq_c import INVALID_ARGUMENT, UNSUPPORTED, DitqFailure
from test_compare import Report

TENSORS = safetensors_io.read(FIXTURES / "official-a/model.safetensors")  # hidden 144 of 2 heads, 11 rows of labels, 4 × 4 tokens of 2 × 2


def opened(metadata=None, tensors=TENSORS, **said):
    config = json.dumps(said).encode() if said else None
    return ditq.Model(safetensors_io.encode(tensors, {"ditq.config": json.dumps(metadata)} if metadata else None), config_json=config)


def refused(status, *words, tensors=TENSORS, **said):
    with pytest.raises(DitqFailure) as failure:
        opened(tensors=tensors, **said).close()
    assert failure.value.status == status and all(word in failure.value.message for word in words), failure.value


def test_what_nobody_said_is_listed_and_what_was_said_is_not():
    with opened(head_count=2) as model:
        assert model.json()["assumed"] == ["prediction", "null_class"]
    with opened(head_count=2, prediction="epsilon", null_class=True) as model:
        assert model.json()["assumed"] == []


def test_heads_that_nobody_said_are_refused_with_those_that_divide():
    refused(INVALID_ARGUMENT, "head_count", "144", "2 (72 each)", "3 (48 each)")


@pytest.mark.parametrize("said, words", [({"clas_count": 3}, "clas_count"), ({"class_count": 5}, "11 rows"), ({"latent_size": 7}, "8"), ({"patch_size": 4}, "2"),
                                         ({"class_count": 10, "null_class": False}, "null_class"), ({"learned_variance": False}, "learned_variance")])  # fmt: skip
def test_facts_that_are_misspelt_or_contradicted_are_refused(said, words):
    refused(INVALID_ARGUMENT, next(iter(said)) if len(said) == 1 else "null_class", words, head_count=2, **said)


def test_a_label_table_without_no_class():
    with opened(head_count=2, null_class=False) as model, opened(head_count=2) as other:
        assert model.info.class_count == 11 and model.json()["architecture"]["null_class"] is False
        with model.session(threads=1) as s, other.session(threads=1) as o:
            assert np.array_equal(s.denoise([10], [1], steps=2, guidance_scale=1.0), o.denoise([10], [1], steps=2, guidance_scale=1.0))
            for label, scale in ((10, 4.0), (11, 1.0)):
                with pytest.raises(DitqFailure, match="no class"):
                    s.denoise([label], [1], steps=2, guidance_scale=scale)


@pytest.mark.parametrize("null_class, scale", [(True, 4), (False, 1)])
def test_a_comparison_is_guided_where_there_is_no_class(null_class, scale):
    with opened(head_count=2, null_class=null_class) as model, model.quantize(weight_bits=8) as quantized:
        assert Report(model, quantized, steps=2, samples=1).json["guidance_scale"] == scale


def test_positions_in_another_order_are_refused_and_run_where_the_grid_is_given():
    table = TENSORS["pos_embed"]
    for other in (table.reshape(1, 4, 4, -1).transpose(0, 2, 1, 3).reshape(table.shape), np.ascontiguousarray(table[:, ::-1])):
        tensors = TENSORS | {"pos_embed": np.ascontiguousarray(other)}
        refused(UNSUPPORTED, "pos_embed", tensors=tensors, head_count=2)
        opened(tensors=tensors, head_count=2, latent_size=8).close()
    with opened(tensors=TENSORS | {"pos_embed": table * 0 + 0.1}, head_count=2) as model:
        assert "latent_size" in model.json()["assumed"]


def test_precedence(tmp_path):
    arguments = argparse.Namespace(num_classes=11, path_type="Linear", prediction="velocity", num_heads=2)
    path = tmp_path / "x.pt"
    path.write_bytes(torch_io.save({"model": TENSORS, "args": arguments}))
    with ditq.Model(path) as model:
        assert model.json()["assumed"] == [] and model.info.class_count == 11 and model.json()["sampling"]["prediction"] == "velocity"
    (tmp_path / "x.ditq.json").write_text(json.dumps({"head_count": 3}))
    with ditq.Model(path) as model:
        assert model.info.head_count == 3
    with ditq.Model(path, config_json=b'{"head_count": 4, "prediction": "epsilon"}') as model:
        assert model.info.head_count == 4 and model.json()["sampling"]["prediction"] == "epsilon"
