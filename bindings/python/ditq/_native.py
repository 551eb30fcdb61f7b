"""The library's model as Python objects share it: it is closed when the last Model or Session that holds it lets go. So a session can say what its
classes are called, and find them by name, when its `Model` is closed."""
from __future__ import annotations

import dataclasses
import functools
import numbers
import os
import weakref
from typing import Any, Mapping, Optional, Sequence, Union

from . import _ctypes as api

Label = Union[str, int, None]
"""A class by name or number; None draws without a class."""


def as_several(labels: Union[Label, Sequence[Label]]) -> tuple[Sequence[Label], bool]:
    """Classes as a sequence, and whether it was one class alone."""
    if isinstance(labels, bytes):
        raise TypeError(f"a class by its name, number or None expected, {labels!r} found")
    if labels is None or isinstance(labels, (str, int, numbers.Integral)):
        return [labels], True
    return labels, False


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a model is. Image sizes are 0 for a latent model without a decoder; weight_bits 32 is float; weight_group 0 is a scale a row."""

    image_height: int
    image_width: int
    image_channels: int
    latent_height: int
    latent_width: int
    latent_channels: int
    patch_size: int
    hidden_size: int
    depth: int
    head_count: int
    class_count: int
    weight_bits: int
    weight_group: int
    activation_bits: int
    has_decoder: int
    parameter_count: int
    weights_size: int
    macs_per_forward: int
    output_channels: int


class Native:
    """A ditq_model, the bytes that it reads where they are, the file that it came from, as (device, inode), and what it was opened with, as the texts
    of a picture say it."""

    def __init__(
        self, pointer: int, path: str = "", source: object = None, file: Optional[tuple[int, int]] = None, opening: Mapping[str, str] = {}
    ):
        self.pointer, self.path, self.source, self.file, self.opening = pointer, path, source, file, dict(opening)
        weakref.finalize(self, api.lib.ditq_model_close, pointer)
        info = api.ModelInfo()
        api.call(api.lib.ditq_model_describe, pointer, info)
        self.info = ModelInfo(**{field.name: getattr(info, field.name) for field in dataclasses.fields(ModelInfo)})

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)

    def json(self) -> dict[str, Any]:
        return api.described(api.lib.ditq_model_describe_json, self.pointer)

    @functools.cached_property
    def facts(self) -> tuple[str, str]:
        """The sampler that "auto" stands for, and whose numbers it gives."""
        found = self.json()
        return str(found["sampling"]["sampler"]), str(found["compatibility"])

    @functools.cached_property
    def has_null_class(self) -> bool:
        """Whether the label table has a row of "no class", so that guidance has something to be guided away from."""
        return bool(self.json()["architecture"]["null_class"])

    def class_name(self, label: int) -> Optional[str]:
        name = api.lib.ditq_model_class_name(self.pointer, api.integer("label", label))
        return None if name is None else name.decode("utf-8")

    def label(self, value: Label) -> int:
        if value is None:
            return self.info.class_count
        if not isinstance(value, str):
            return api.integer("label", value)
        return api.counted(api.lib.ditq_model_find_class, self.pointer, api.text(value))

    def labels(self, values: Union[Label, Sequence[Label]]) -> tuple[list[int], bool]:
        """The numbers of one class or of several, and whether it was one."""
        several, single = as_several(values)
        return [self.label(value) for value in several], single
