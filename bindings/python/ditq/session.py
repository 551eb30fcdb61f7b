"""Sessions, which do the work, and runs, which hold a denoising under way. Latents are numpy arrays; pixels need no numpy."""
from __future__ import annotations

import contextlib
import numbers
import threading
from typing import TYPE_CHECKING, Any, Iterator, Optional, Sequence, Union, overload

from . import _ctypes as api
from ._calls import Call, Meter, Progress
from ._handles import Handle, tell_of_forks
from ._native import Label, Native
from ._text import decimal, shown
from .image import Image, Images

if TYPE_CHECKING:
    import numpy

    from .model import Model

Seeds = Union[int, Sequence[int]]
"""One for each image, or that of the first: the others take the next numbers."""


def sampling_options(
    model: Native,
    *,
    steps: Optional[int] = None,
    sampler: Union[str, int] = "auto",
    guidance_scale: Optional[float] = None,
    guidance_begin: Optional[float] = None,
    guidance_end: Optional[float] = None,
    guidance_channels: Optional[int] = None,
    eta: Optional[float] = None,
    random: Union[str, int] = "torch",
) -> Any:
    """How to sample, as a ditq_generate_options; None is the library's default.

    steps: denoising steps (50). sampler: "auto", as the model says, or another of ditq.Sampler. guidance_scale: classifier-free guidance (4, or 1
    where the model has no "no class"), 1 is none, and half the work. guidance_begin, guidance_end: guide only in this part of the run, 0 … 1. guidance_channels: how many channels are guided.
    eta: noise that DDIM adds, 0 … 1 (0). random: "torch", the numbers of torch.manual_seed, or "philox".
    """
    options = api.default(api.GenerateOptions, api.lib.ditq_generate_options_init)
    options.sampler, options.random = api.number(api.Sampler, sampler), api.number(api.Random, random)
    given = dict(
        steps=steps, guidance_scale=guidance_scale, guidance_begin=guidance_begin, guidance_end=guidance_end, guidance_channels=guidance_channels, eta=eta
    )
    if guidance_scale is None and not model.has_null_class:
        given["guidance_scale"] = 1
    for name, value in given.items():
        if value is not None:
            setattr(options, name, value)
    return options


def seeds_of(seed: Seeds, count: int) -> list[int]:
    seeds = [int(seed) + i for i in range(count)] if isinstance(seed, (int, numbers.Integral)) else list(seed)
    if len(seeds) != count:
        raise ValueError(f"{count} seeds expected, {len(seeds)} found")
    return seeds


def floats(values: Any, *shape: Optional[int]) -> numpy.ndarray:
    """float32 in row-major order: the array itself where it is so already. A None of the shape may be any number."""
    import numpy

    array = numpy.ascontiguousarray(values, numpy.float32)
    if len(array.shape) != len(shape) or any(want not in (None, found) for want, found in zip(shape, array.shape)):
        raise ValueError(f"shape {[want or 'any' for want in shape]} expected, {list(array.shape)} found")
    return array


