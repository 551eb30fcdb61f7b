"""What trainers save beside the weights, and around them: objects of any class, averages, prefixes of wrappers.

No object is made: one beside the weights changes nothing, and one in their place is refused by its class. Which dict is taken is said in the model's JSON.
"""
import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import os.path
import pathlib
import random
import types
import uuid
from collections import OrderedDict

import numpy as np
import pytest
import safetensors_io
import torch_io
from ditq_c import MALFORMED, NOT_FOUND, OK, UNSUPPORTED
from test_bad_input import not_opened, opened
from test_golden import prediction
from test_torch_files import HEADS, expected, official, source_of
from torch_io import AsItself, Called, Named, Outside, Storage

STATE = {"a": 1}
Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Options:
    depth: int = 2
    names: list = dataclasses.field(default_factory=lambda: ["a"])


class Slots:
    __slots__ = ("x",)

    def __init__(self, x=1):
        self.x = x

    def __getstate__(self):
        return None, {"x": self.x}


class ByName:
    def __new__(cls, *, x):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"x": 1}


class Dict(dict):
    pass


class List(list):
    pass


class Set(set):
    pass


def with_attributes(thing, **attributes):
    for name, value in attributes.items():
        setattr(thing, name, value)
    return thing


def tensor_call(function, array, *more):
    """A call of one of torch's functions that make tensors, of the arguments of the plain one."""
    tensor = torch_io.Tensor(array)
    return Called(function, tensor.storage, tensor.offset, tensor.shape, tensor.strides, False, OrderedDict(), *more)


F32, I64 = np.ones(3, np.float32), np.arange(2)
GLOBAL = functools.partial(Called, "torch._tensor._rebuild_from_type_v2", Named("torch._utils._rebuild_tensor_v2"))
PLAIN_ARGUMENTS = (Storage(F32), 0, (3,), (1,), False, OrderedDict())

