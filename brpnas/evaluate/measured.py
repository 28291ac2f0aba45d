"""What a network costs, timed on a device during the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.store import ModelRecord, Store
from brpnas.devices.sweep import Sweep, describe_series
from brpnas.devices.tflite.sources import ModelSource
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.executors import Executor
from brpnas.spaces import Architecture

__all__ = ["LATENCIES", "MeasuringEvaluator"]

A = TypeVar("A", bound=Architecture)

LATENCIES = ("latency_ms", "latency_ms_min", "latency_ms_std", "latency_ms_wall_median")
"""The metrics of every device that is measured."""


class MeasuringEvaluator(Evaluator[A]):
    """Converts each network that is asked for and times it, all of one request in turns.

    Args:
        device: connected.
        folder: keeps the store of what was measured: a network is not timed again after a kill.
        executor: converts the networks.
        source: makes the model of a network.
        say: called with lines for people, such as what is waited for.
    """

    def __init__(
        self,
        device: LiteRTDevice,
        folder: Path,
        executor: Executor,
        source: Callable[[A], ModelSource],
        say: Callable[[str], None],
    ) -> None:
        self.metrics = LATENCIES
        self._device = device
        self._folder = folder
        self._executor = executor
        self._source = source
        self._say = say

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the latencies of each network, in order; a failed measurement gives NaN.

        Raises:
            UserError: the device is lost for good, or not fit to be measured on.
        """
        sources = [self._source(arch) for arch in archs]
        with Store(self._folder / "measurements.sqlite") as store:
            series = store.series(describe_series(self._device))
            models = self._folder / "models"
            Sweep(self._device, store, series, self._executor, models, self._say).run(sources)
            records = [store.record(series, source.key) for source in sources]
            # What was told is not told anew, so all are compared with the same rounds: as many as
            # there are whenever anything is told.
            usual = self._device.usual(store.first_rounds(series, self._device.plan.rounds))
        for record in records:
            yield self._evaluation(record, usual)

    def _evaluation(self, record: ModelRecord | None, usual: float | None) -> Evaluation:
        if record is None or record.error is not None:
            missing = dict.fromkeys(self.metrics, float("nan"))
            return Evaluation(missing, record.error if record else "was not measured")
        rounds = [record.rounds[number] for number in sorted(record.rounds)]
        columns = self._device.summarise(rounds[: self._device.plan.rounds], usual)
        return Evaluation({name: columns[name] for name in self.metrics})