class Session(Handle):
    """A model's working memory and threads. Several Python threads may share one: their calls take turns, with the GIL released.

    threads: 0 is every core. batch_limit: images denoised together. isa: "best", or use nothing better than "generic", "avx2" or "avx512vnni".
    In a child of os.fork, where the threads are not, the session is made anew on its first call.
    """

    def __init__(self, model: Model, *, threads: int = 0, batch_limit: int = 1, isa: Union[str, int] = "best"):
        self.model = model
        self._options = api.SessionOptions(threads=threads, batch_limit=batch_limit, isa_limit=api.number(api.Isa, isa))
        _ = model._handle  # a closed model says so itself
        self._native: Native = model._native
        self._lock, self._caller = threading.Lock(), 0
        self._life = threading.RLock()  # held while the handle is used outside of a turn, and while it goes
        self._lost = False
        self._open()
        tell_of_forks(self)

    def _open(self) -> None:
        self._own(api.created(api.lib.ditq_session_create, self._native.pointer, self._options), api.lib.ditq_session_destroy)

    def _forked(self) -> None:
        self._lock, self._caller, self._life = threading.Lock(), 0, threading.RLock()
        self._lost = self._finalizer.detach() is not None

    @property
    def _handle(self) -> int:
        if self._lost:
            self._lost = False
            self._open()
        return super()._handle

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One call at a time; others wait, but for a progress hook of the call itself, which would wait for ever."""
        if self._caller == threading.get_ident():
            raise RuntimeError("this session is busy with the call that this hook belongs to; only cancel() may be called here")
        with self._lock:
            self._caller = threading.get_ident()
            try:
                yield
            finally:
                self._caller = 0

    @property
    def batch_limit(self) -> int:
        return int(self._options.batch_limit)

    def close(self) -> None:
        """Gives threads and memory back, once a call in progress has ended."""
        with self._turn(), self._life:
            super().close()

    def cancel(self) -> None:
        """Asks the call in progress, in another thread, to end soon: it raises `Cancelled`. Does nothing on an idle session."""
        with self._life:
            api.lib.ditq_session_cancel(self._handle)

    def json(self) -> dict[str, Any]:
        """What really runs: instruction set, threads, bytes, step times of the last call."""
        with self._turn():
            return api.described(api.lib.ditq_session_describe_json, self._handle)

    def _call(self, function: Any, *arguments: Any, call: Optional[Call] = None) -> None:
        with self._turn():
            (call or Call(cancel=self.cancel))(api.call, function, self._handle, *arguments)

    def _sample(
        self, function: Any, output: Any, size: int, labels: list[int], seeds: list[int], noise: Any, progress: Progress, options: Any
    ) -> None:
        count = len(labels)
        if noise is not None:
            noise = floats(noise, count, *self.model.latent_shape)
            options.noise = noise.ctypes.data
        call = Call(Meter(progress, api.Phase.DENOISE), self.cancel)
        options.progress = call.hook
        self._call(function, api.int32s(labels), api.uint64s(seeds), count, options, output, size, call=call)

    @overload
    def generate(self, labels: Label, *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any) -> Image: ...

    @overload
    def generate(self, labels: Sequence[Label], *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any) -> Images: ...

    def generate(self, labels: Any, *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any) -> Union[Image, Images]:
        """An `Image` of a label, or `Images` of a list of them: the same model, labels, seeds and options give the same bytes everywhere.

        noise: latents [count, channels, height, width] to start from, instead of the seeds. progress: told (done, total) denoising steps, or tqdm.
        Everything else: `sampling_options`.
        """
        options = sampling_options(self._native, **sampling)
        indices, single = self._native.labels(labels)
        seeds = seeds_of(seed, len(indices))
        shape = self.model.image_shape
        pixels = bytearray(len(indices) * shape[0] * shape[1] * shape[2])
        self._sample(api.lib.ditq_generate, api.writable(pixels), len(pixels), indices, seeds, noise, progress, options)
        images = Images(pixels, *shape, [self._texts(label, seed, options) for label, seed in zip(indices, seeds)])
        return images[0] if single else images

    def _texts(self, label: int, seed: int, options: Any) -> dict[str, str]:
        """How a picture was made, and all that it takes to make it again, as gen_png says it. What is not said is the library's default."""
        name = "no class" if label == self._native.info.class_count else self._native.class_name(label) or f"class {label}"
        recorded, compatibility = self._native.facts
        texts = {"Software": f"libditq {api.lib.ditq_version().decode()}", "Model": shown(self._native.name), "Compatibility": compatibility}
        texts |= {"Class": shown(name), "Label": str(label), "Seed": str(seed), "Steps": str(options.steps), "Guidance": decimal(options.guidance_scale)}
        texts |= {"Sampler": api.Sampler(options.sampler).name.lower() if options.sampler else recorded, "Random": api.Random(options.random).name.lower()}
        if options.eta > 0:
            texts["Eta"] = decimal(options.eta)
        if options.guidance_begin > 0 or options.guidance_end < 1:
            texts["Guidance interval"] = f"{decimal(options.guidance_begin)} to {decimal(options.guidance_end)}"
        if options.guidance_channels:
            texts["Guidance channels"] = str(options.guidance_channels)
        return texts | ({"Noise": "given"} if options.noise else {}) | self._native.opening

    def denoise(
        self, labels: Union[Label, Sequence[Label]], *, seed: Seeds = 0, noise: Any = None, progress: Progress = None, **sampling: Any
    ) -> numpy.ndarray:
        """Like `generate`, stopping before the decoder: float32 latents [count, channels, height, width], scaled as the transformer sees them."""
        import numpy

        indices, _ = self._native.labels(labels)
        latents = numpy.empty((len(indices), *self.model.latent_shape), numpy.float32)
        options, seeds = sampling_options(self._native, **sampling), seeds_of(seed, len(indices))
        self._sample(api.lib.ditq_denoise, latents.ctypes.data, latents.nbytes, indices, seeds, noise, progress, options)
        return latents

    def decode(self, latents: Any) -> Images:
        """Latents [count, channels, height, width] to pictures: the VAE decoder where the model has one, else clamping to 0 … 255."""
        latents = floats(latents, None, *self.model.latent_shape)
        count, shape = len(latents), self.model.image_shape
        pixels = bytearray(count * shape[0] * shape[1] * shape[2])
        self._call(api.lib.ditq_decode, latents.ctypes.data, count, api.writable(pixels), len(pixels))
        return Images(pixels, *shape, [{}] * count)

    def decode_float(self, latents: Any) -> numpy.ndarray:
        """The same before rounding: float32 [count, height, width, channels], 0 … 1 nominally and not clamped."""
        import numpy

        latents = floats(latents, None, *self.model.latent_shape)
        values = numpy.empty((len(latents), *self.model.image_shape), numpy.float32)
        self._call(api.lib.ditq_decode_float, latents.ctypes.data, len(latents), values.ctypes.data, values.nbytes)
        return values

    def predict(self, x: Any, timesteps: Any, labels: Sequence[Label]) -> numpy.ndarray:
        """One call of the transformer, for a sampler of your own. No guidance: pass both halves of a guided batch.

        x [count, channels, height, width], timesteps [count], labels [count] → float32 [count, output channels, height, width], where output channels are
        twice as many for a model with learned variance.
        """
        import numpy

        x, timesteps = floats(x, None, *self.model.latent_shape), floats(timesteps, None)
        indices, _ = self._native.labels(labels)
        if not len(x) == len(timesteps) == len(indices):
            raise ValueError(f"as many timesteps and labels as images expected, {len(timesteps)} and {len(indices)} for {len(x)} found")
        output = numpy.empty((len(x), self._native.info.output_channels, *x.shape[2:]), numpy.float32)
        self._call(api.lib.ditq_predict, x.ctypes.data, timesteps.ctypes.data, api.int32s(indices), len(x), output.ctypes.data, output.nbytes)
        return output


