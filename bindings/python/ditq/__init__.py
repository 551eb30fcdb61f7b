"""Diffusion Transformers (DiT) on any CPU, quantized.

    import ditq

    model = ditq.Model("emoji.ditq")
    model.generate("red apple", seed=7).save("apple.png")

Models open .ditq, safetensors and torch files and diffusers directories. The same model, labels, seeds and options give the same bytes everywhere.
Ctrl-C ends a call and leaves everything usable. Errors are `ditq.Error`, with a class for each status of the library. numpy is needed for arrays alone:
latents, `.numpy()` and `Linear`.
"""
from ._ctypes import ActivationMode, Compatibility, Isa, Observer, Random, Sampler, WeightMethod, lib
from ._native import ModelInfo
from .errors import (
    Cancelled, ChecksumMismatch, Error, Internal, InvalidArgument, IOFailed, Malformed, NotFound, OutOfMemory, Unsupported,
)  # fmt: skip
from .image import Image, Images
from .linear import Linear
from .model import Model, quantize
from .report import Report, compare
from .session import Run, Session

__version__ = lib.ditq_version().decode()
__all__ = [
    "ActivationMode", "Cancelled", "ChecksumMismatch", "Compatibility", "Error", "Image", "Images", "Internal", "InvalidArgument", "IOFailed", "Isa",
    "Linear", "Malformed", "Model", "ModelInfo", "NotFound", "Observer", "OutOfMemory", "Random", "Report", "Run", "Sampler", "Session", "Unsupported",
    "WeightMethod", "compare", "quantize",
]  # fmt: skip