BESIDE = {
    "fractions": [0.5, float("nan"), float("inf"), -float("inf")], "long integers": [1 << 70, -(1 << 70), 1 << 3000], "bytes": b"\0\xff" * 200, "bytearray": bytearray(b"abc" * 200),
    "complex": 1 + 2j, "slice": slice(1, 2), "range": range(3), "set": {1, 2}, "frozenset": frozenset({(1, 2), "a"}), "deque": collections.deque([1, 2], 5), "Counter": collections.Counter("aab"),
    "defaultdict": collections.defaultdict(list, {"a": [1]}), "OrderedDict with attributes": with_attributes(OrderedDict(a=1), _metadata={"": {"version": 1}}), "namedtuple": Point(1, 2),
    "dict of its own class": with_attributes(Dict(a=1), b=2), "list of its own class": List([1, 2]), "set of its own class": Set({1}), "namespace": types.SimpleNamespace(a=1), "enum": Colour.RED, "dataclass": Options(),
    "slots": Slots(), "arguments by name": ByName(x=1), "Path": pathlib.Path("/a/b"), "PurePath": pathlib.PureWindowsPath("c:/a"), "datetime": [datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc), datetime.timedelta(1), datetime.date(2024, 1, 1)],
    "Decimal": decimal.Decimal("1.5"), "Fraction": fractions.Fraction(1, 3), "UUID": uuid.UUID(int=5), "partial": functools.partial(int, base=2), "function": os.path.join, "class": pathlib.Path, "method": "abc".upper, "exception": ValueError("x"),
    "random state": random.Random(1).getstate(), "random object": random.Random(1), "numpy scalars": [np.float32(1), np.int64(2), np.bool_(True), np.str_("a")], "numpy arrays": [AsItself(F32), AsItself(np.asfortranarray(np.ones((2, 3)))), AsItself(np.array(["a", None], object))],
    "numpy dtype": np.dtype([("a", "<f4")]), "numpy random state": Called("numpy.random._pickle.__generator_ctor", "PCG64", state={"state": 1}), "random state of torch": np.zeros(5056, np.uint8),
    "complex tensors": [np.ones(2, np.complex64), np.ones(2, np.complex128)], "tensors of other types": [np.ones(2, kind) for kind in (np.int8, np.int16, np.int32, np.bool_, np.float64)],
    "a float8 tensor": Called("torch._utils._rebuild_tensor_v3", Storage(np.zeros(4, np.uint8)), 0, (4,), (1,), False, OrderedDict(), Named("torch.float8_e4m3fn")),
    "a tensor of a type to come": Called("torch._utils._rebuild_tensor_v3", Storage(np.zeros(4, np.uint8)), 0, (4,), (1,), False, OrderedDict(), Named("torch.float5_e3m1")),
    "sparse tensor": Called("torch._utils._rebuild_sparse_tensor", Called("torch.serialization._get_layout", "torch.sparse_coo"), (I64[None], F32[:2], (5,), True)),
    "quantized tensor": Called("torch._utils._rebuild_qtensor", Storage(np.zeros(4, np.int8)), 0, (4,), (1,), (Called("torch.per_tensor_affine"), 0.1, 3), False, OrderedDict()),
    "meta tensor": Called("torch._utils._rebuild_meta_tensor_no_storage", Named("torch.float32"), (2, 3), (3, 1), False), "nested tensor": Called("torch._utils._rebuild_nested_tensor", F32, I64, I64, I64),
    "wrapper subclass": Called("torch._utils._rebuild_wrapper_subclass", Named("a.B"), Named("torch.float32"), (3,), (1,), 0, "strided", "cpu", False),
    "Parameter": Called("torch._utils._rebuild_parameter", F32, True, OrderedDict()), "Parameter with attributes": Called("torch._utils._rebuild_parameter_with_state", F32, True, OrderedDict(), {"kind": Colour.RED}),
    "tensor with attributes": GLOBAL(Named("torch.Tensor"), PLAIN_ARGUMENTS, {"_is_buffer": True}), "tensor of its own class": GLOBAL(Named("my.Tensor"), PLAIN_ARGUMENTS, {"scale": 2}), "tensor with a state": Called("torch._utils._rebuild_tensor_v2", *PLAIN_ARGUMENTS, state={"x": 1}),
    "a view with its own sign": tensor_call("torch._utils._rebuild_tensor_v2", F32, {"neg": True}), "nine dimensions": np.zeros((1,) * 9, np.float32), "a storage alone": Storage(F32), "Size, device, dtype": [Called("torch.Size", (1, 2)), Called("torch.device", "cuda", 0), Called("a.B", Named("torch.float16"))],
    "a module": Called("models.DiT", state={"_parameters": OrderedDict(w=F32), "_modules": OrderedDict(), "training": True}), "an optimizer": {"state": {0: {"step": np.float32([3]), "exp_avg": F32}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0], "fused": None}]},
    "a schedule of the learning rate": Called("torch.optim.lr_scheduler.LambdaLR", state={"lr_lambdas": [functools.partial(max, 1)], "last_epoch": 3}), "a config in nodes": Called("omegaconf.dictconfig.DictConfig", state={"_content": {"a": Called("omegaconf.nodes.AnyNode", state={"_val": 1})}, "_parent": None}),
    "outside": [Outside(("blob", 7)), Outside("a text"), Outside(3)], "a command": Called("os.system", "touch owned"), "code": Called("builtins.eval", "1/0"), "what was imported": Called("importlib.import_module", "os"), "a call of a call": Called("a.f", Called("b.g", Called("c.h"))),
}  # fmt: skip
PROTOCOLS = [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", BESIDE)
def test_what_no_weight_depends_on_may_be_anything(golden, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value, weights = BESIDE[kind], official()
    for protocol in PROTOCOLS:
        saved = {"model": {}, "ema": weights, "extra": value, "opt": {"state": {0: [value]}}, "args": argparse.Namespace(value=value)}
        assert np.array_equal(prediction(torch_io.save(saved, protocol), golden("official-a"), **HEADS), expected(golden)), protocol
        assert np.array_equal(prediction(torch_io.save(weights | {"a value": value if not contains_tensors(value) else 0, "epoch": 3}, protocol), golden("official-a"), **HEADS), expected(golden)), protocol
    assert not list(tmp_path.iterdir()), "something was executed"


def contains_tensors(value):
    """Whether this would be a tensor too many among weights."""
    return isinstance(value, np.ndarray) or isinstance(value, Called) and value.parts[0].module in ("torch._utils", "torch._tensor")


def test_all_of_it_at_once(golden):
    saved = {"ema": official(), "extra": list(BESIDE.values())}
    for protocol in PROTOCOLS:
        assert np.array_equal(prediction(torch_io.save(saved, protocol), golden("official-a"), **HEADS), expected(golden)), protocol


WEIGHT = "blocks.1.mlp.fc1.weight"
NO_WEIGHTS = {
    "quantized tensor": "torch._utils._rebuild_qtensor", "sparse tensor": "torch._utils._rebuild_sparse_tensor", "complex tensor": "torch.ComplexFloatStorage", "meta tensor": "torch._utils._rebuild_meta_tensor_no_storage",
    "tensor of its own class": "my.Tensor", "tensor with a state": "with a state of its own", "a view with its own sign": "a view with its own sign", "a tensor of a type to come": "torch.float5_e3m1",
    "wrapper subclass": "torch._utils._rebuild_wrapper_subclass", "a module": "models.DiT", "a command": "os.system", "code": "", "Path": "pathlib.PosixPath", "slots": "test_torch_objects.Slots", "arguments by name": "",
    "numpy array": "numpy.ndarray", "a parameter of a quantized tensor": "torch._utils._rebuild_qtensor", "a parameter of a parameter": "a class within classes",
}  # fmt: skip
MORE = {
    "complex tensor": np.ones((1, 2), np.complex64), "numpy array": AsItself(F32), "a parameter of a quantized tensor": Called("torch._utils._rebuild_parameter", BESIDE["quantized tensor"], True, OrderedDict()),
    "a parameter of a parameter": functools.reduce(lambda inner, _: Called("torch._utils._rebuild_parameter", inner, True, OrderedDict()), range(40), F32),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_an_object_in_the_place_of_a_weight_is_refused_by_its_class(kind):
    value = MORE[kind] if kind in MORE else BESIDE[kind]
    for protocol in PROTOCOLS:
        words = {"code": "__builtin__.eval" if protocol < 3 else "builtins.eval", "arguments by name": "functools.partial" if protocol in (2, 3) else "test_torch_objects.ByName"}.get(kind) or NO_WEIGHTS[kind]
        for saved in (official() | {WEIGHT: value}, {"ema": official() | {WEIGHT: value}}, {"state_dict": {f"model.{name}": each for name, each in (official() | {WEIGHT: value}).items()}}):
            not_opened(torch_io.save(saved, protocol), UNSUPPORTED, f"{WEIGHT}: a plain tensor expected", words, **HEADS)


def test_parameters_and_tensors_with_attributes_are_weights(golden):
    def wrapped(array, number):
        tensor = torch_io.Tensor(array)
        arguments = (tensor.storage, tensor.offset, tensor.shape, tensor.strides, False, OrderedDict())
        plain = Called("torch._utils._rebuild_tensor_v2", *arguments)
        return [
            plain, Called("torch._utils._rebuild_parameter", plain, True, OrderedDict()), Called("torch._utils._rebuild_parameter_with_state", plain, True, OrderedDict(), {"kind": Colour.RED}),
            GLOBAL(Named("torch.Tensor"), arguments, {"_is_buffer": True}), GLOBAL(Named("torch.nn.parameter.Parameter"), arguments, {}), Called("torch._utils._rebuild_parameter", GLOBAL(Named("torch.Tensor"), arguments, {}), True, OrderedDict()),
            Called("torch._utils._rebuild_tensor_v2", *arguments, {}), Called("torch._utils._rebuild_tensor_v2", *arguments, None),
        ][number % 8]  # fmt: skip

    for kind in (dict, OrderedDict, Dict, lambda items: collections.defaultdict(None, items)):
        saved = kind({name: wrapped(array, number) for number, (name, array) in enumerate(official().items())})
        for value in (saved, {"model": saved}):
            assert np.array_equal(prediction(torch_io.save(value, 4), golden("official-a"), **HEADS), expected(golden))


# ---- Prefixes ----

AVERAGES = ["ema.", "ema_model.module.", "model_ema.", "shadow."]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "net.", "any.one.0.", "x_embedder.", "blocks.0."])
@pytest.mark.parametrize("encode", [torch_io.save, safetensors_io.encode], ids=["torch", "safetensors"])
def test_a_prefix_of_all_names_is_stripped_and_named(golden, prefix, encode):
    data = encode({prefix + name: w for name, w in official().items()})
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))
    assert source_of(data) == ("torch checkpoint" if encode is torch_io.save else "safetensors") + f', names under "{prefix}"'


