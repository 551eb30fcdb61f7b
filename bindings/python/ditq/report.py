"""What quantizing cost: one model measured against another."""
from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Union, overload

from . import _ctypes as api
from ._calls import Call, Meter, Progress
from .model import Model

if TYPE_CHECKING:
    import pandas


class Report(Sequence[dict[str, Any]]):
    """A table of dicts, a row for each layer and step: pandas.DataFrame(report) takes it as it is.

    `sqnr_db` is that of the predicted noise over all steps together, `by_step` that of each.
    """

    def __init__(self, text: str, table: str):
        self._table = table
        self._rows = [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(io.StringIO(table))]
        self.json: dict[str, Any] = json.loads(text)
        self.sqnr_db: float = self.json["sqnr_db"]
        self.by_step: list[float] = self.json["sqnr_db_by_step"]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[dict[str, Any], list[dict[str, Any]]]:
        return self._rows[index]

    def __repr__(self) -> str:
        return f"<ditq.Report: {self.sqnr_db:.1f} dB, {len(self)} rows>"

    def csv(self) -> str:
        """The table as CSV."""
        return self._table

    def pandas(self) -> pandas.DataFrame:
        """The table as a DataFrame; needs pandas."""
        import pandas

        return pandas.DataFrame(self._rows)


def _value(cell: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell or None


def compare(
    reference: Model,
    model: Model,
    *,
    steps: int = 50,
    samples: int = 8,
    seed: int = 0,
    free_running: bool = False,
    threads: int = 0,
    progress: Progress = None,
) -> Report:
    """Runs both models on the same noise and measures the second against the first: SQNR = 10·log10(Σ ref² / Σ (ref − out)²), in dB.

    samples: images. free_running: each model follows its own latents; else both are fed the reference's at each step, so that steps can be judged one by one.
    """
    call = Call(Meter(progress))
    options = api.CompareOptions(steps=steps, samples=samples, seed=seed, free_running=free_running, threads=threads, progress=call.hook)
    pointer = call(api.created, api.lib.ditq_compare, reference._handle, model._handle, options)
    try:
        return Report(api.lib.ditq_report_json(pointer).decode("utf-8"), api.lib.ditq_report_csv(pointer).decode("utf-8"))
    finally:
        api.lib.ditq_report_destroy(pointer)
