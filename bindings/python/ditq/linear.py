"""The GEMM by itself."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Union

from . import _ctypes as api
from ._handles import Handle, tell_of_forks
from .session import floats

if TYPE_CHECKING:
    import numpy


class Linear(Handle):
    """A weight matrix [outputs, inputs], as a torch Linear holds it, quantized and packed for this CPU. Immutable, threads may share it.

    weight_bits: 8, 4 or 32 (float). weight_group: inputs that share a scale, 0 the whole row. weight_method: "round" or "mse".
    activation_range: (least, greatest) value of x; without it each row of x is quantized by its own range.
    """

    def __init__(
        self,
        weights: Any,
        bias: Any = None,
        *,
        weight_bits: int = 8,
        weight_group: int = 0,
        weight_method: Union[str, int] = "auto",
        activation_range: Optional[tuple[float, float]] = None,
        isa: Union[str, int] = "best",
    ):
        weights = floats(weights, None, None)
        self.outputs, self.inputs = weights.shape
        bias = None if bias is None else floats(bias, self.outputs)
        options = api.LinearOptions(weight_bits=weight_bits, weight_group=weight_group, isa_limit=api.number(api.Isa, isa))
        options.weight_method = api.number(api.WeightMethod, weight_method)
        if activation_range is not None:
            options.activation_mode = api.ActivationMode.STATIC
            options.activation_min, options.activation_max = activation_range
        pointers = weights.ctypes.data, None if bias is None else bias.ctypes.data
        self._own(api.created(api.lib.ditq_linear_create, *pointers, self.outputs, self.inputs, options), api.lib.ditq_linear_destroy)
        self._lost = False
        tell_of_forks(self)

    def _forked(self) -> None:
        self._lost = self._finalizer.detach() is not None

    def __call__(self, x: Any, *, threads: int = 0) -> numpy.ndarray:
        """x [rows, inputs] → float32 [rows, outputs]."""
        import numpy

        if self._lost:
            raise RuntimeError("this Linear was made before os.fork, and its threads are not in this process: make it here")
        x = floats(x, None, self.inputs)
        y = numpy.empty((len(x), self.outputs), numpy.float32)
        api.call(api.lib.ditq_linear_apply, self._handle, x.ctypes.data, len(x), y.ctypes.data, threads)
        return y