@pytest.mark.parametrize("average", AVERAGES)
def test_of_two_prefixes_the_average_is_taken(golden, average):
    weights = official()
    both = {f"model.{name}": 0 * w for name, w in weights.items()} | {average + name: w for name, w in weights.items()} | {"vae.conv.weight": weights["pos_embed"]}
    for data in (torch_io.save({"state_dict": both, "epoch": 3}), safetensors_io.encode(both)):
        assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))
        assert source_of(data).endswith(f', names under "{average}" ({len(weights) + 1} tensors beside passed over)')


def test_what_prefixes_do_not_say_is_refused():
    weights = official()
    two = {f"student.{name}": w for name, w in weights.items()} | {f"teacher.{name}": w for name, w in weights.items()}
    not_opened(safetensors_io.encode(two), UNSUPPORTED, '"student."', '"teacher."', "both make a transformer", **HEADS)
    some = {("module." if "blocks.0" in name else "") + name: w for name, w in weights.items()}
    not_opened(safetensors_io.encode(some), (NOT_FOUND, UNSUPPORTED), "blocks.0", **HEADS)
    many = {f"{i}.{name}": weights["pos_embed"] for i in range(50) for name in ("pos_embed", "x_embedder.proj.weight")}
    not_opened(torch_io.save(many), NOT_FOUND, "x_embedder.proj.weight", **HEADS)
    assert opened(safetensors_io.encode({f"{'p' * 255}.{name}": w for name, w in weights.items()}), **HEADS)[0] == OK


