"""Models: opened, described, saved, and asked for pictures."""
from __future__ import annotations

import json
import operator
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, BinaryIO, Mapping, Optional, Sequence, Union, overload

from . import _ctypes as api
from ._calls import Call, Meter, Progress
from ._handles import Handle, tell_of_forks
from ._native import Label, ModelInfo, Native, as_several
from ._reader import FileReader
from ._text import shown
from .errors import InvalidArgument
from .image import Image, Images
from .session import Run, Seeds, Session, floats, sampling_options, seeds_of

if TYPE_CHECKING:
    import numpy

BATCH_LIMIT = 8  # images that a model's own session denoises together


def identity(file: Any) -> Optional[tuple[int, int]]:
    """Device and inode of a path or of an open file; None for what is no file of the system's."""
    try:
        found = os.stat(file.fileno() if hasattr(file, "fileno") else file)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def config_json(config: Optional[Mapping[str, Any]], facts: Mapping[str, Any]) -> Optional[bytes]:
    """What is said of a model, as JSON; None where nothing is."""
    repeated = [name for name in facts if name in (config or {})]
    if repeated:
        raise TypeError(f"{repeated[0]} as a keyword or in config expected, both found")
    said = {**(config or {}), **facts}
    return api.text(json.dumps(said)) if said else None


class Model(Handle):
    """A Diffusion Transformer: a .ditq file, a diffusers directory, a safetensors or .pt checkpoint, or the bytes of one such file,
    or such a file opened in binary mode, which is read now and may be closed or changed afterwards. A path is mapped: it may not be truncated.

    compatibility: "auto", "official" or "diffusers". sha256: refuse any other file. head_count, config, and any field of ditq.config as a keyword, such as
    prediction="velocity", null_class=False or pixel_space=False: what the file does not say of its model; these go before what it says. `assumed` lists
    what nobody said. decoder: a directory that AutoencoderKL saved, or a pipeline's, whose decoder is used in place of the model's own. variant: which
    weights of a directory, such as "fp16". A model is immutable, any number of threads may share it.
    """

    def __init__(
        self,
        source: Union[str, os.PathLike[str], bytes, bytearray, memoryview, BinaryIO],
        *,
        compatibility: Union[str, int] = "auto",
        sha256: Optional[str] = None,
        head_count: int = 0,
        decoder: Union[str, os.PathLike[str], None] = None,
        variant: Optional[str] = None,
        config: Optional[Mapping[str, Any]] = None,
        progress: Progress = None,
        **facts: Any,
    ):
        if isinstance(source, (bytearray, memoryview)):
            source = bytes(source)
        call = Call(Meter(progress))
        options = api.ModelOptions(compatibility=api.number(api.Compatibility, compatibility), head_count=head_count, progress=call.hook)
        options.expected_sha256 = None if sha256 is None else api.text(sha256)
        options.config_json = config_json(config, facts)
        options.decoder = None if decoder is None else api.path(decoder)
        options.variant = None if variant is None else api.text(variant)
        path, held, file = "", None, None
        if isinstance(source, bytes):
            held = source
            pointer = call(api.created, api.lib.ditq_model_open_memory, source, len(source), options)
        elif hasattr(source, "seek"):
            file = identity(source)
            pointer = call(FileReader(source), options)
        else:
            path = os.fspath(source)
            pointer = call(api.created, api.lib.ditq_model_open, api.path(source), options)
        said = {"head_count": head_count} if head_count else {}
        said |= json.loads(options.config_json) if options.config_json else {}
        opening = {"Config": json.dumps(said) if said else None, "Decoder": decoder and os.path.basename(os.path.normpath(os.fspath(decoder))), "Variant": variant}
        self._hold(Native(pointer, path, held, file, {key: shown(text) for key, text in opening.items() if text}))

    @classmethod
    def _made(cls, pointer: int, source: Model) -> Model:
        """A model that the library made from another one, whose bytes it may share."""
        model = cls.__new__(cls)
        model._hold(Native(pointer, "", source._native.source, source._native.file))
        return model

    def _hold(self, native: Native) -> None:
        self._native, self._closed = native, False
        self.path, self.info = native.path, native.info
        self._lock = threading.Lock()
        self._session: Optional[Session] = None
        tell_of_forks(self)

    @property
    def _handle(self) -> int:
        if self._closed:
            raise ValueError("this Model is closed")
        return self._native.pointer

    def _forked(self) -> None:
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the model and its own session. Sessions that were made from it keep working."""
        if self._session is not None:
            self._session.close()
        self._session, self._closed = None, True
        self.__dict__.pop("_native", None)  # which goes with the last session that holds it

    # ---- What it is ----

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)"""
        return self.info.image_height, self.info.image_width, self.info.image_channels

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        return self.info.latent_channels, self.info.latent_height, self.info.latent_width

    @property
    def output_channels(self) -> int:
        """Channels that the transformer predicts: twice the latents' for a model with learned variance."""
        _ = self._handle
        return self.info.output_channels

    def json(self) -> dict[str, Any]:
        """Everything: architecture, layers, the settings recorded in the file, calibration, class names."""
        _ = self._handle  # a closed model says so itself
        return self._native.json()

    @property
    def assumed(self) -> list[str]:
        """The fields of ditq.config that nobody said of this model: what is usual was taken."""
        return [str(field) for field in self.json()["assumed"]]

    def class_name(self, label: int) -> Optional[str]:
        """The name of a label; None where the model names none."""
        _ = self._handle
        return self._native.class_name(label)

    @property
    def class_names(self) -> list[Optional[str]]:
        """The names of all labels, in order."""
        return [self.class_name(label) for label in range(self.info.class_count)]

    def label(self, value: Label) -> int:
        """The number of a class that is given by name or number; None is "no class", where there is one. Raises `NotFound`, which names the nearest ones."""
        _ = self._handle
        return self._native.label(value)

    def verify(self) -> None:
        """Reads every byte and compares the checksums that a .ditq file records. Raises `ChecksumMismatch`."""
        api.call(api.lib.ditq_model_verify, self._handle)

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes a quantized model as a .ditq file, whole or not at all. Raises `InvalidArgument` for the file that the model came from."""
        _ = self._handle
        if self._native.file is not None and identity(path) == self._native.file:
            raise InvalidArgument(f"{os.fspath(path)!r}: another file than the one that the model came from expected, which saving would destroy")
        api.call(api.lib.ditq_model_save, self._handle, api.path(path))

    def __repr__(self) -> str:
        info = self.info
        bits = "float" if info.weight_bits == api.KEEP_FLOAT else f"{info.weight_bits}-bit"
        return f"<ditq.Model {shown(os.path.basename(self.path))}: {info.parameter_count:,} parameters, {bits} weights, {info.class_count} classes>"

    # ---- What it does ----

    def session(self, *, threads: int = 0, batch_limit: int = 1, isa: Union[str, int] = "best") -> Session:
        """Working memory and threads of your own: see `Session`."""
        return Session(self, threads=threads, batch_limit=batch_limit, isa=isa)

    def default_session(self, count: int = 1) -> Session:
        """The session that the model's own methods use, made when it is first needed, and again for a larger batch. It needs the model: keep that."""
        _ = self._handle  # a closed model says so itself
        with self._lock:
            limit = min(max(count, 1), BATCH_LIMIT)
            if self._session is None or self._session.batch_limit < limit:
                self._session = Session(weakref.proxy(self), batch_limit=limit)  # so that the model goes when nobody holds it
            return self._session

    @overload
    def generate(self, labels: Label, *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any) -> Image: ...

    @overload
    def generate(self, labels: Sequence[Label], *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any) -> Images: ...

    def generate(self, labels: Any, **options: Any) -> Any:
        """`Session.generate` on a session of the model's own. Threads that share the model take turns, each call on every core."""
        return self.default_session(len(as_several(labels)[0])).generate(labels, **options)

    def denoise(self, labels: Union[Label, Sequence[Label]], **options: Any) -> numpy.ndarray:
        """`Session.denoise` on a session of the model's own."""
        return self.default_session(len(as_several(labels)[0])).denoise(labels, **options)

    def run(self, labels: Union[Label, Sequence[Label]], *, seed: Seeds = 0, noise: Any = None, **sampling: Any) -> Run:
        """A denoising to take step by step: arguments as for `denoise`."""
        _ = self._handle
        indices, _ = self._native.labels(labels)
        options = sampling_options(self._native, **sampling)
        if noise is not None:
            noise = floats(noise, len(indices), *self.latent_shape)
            options.noise = noise.ctypes.data
        seeds = api.uint64s(seeds_of(seed, len(indices)))
        return Run(self, api.created(api.lib.ditq_run_create, self._handle, api.int32s(indices), seeds, len(indices), options))

    def restore(self, saved: Union[bytes, bytearray, memoryview]) -> Run:
        """The run that `Run.save` gave, on a model of the same architecture and sampling settings."""
        saved = bytes(saved)
        return Run(self, api.created(api.lib.ditq_run_restore, self._handle, saved, len(saved)))


