"""Pictures: pixels as the library wrote them, which numpy looks at without a copy and notebooks show."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Union, overload

from . import _ctypes as api
from ._text import shown

if TYPE_CHECKING:
    import numpy

GAP = 2  # white pixels between the pictures of a grid


class Image:
    """Pixels [height, width, channels], 0 … 255; channels is 1 (grey), 3 (RGB) or 4 (RGBA). A notebook shows it; numpy.asarray takes it.

    `texts` go into the PNG file: how the picture was made.
    """

    def __init__(self, pixels: Any, height: int, width: int, channels: int, texts: Mapping[str, str] = {}):
        self.height, self.width, self.channels, self.texts = height, width, channels, dict(texts)
        self._pixels = pixels if isinstance(pixels, memoryview) else memoryview(pixels).cast("B")
        if self._pixels.nbytes != height * width * channels:
            raise ValueError(f"{height}×{width}×{channels} bytes expected, {self._pixels.nbytes} found")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self.shape, "typestr": "|u1", "data": self._pixels}

    def numpy(self) -> numpy.ndarray:
        """The pixels as uint8 [height, width, channels]: the same memory, not a copy."""
        import numpy

        return numpy.frombuffer(self._pixels, numpy.uint8).reshape(self.shape)

    def tobytes(self) -> bytes:
        """The pixels, row by row."""
        return self._pixels.tobytes()

    def __reduce__(self) -> Any:
        return Image, (self.tobytes(), *self.shape, self.texts)

    def _png_arguments(self) -> tuple[Any, ...]:
        return api.readable(self._pixels), self.width, self.height, self.channels, api.png_texts(self.texts), len(self.texts)

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        return api.bytes_of(api.lib.ditq_png_encode, *self._png_arguments())

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes a PNG file, whole or not at all. Raises `IOFailed`."""
        api.call(api.lib.ditq_png_write, api.path(path), *self._png_arguments())

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        return f"<ditq.Image {self.width}×{self.height}×{self.channels}{''.join(f', {shown(key)}: {shown(text)}' for key, text in self.texts.items())}>"


class Images(Sequence[Image]):
    """The pictures of one call, one after another in memory. A notebook shows them as a grid."""

    def __init__(self, pixels: Any, height: int, width: int, channels: int, texts: Sequence[Mapping[str, str]]):
        self._pixels = memoryview(pixels).cast("B")
        self._shape = len(texts), height, width, channels
        size = height * width * channels
        self._images = [Image(self._pixels[i * size : (i + 1) * size], height, width, channels, text) for i, text in enumerate(texts)]

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[Image, list[Image]]:
        return self._images[index]

    def __reduce__(self) -> Any:
        return Images, (self._pixels.tobytes(), *self._shape[1:], [image.texts for image in self])

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self._shape, "typestr": "|u1", "data": self._pixels}

    def numpy(self) -> numpy.ndarray:
        """All pixels as uint8 [count, height, width, channels]: the same memory, not a copy."""
        import numpy

        return numpy.frombuffer(self._pixels, numpy.uint8).reshape(self._shape)

    def grid(self) -> Image:
        """All of them in one picture, as square as possible, white between and around them."""
        count, height, width, channels = self._shape
        columns = next(n for n in range(1, count + 2) if n * n >= count)
        rows = -(-count // columns)
        sheet_height, sheet_width = rows * (height + GAP) + GAP, columns * (width + GAP) + GAP
        sheet, length = bytearray(b"\xff" * (sheet_height * sheet_width * channels)), width * channels
        for index, image in enumerate(self._images):
            for row in range(height):
                y, x = index // columns * (height + GAP) + GAP + row, index % columns * (width + GAP) + GAP
                at = (y * sheet_width + x) * channels
                sheet[at : at + length] = image._pixels[row * length : (row + 1) * length]
        return Image(sheet, sheet_height, sheet_width, channels)

    def _repr_png_(self) -> bytes:
        return self.grid().png()

    def __repr__(self) -> str:
        return f"<ditq.Images: {len(self)} of {self._shape[2]}×{self._shape[1]}×{self._shape[3]}>"