# ---- Which dict ----

GOOD, BAD = "the weights", "zeros"
WRAPPED = "the weights under module."
PART = "all but pos_embed"
CHOICES = [
    ({"model": BAD, "ema": GOOD}, '"ema"'), ({"model": BAD, "model_ema": GOOD}, '"model_ema"'), ({"state_dict": BAD, "ema_state_dict": GOOD}, '"ema_state_dict"'), ({"state_dict": BAD, "state_dict_ema": GOOD}, '"state_dict_ema"'),
    ({"net": BAD, "net_ema": GOOD}, '"net_ema"'), ({"model": BAD, "ema": {"shadow": GOOD, "decay": 0.9}}, '"ema", "shadow"'), ({"model": BAD, "ema": {"module": GOOD}}, '"ema", "module"'),
    ({"model": BAD, "ema": {"state_dict": GOOD, "step": 3}}, '"ema", "state_dict"'), ({"model": BAD, "ema": WRAPPED}, '"ema", names under "module."'), ({"model": {"ema": GOOD, "raw": BAD}}, '"model", "ema"'),
    ({"module": GOOD, "optimizer": {"state": {}}, "ds_version": "0.1"}, '"module"'), ({"state_dict": WRAPPED}, '"state_dict", names under "module."'), ({"model": {"module": GOOD}}, '"model", "module"'), ({"model": {"state_dict": GOOD}}, '"model", "state_dict"'),
    ({"model_state_dict": GOOD, "optimizer_state_dict": {}}, '"model_state_dict"'), ({"dit": GOOD, "vae": {"a": np.zeros(2, np.float32)}}, '"dit"'), ({"whatever": GOOD, "epoch": 3}, '"whatever"'), ({"whatever": {"deeper": GOOD}}, '"whatever", "deeper"'),
    ({"model": GOOD, "optimizer": {"exp_avg": BAD, "exp_avg_sq": BAD}}, '"model"'), ({"x": GOOD, "optimizer": {"exp_avg": BAD}, "grads": BAD}, '"x"'), ({"model": GOOD, "schema": BAD, "demand": BAD}, '"model"'), ({"x": BAD, "model": GOOD}, '"model"'),
    ({"model": GOOD, "ema": {}}, '"model" ("ema" passed over: no transformer in it)'), ({"model": GOOD, "ema": {"decay": 0.9}}, '"model" ("ema" passed over: no transformer in it)'), ({"model": GOOD, "ema": None, "ema_decay": 0.9}, '"model"'),
    ({"model": GOOD, "ema": {"shadow_params": [np.zeros(3, np.float32)]}}, '"model" ("ema" passed over: no transformer in it)'), ({"model": GOOD, "ema": PART}, '"model" ("ema" passed over: no pos_embed)'),
    ({"model": GOOD, "ema": {"shadow": PART}}, '"model" ("ema" passed over: no pos_embed)'), ({"model": GOOD, "ema": {"pos_embed": BESIDE["quantized tensor"], "x_embedder.proj.weight": np.zeros(2, np.float32)}}, '"model" ("ema" passed over: no t_embedder.mlp.0.weight)'),
    ({"model": GOOD, "ema": Called("my.EMA", state={"decay": 0.9})}, '"model" ("ema" passed over: no transformer in it)'), ({"ema": GOOD, "ema_0.99": BAD, "model": BAD}, '"ema" ("ema_0.99" passed over: another average is preferred)'),
]  # fmt: skip


