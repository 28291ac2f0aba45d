"""What a network costs, timed on a device during the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from brpnas.devices.sweep import Sweep
from brpnas.devices.tflite.sources import ModelSource
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.spaces import Architecture

__all__ = ["LATENCIES", "MeasuringEvaluator"]

A = TypeVar("A", bound=Architecture)

LATENCIES = ("latency_ms", "latency_ms_min", "latency_ms_std", "latency_ms_wall_median")
"""The metrics of every device that is measured."""


class MeasuringEvaluator(Evaluator[A]):
    """Converts each network that is asked for and times it, all of one request in turns.

    Args:
        sweep: the device, and the store that keeps what was measured: a network is not timed
            again after a kill.
        source: makes the model of a network.
    """

    def __init__(self, sweep: Sweep, source: Callable[[A], ModelSource]) -> None:
        self.metrics = LATENCIES
        self._sweep = sweep
        self._source = source

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the latencies of each network, in order; a failed measurement gives NaN.

        Raises:
            UserError: the device is lost for good, or not fit to be measured on.
        """
        sources = [self._source(arch) for arch in archs]
        self._sweep.run(sources)
        device = self._sweep.device
        for source in sources:
            record = self._sweep.store.record(self._sweep.series, source.key)
            if record is None or record.error is not None:
                missing = dict.fromkeys(self.metrics, float("nan"))
                yield Evaluation(missing, record.error if record else "was not measured")
                continue
            rounds = [record.rounds[number] for number in sorted(record.rounds)]
            columns = device.summarise(rounds[: device.plan.rounds])
            yield Evaluation({name: columns[name] for name in self.metrics})
