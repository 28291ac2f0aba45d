"""What a run folder tells, read back: the noun SearchHistory."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.errors import DAMAGE, UserError
from brpnas.report.expected import Round, read_rounds

__all__ = ["SearchHistory", "good_range", "read_search_history"]


@dataclass(frozen=True, eq=False)
class SearchHistory:
    """A search as its run folder tells it.

    Attributes:
        record: the content of ``run.json``.
        trace: the content of ``trace.parquet``.
        accuracy: column that was maximised.
        report: column that was reported, if any.
        limits: each limited column with its limit.
    """

    record: dict[str, Any]
    trace: pd.DataFrame
    accuracy: str
    report: str | None
    limits: tuple[tuple[str, float], ...]

    def values(self, column: str) -> NDArray[np.float64]:
        """Return a metric of every evaluated network, shape (networks,); NaN where missing."""
        return self.trace[column].to_numpy(np.float64)

    @property
    def columns(self) -> list[str]:
        """The metrics worth showing: what was maximised, reported and limited, each once."""
        report = [self.report] if self.report else []
        return list(dict.fromkeys([self.accuracy, *report, *dict(self.limits)]))

    def within(self) -> NDArray[np.bool_]:
        """Return which networks have an accuracy and keep every limit, shape (networks,)."""
        kept = np.isfinite(self.values(self.accuracy))
        for column, limit in self.limits:
            kept &= self.values(column) <= limit  # false for NaN
        return kept

    def rounds(self) -> list[Round]:
        """Return the rounds in which the strategy expected something."""
        return read_rounds(self.trace, self.values(self.accuracy), self.within())

    def best_so_far(self) -> NDArray[np.int64]:
        """Return the row of the best network after each evaluation, shape (networks,); -1: none.

        The best is the first with the largest accuracy among those within the limits.
        """
        worth = np.where(self.within(), self.values(self.accuracy), -np.inf)
        rows = np.empty(len(worth), dtype=np.int64)
        best = -1
        for row, value in enumerate(worth):
            if value > (worth[best] if best >= 0 else -np.inf):
                best = row
            rows[row] = best
        return rows


def read_search_history(folder: Path) -> SearchHistory:
    """Read a run folder of ``brpnas search``.

    Raises:
        UserError: no such files, or of something else.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        # Read once: pandas opens a path several times, and a running search replaces the file.
        content = (folder / "trace.parquet").read_bytes()
        trace = pd.read_parquet(io.BytesIO(content))
        asked = record["arguments"]
        limits = zip(asked["latency"] or [], asked["latency_limit"] or [], strict=True)
        history = SearchHistory(
            record,
            trace,
            asked["accuracy"],
            asked["report"],
            tuple((str(column), float(limit)) for column, limit in limits),
        )
        wanted = [history.accuracy, *([history.report] if history.report else [])]
        missing = {*wanted, *dict(history.limits), "arch", "origin", "iteration"} - {*trace.columns}
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))} in trace.parquet")
    except (OSError, *DAMAGE) as error:
        raise UserError(f"{folder}: not the run folder of a search ({error})") from None
    return history


def good_range(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the range of values worth a look; None where it is all of them."""
    known = values[np.isfinite(values)]
    if len(known) < 20:
        return None
    low, middle, high = *np.quantile(known, [0.1, 0.5]), known.max()
    bottom = low - (middle - low)
    if high > low and (known < bottom).any():
        return float(bottom), float(high + 0.05 * (high - bottom))
    return None