def built(value):
    weights = official()
    kinds = {GOOD: weights, BAD: {name: 0 * w for name, w in weights.items()}, WRAPPED: {f"module.{name}": w for name, w in weights.items()}, PART: {name: w for name, w in weights.items() if name != "pos_embed"}}
    if isinstance(value, str) and value in kinds:
        return kinds[value]
    return {key: built(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("value, source", CHOICES)
def test_the_dict_is_found_and_said(golden, value, source):
    data = torch_io.save(built(value))
    assert source_of(data) == "torch checkpoint, " + source
    assert np.array_equal(prediction(data, golden("official-a"), **HEADS), expected(golden))


@pytest.mark.parametrize("value, status, words", [
    ({"student": GOOD, "teacher": BAD}, UNSUPPORTED, ['"student" and "teacher" both make a transformer']),
    ({"ema_1": GOOD, "ema_2": BAD}, UNSUPPORTED, ['"ema_1" and "ema_2" both make a transformer']),
    ({"model": PART, "ema": PART}, NOT_FOUND, ["pos_embed: no such tensor"]),
    ({"model": Called("models.DiT", state={"_parameters": {}})}, UNSUPPORTED, ['"model" is an object of models.DiT', "state_dict()"]),
    (Called("models.DiT", state={"_parameters": {}}), UNSUPPORTED, ["an object of models.DiT", "state_dict()"]),
    ({"a": {"b": {"c": GOOD}}}, MALFORMED, ["no tensors found"]),
    ({"optimizer": GOOD}, MALFORMED, ["no tensors found"]),
])  # fmt: skip
def test_what_no_rule_finds_is_refused(value, status, words):
    not_opened(torch_io.save(built(value)), status, *words, **HEADS)


def test_one_dict_under_several_keys_is_one():
    weights = official()
    assert source_of(torch_io.save({"student": weights, "teacher": weights})) == 'torch checkpoint, "student"'
    assert source_of(torch_io.save({"model": weights, "ema": weights})) == 'torch checkpoint, "ema"'


def test_a_scripted_module_says_how_to_save_its_weights():
    entries = torch_io.members(*torch_io.dumps(official())) + [torch_io.entry("model/constants.pkl", b"\x80\2)."), torch_io.entry("model/code/__torch__.py", b"")]
    not_opened(torch_io.archive(entries), UNSUPPORTED, "a TorchScript module found", "torch.jit.load(path).state_dict()")
