"""Long calls: Ctrl-C ends them, and a progress hook is told how far they are.

Python runs signal handlers on the main thread, between two of its own instructions, so a main thread inside the library would hear of Ctrl-C when the
work is done. Therefore the work runs in a thread of its own, which reports through a queue, and the caller waits for the queue. The hook is called on
the caller's thread; what it raises ends the call, as Ctrl-C does.
"""
from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any, Callable, Optional

from . import _ctypes as api

Progress = Any
"""None, or a callable (done, total); or a class such as tqdm, made with total=…, then told update(n) and close(); or such a bar."""


class Meter:
    """Turns what the library reports, phase by phase, into what a progress hook is told: a bar a phase. `phase`: that one alone."""

    def __init__(self, progress: Progress, phase: Optional[int] = None):
        self._progress, self._phase = progress, phase
        self._stage: Optional[int] = None
        self._bar: Any = None
        self._shown = 0

    def report(self, phase: int, done: int, total: int) -> None:
        if self._progress is None or self._phase not in (None, phase):
            return
        if phase != self._stage:
            self.close()
            self._stage = phase
        self._show(done, total)

    def _show(self, done: int, total: int) -> None:
        if isinstance(self._progress, type) or hasattr(self._progress, "update"):
            if self._bar is None:
                self._bar = self._progress(total=total) if isinstance(self._progress, type) else self._progress
                self._bar.total, self._shown = total, 0
            self._bar.update(done - self._shown)
            self._shown = done
        else:
            self._progress(done, total)

    def close(self) -> None:
        """Closes the bar, if there is one that was made here."""
        if self._bar is not None and self._bar is not self._progress:
            self._bar.close()
        self._bar = None


class Call:
    """One call of the library in a thread of its own. `hook` is the ditq_progress_callback to give it; `cancel` may ask it to end sooner than the hook does."""

    def __init__(self, meter: Optional[Meter] = None, cancel: Callable[[], None] = lambda: None):
        self._meter, self._cancel = meter, cancel
        reports: queue.SimpleQueue[Optional[tuple[int, int, int]]] = queue.SimpleQueue()
        stopped = threading.Event()

        def hook(_: object, pointer: Any) -> int:
            progress = pointer.contents
            reports.put((progress.phase, progress.done, progress.total))
            return stopped.is_set()

        self._reports, self._stopped = reports, stopped
        self.hook = api.PROGRESS_CALLBACK(hook)  # it holds no `self`: a session is to go when nobody holds it, without the garbage collector

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """work(*arguments): its result, or what it raised."""
        outcome: list[Any] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                outcome.append(work(*arguments))
            except BaseException as raised:
                failure.append(raised)
            self._reports.put(None)

        thread = threading.Thread(target=run, name="ditq")
        try:
            thread.start()
            while (report := self._reports.get()) is not None:
                if self._meter:
                    self._meter.report(*report)
        except BaseException:
            self._stop(thread)
            raise
        finally:
            if self._meter:
                self._meter.close()
        if failure:
            raise failure.pop()
        return outcome.pop()

    def _stop(self, thread: threading.Thread) -> None:
        """Waits for the end, which is near: whoever presses Ctrl-C again waits too, since the work still writes into memory of ours."""
        self._stopped.set()
        while thread.is_alive():
            with contextlib.suppress(KeyboardInterrupt):
                self._cancel()
                thread.join(0.02)
