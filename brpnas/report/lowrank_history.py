"""What the folder of a search for low-rank versions tells, read back: the noun LowRankHistory."""

from __future__ import annotations

import graphlib
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.errors import DAMAGE, UserError
from brpnas.report.expected import Round, read_rounds
from brpnas.report.fronts import unbeaten

__all__ = ["LowRankHistory", "Version", "choices_of", "read_lowrank_history"]

_FIGURES = ("macs", "params", "latency_ms", "accuracy_pct", "agreement_pct")
_OBJECTIVES = ("log_likelihood", "fidelity")


@dataclass(frozen=True)
class Version:
    """A finished version of the network.

    Attributes:
        figures: its metrics by name; NaN where unknown.
        arch: what is in the layers' places, as text.
        recipe: where its recipe was written.
        step: its row in the trace, from 0.
    """

    figures: dict[str, float]
    arch: str
    recipe: str
    step: int

    @property
    def choices(self) -> dict[str, str]:
        """What is in the place of the layers that are replaced, by name."""
        return choices_of(self.arch)


@dataclass(frozen=True, eq=False)
class LowRankHistory:
    """A search for a front as its run folder tells it.

    Attributes:
        record: the content of ``run.json``.
        trace: the content of ``trace.parquet``.
        cost: column that was kept low.
        objective: column that was maximised.
        original: metrics of the network as it is; None if the search is not finished.
        front: the finished versions, the dearest first: what was kept of the versions that no
            other one beats; empty if the search is not finished.
        layers: all that some evaluated version replaces, in the network's order.
    """

    record: dict[str, Any]
    trace: pd.DataFrame
    cost: str
    objective: str
    original: dict[str, float] | None
    front: tuple[Version, ...]
    layers: tuple[str, ...]

    def values(self, column: str) -> NDArray[np.float64]:
        """Return a metric of every evaluated version, shape (versions,); NaN where missing."""
        return self.trace[column].to_numpy(np.float64)

    @property
    def whole(self) -> float:
        """The cost of the network as it is, in the cost's unit; NaN if not known."""
        return math.nan if self.original is None else self.original[self.cost]

    def rounds(self) -> list[Round]:
        """Return the rounds in which the strategy expected something."""
        values = self.values(self.objective)
        return read_rounds(self.trace, values, np.isfinite(values))

    def unbeaten(self) -> NDArray[np.int64]:
        """Return the rows of the evaluated versions that no other one beats, the dearest first."""
        return unbeaten(self.values(self.cost), self.values(self.objective))[::-1]


def read_lowrank_history(folder: Path) -> LowRankHistory:
    """Read a run folder of ``brpnas search --space lowrank``.

    Raises:
        UserError: no such files, or of something else.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        # Read once: pandas opens a path several times, and a running search replaces the file.
        trace = pd.read_parquet(io.BytesIO((folder / "trace.parquet").read_bytes()))
        cost = str(record["arguments"]["cost"])
        objective = next((name for name in _OBJECTIVES if name in trace), _OBJECTIVES[-1])
        wanted = {cost, objective, "agreement_pct", "arch", "origin", "iteration", "error"}
        missing = wanted - {*trace.columns}
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))} in trace.parquet")
        trace = trace.astype(dict.fromkeys((cost, objective, "agreement_pct"), np.float64))
        result = record["result"]
        history = LowRankHistory(
            record,
            trace,
            cost,
            objective,
            None if result is None else _figures(result["baseline"]),
            () if result is None else tuple(_version(one, trace) for one in result["front"]),
            _layers(trace),
        )
        if result is not None and not (history.whole > 0 and history.front):
            raise ValueError("the result in run.json is of no front")
    except (OSError, *DAMAGE) as error:
        raise UserError(
            f"{folder}: not the run folder of a search with --space lowrank ({error})"
        ) from None
    return history


def _figures(known: dict[str, Any]) -> dict[str, float]:
    missing = math.nan
    return {name: missing if known.get(name) is None else float(known[name]) for name in _FIGURES}


def _version(one: dict[str, Any], trace: pd.DataFrame) -> Version:
    step = int(one["step"])
    return Version(_figures(one), str(trace["arch"].iloc[step]), str(one["recipe"]), step)


def _layers(trace: pd.DataFrame) -> tuple[str, ...]:
    """Merge the orders of layers of all versions, each of which names those that it replaces."""
    order: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for arch in trace["arch"]:
        before: list[str] = []
        for name in choices_of(arch):
            order.add(name, *before)
            before = [name]
    order.prepare()
    layers: list[str] = []
    ready: list[str] = []
    while order.is_active():
        ready += order.get_ready()
        layers.append(min(ready, key=_numbered))  # what no version orders goes by name
        ready.remove(layers[-1])
        order.done(layers[-1])
    return tuple(layers)


def _numbered(name: str) -> list[str | int]:
    """Return a key that puts ``layer.2`` before ``layer.10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def choices_of(arch: str) -> dict[str, str]:
    """Return what is in the place of each layer that a network's text names.

    Raises:
        ValueError: not such a text.
    """
    if arch == "dense":
        return {}
    parts = [part.rpartition("=") for part in arch.split(" ")]
    if not all(name for name, _, _ in parts):
        raise ValueError(f"'{arch[:60]}' in trace.parquet is no network")
    return {name: choice for name, _, choice in parts}
