"""What a network costs, computed during the search by mapping it to an FPGA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from brpnas.devices.fpga.device import FPGADevice, Mapper
from brpnas.devices.fpga.sources import NetworkSource
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
    """

    def __init__(
        self, device: FPGADevice, executor: Executor, source: Callable[[A], NetworkSource]
    ) -> None:
        self.metrics = COMPUTED
        self._map = Mapper(device)
        self._executor = executor
        self._source = source
        self._known: dict[str, Evaluation] = {}

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the latency of each network, in order; one that does not fit has NaN."""
        sources = [self._source(arch) for arch in archs]
        new = {source.key: source for source in sources if source.key not in self._known}
        outcomes = zip(new, self._executor.run(self._map, list(new.values())), strict=True)
        for source in sources:
            while source.key not in self._known:
                key, outcome = next(outcomes)
                self._known[key] = self._evaluation(outcome)
            yield self._known[source.key]

    def _evaluation(self, outcome: Outcome[dict[str, float] | str]) -> Evaluation:
        columns = outcome.value
        if not isinstance(columns, dict):
            missing = dict.fromkeys(self.metrics, float("nan"))
            return Evaluation(missing, columns or outcome.error)
        return Evaluation({name: columns[name] for name in self.metrics})
