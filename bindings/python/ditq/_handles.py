"""Handles: what the library made, closed once, by close(), by `with`, or when nobody holds it. Threads of the library do not survive a fork."""
from __future__ import annotations

import os
import weakref
from typing import Any, Callable, TypeVar

SelfType = TypeVar("SelfType", bound="Handle")


class Handle:
    """The owner of a pointer of the library's."""

    def _own(self, pointer: int, destroy: Callable[[int], Any]) -> None:
        self._pointer = pointer
        self._finalizer = weakref.finalize(self, destroy, pointer)

    @property
    def _handle(self) -> int:
        if not self._finalizer.alive:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._pointer

    def close(self) -> None:
        """Gives back what the library holds for this object. Closing twice is allowed; `with` and garbage collection close too."""
        self._finalizer()

    def __enter__(self: SelfType) -> SelfType:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_told_of_forks: weakref.WeakSet[Any] = weakref.WeakSet()


def tell_of_forks(holder: Any) -> None:
    """In a child made by os.fork, holder._forked() is called before anything else runs."""
    _told_of_forks.add(holder)


def _after_fork() -> None:
    for holder in list(_told_of_forks):
        holder._forked()


os.register_at_fork(after_in_child=_after_fork)