def quantize(
    model: Model,
    *,
    weight_bits: int = 8,
    weight_group: int = -1,
    weight_method: Union[str, int] = "auto",
    activation_bits: int = 8,
    activation_mode: Union[str, int] = "auto",
    observer: Union[str, int] = "minmax",
    balance_channels: bool = False,
    error_budget_db: float = 0,
    rules: Sequence[dict[str, Any]] = (),
    threads: int = 0,
    progress: Progress = None,
    **calibration: int,
) -> Model:
    """A model of 8- or 4-bit weights, made from a float one, which stays as it is. No training; the same model comes out on every machine.

    weight_group: inputs that share a scale, 0 the whole row, -1 automatic. weight_method: "auto", "round", "mse" or "gptq". activation_mode: "auto", "static",
    "static_per_step", "dynamic_per_token" or "none". observer: "minmax", "percentile" or "mse", for static ranges. balance_channels: move outliers into the
    weights. error_budget_db: raise the worst layers' bits until the output has so many dB of SQNR. rules: dicts of pattern, weight_bits, weight_group and
    activation_bits, for the layers whose name matches; what a rule does not mention is as above. calibration: calibration_steps, calibration_total_steps, calibration_samples, calibration_seed.
    """
    call = Call(Meter(progress))
    options = api.default(api.QuantizeOptions, api.lib.ditq_quantize_options_init)
    options.weight_bits, options.weight_group, options.weight_method = weight_bits, weight_group, api.number(api.WeightMethod, weight_method)
    options.activation_bits, options.activation_mode = activation_bits, api.number(api.ActivationMode, activation_mode)
    options.observer, options.balance_channels = api.number(api.Observer, observer), balance_channels
    options.error_budget_db, options.threads, options.progress = error_budget_db, threads, call.hook
    options.rules, options.rule_count = api.rules(rules), len(rules)
    for name, value in calibration.items():
        if not name.startswith("calibration_") or not hasattr(options, name):
            raise TypeError(f"quantize() got an unexpected keyword argument {name!r}")
        setattr(options, name, value)
    return Model._made(call(api.created, api.lib.ditq_quantize, model._handle, options), model)
