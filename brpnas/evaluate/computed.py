"""What a network costs, computed during the search by mapping it to an FPGA."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from brpnas.devices.fpga.device import FPGADevice, Mapper
from brpnas.devices.fpga.sources import NetworkSource
from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.executors import Executor, Outcome
from brpnas.spaces import Architecture

__all__ = ["COMPUTED", "ComputingEvaluator"]

A = TypeVar("A", bound=Architecture)

COMPUTED = ("latency_ms",)
"""The metrics of devices that are computed."""


class ComputingEvaluator(Evaluator[A]):
    """Maps each network that is asked for; those that run alike once.

    Args:
        device: the board.
        executor: maps them.
        source: reads a network.
        kept: a file that what was found is added to, and read from; its folder is made if need be.
    """

    def __init__(
        self,
        device: FPGADevice,
        executor: Executor,
        source: Callable[[A], NetworkSource],
        kept: Path | None = None,
    ) -> None:
        self.metrics = COMPUTED
        self._map = Mapper(device)
        self._executor = executor
        self._source = source
        self._device = json.dumps(device.identity(), sort_keys=True)
        self._kept = kept
        self._known = {} if kept is None else self._read(kept)

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the latency of each network, in order; one that does not fit has NaN."""
        sources = [self._source(arch) for arch in archs]
        new = {source.key: source for source in sources if source.key not in self._known}
        outcomes = zip(new, self._executor.run(self._map, list(new.values())), strict=True)
        for source in sources:
            while source.key not in self._known:
                key, outcome = next(outcomes)
                self._known[key] = self._evaluation(outcome)
                self._keep(key)
            yield self._known[source.key]

    def _read(self, path: Path) -> dict[str, Evaluation]:
        """Read what was kept for this device; a line that a kill cut off is none."""
        found = {}
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                metrics = {name: float(row[name]) for name in self.metrics}
                if row["device"] == self._device and all(map(math.isfinite, metrics.values())):
                    found[str(row["key"])] = Evaluation(metrics)
        return found

    def _keep(self, key: str) -> None:
        """Add what is known of a network to the file; what failed is tried again next time."""
        if self._kept is None or self._known[key].error:
            return
        row = {"key": key, "device": self._device, **self._known[key].metrics}
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with self._kept.open("a") as file:
                file.write(f"\n{json.dumps(row)}")  # first: the line before may have been cut off
        except OSError as error:
            raise UserError(f"{self._kept}: cannot be written ({error.strerror})") from None

    def _evaluation(self, outcome: Outcome[dict[str, float] | str]) -> Evaluation:
        columns = outcome.value
        if not isinstance(columns, dict):
            missing = dict.fromkeys(self.metrics, float("nan"))
            return Evaluation(missing, columns or outcome.error)
        return Evaluation({name: columns[name] for name in self.metrics})
