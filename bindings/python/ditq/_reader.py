"""A ditq_reader over a binary file object: what it raises while the library reads is raised again by the call."""
from __future__ import annotations

import ctypes
import io
from typing import Any, Optional

from . import _ctypes as api


class FileReader:
    """The bytes of a binary file that can seek, from its beginning to its end."""

    def __init__(self, file: Any):
        self.raised: Optional[BaseException] = None

        def read(_: object, offset: int, buffer: int, count: int) -> int:
            try:
                file.seek(offset)
                room = memoryview((ctypes.c_char * count).from_address(buffer)).cast("B")
                while room:
                    piece = file.read(len(room))
                    if not piece:
                        raise EOFError(f"{count} bytes expected at byte {offset}, the file ends before")
                    room[: len(piece)] = piece
                    room = room[len(piece) :]
                return 0
            except BaseException as raised:
                self.raised = raised
                return 1

        self.struct = api.Reader(size=file.seek(0, io.SEEK_END), read=api.READ(read))

    def __call__(self, options: api.ModelOptions) -> int:
        """The handle of the model that the bytes hold."""
        try:
            return api.created(api.lib.ditq_model_open_reader, self.struct, options)
        except Exception:
            if self.raised is not None:
                raise self.raised
            raise
