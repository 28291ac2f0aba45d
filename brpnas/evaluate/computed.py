"""What a network costs, computed during the search by mapping it to an FPGA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from brpnas.devices.fpga.device import FPGADevice
from brpnas.devices.fpga.sources import NetworkSource
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.executors import Executor
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
        self._latency = _Latency(device)
        self._executor = executor
        self._source = source
        self._known: dict[str, Evaluation] = {}

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the latency of each network, in order; one that does not fit has NaN."""
        sources = [self._source(arch) for arch in archs]
        new = {source.key: source for source in sources if source.key not in self._known}
        outcomes = zip(new, self._executor.run(self._latency, list(new.values())), strict=True)
        for source in sources:
            while source.key not in self._known:
                key, outcome = next(outcomes)
                value = float("nan") if outcome.value is None else outcome.value
                self._known[key] = Evaluation(dict.fromkeys(self.metrics, value), outcome.error)
            yield self._known[source.key]


@dataclass(frozen=True)
class _Latency:
    """Maps a network, in a worker."""

    device: FPGADevice

    def __call__(self, source: NetworkSource) -> float:
        return self.device.map(source()).seconds * 1000