class Run(Handle):
    """A denoising under way, step by step: saved as bytes, resumed later or elsewhere with the same result to the bit. Made by `Model.run` and `Model.restore`."""

    def __init__(self, model: Model, pointer: int):
        self.model = model
        self._own(pointer, api.lib.ditq_run_destroy)
        self.count = int(self.info().count)
        """How many images."""

    def step(self, session: Optional[Session] = None) -> int:
        """Takes one sampling step, on any session of the model; how many are left. A step that was interrupted can be taken again."""
        session = session or self.model.default_session()
        with session._turn():
            return int(Call(cancel=session.cancel)(api.counted, api.lib.ditq_run_step, self._handle, session._handle))

    def save(self) -> bytes:
        """The run as bytes, for `Model.restore`."""
        return api.bytes_of(api.lib.ditq_run_save, self._handle)

    def info(self) -> api.RunInfo:
        """Its sampler, steps, steps_taken and count."""
        info = api.RunInfo()
        api.call(api.lib.ditq_run_describe, self._handle, info)
        return info

    def latents(self) -> numpy.ndarray:
        """The latents as they are, float32 [count, channels, height, width]."""
        return self._copy(guess=False)

    def guess(self) -> numpy.ndarray:
        """The model's present guess of the finished latents, for a preview; zeros before the first step."""
        return self._copy(guess=True)

    def _copy(self, guess: bool) -> numpy.ndarray:
        import numpy

        array = numpy.empty((self.count, *self.model.latent_shape), numpy.float32)
        pointers = (None, array.ctypes.data) if guess else (array.ctypes.data, None)
        api.call(api.lib.ditq_run_latents, self._handle, *pointers, array.nbytes)
        return array
