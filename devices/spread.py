"""Many models on many machines that are equal: each worker makes its share and times it there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from brpnas.devices.litert import LiteRTDevice, ModelError
from brpnas.devices.store import Series, Store
from brpnas.devices.sweep import Count, SweepResult, missing
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.sources import ModelSource
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError
from brpnas.executors import Executor

__all__ = ["SpreadSweep"]

_SHARE = 32


@dataclass(frozen=True)
class _Share:
    """What one worker does: make models, and time their missing rounds in random order."""

    open: Callable[[TimingPlan], LiteRTDevice]
    plan: TimingPlan
    sources: tuple[ModelSource, ...]
    left: Mapping[str, Sequence[int]]
    seed: int

    def __call__(self) -> _Shared:
        order = random.Random(self.seed)  # noqa: S311 - no secret
        models: dict[str, TFLiteModel] = {}
        rounds: list[tuple[str, int, Round]] = []
        failures: dict[str, str] = {}
        for source in self.sources:
            try:
                models[source.key] = source()
            except UserError as error:
                failures[source.key] = str(error)
        waited: list[str] = []
        with self.open(self.plan) as device:
            for number in range(self.plan.rounds):
                turn = [key for key in models if number in self.left[key] and key not in failures]
                order.shuffle(turn)
                for key in turn:
                    device.wait_until_fit(waited.append)
                    try:
                        rounds.append((key, number, device.time(models[key])))
                    except ModelError as error:
                        failures[key] = str(error)
            facts = {key: (m.sha256, len(m.content), m.maker) for key, m in models.items()}
            return _Shared(dict(device.identity()), facts, rounds, failures)


@dataclass(frozen=True)
class _Shared:
    """What a worker gives back."""

    identity: Mapping[str, str]
    models: Mapping[str, tuple[str, int, str]]
    rounds: Sequence[tuple[str, int, Round]]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class SpreadSweep:
    """Measures models on the machines of an executor, where the user says that they are equal.

    A worker whose identity differs from this machine's ends the sweep: figures of different
    machines in one table could not be compared. A kill loses the shares under way, no more.

    Attributes:
        open: connects to the device of the machine on which it is called; picklable.
        device: of this machine, to compare with.
        store: keeps the rounds.
        series: of the store.
        executor: its workers make and time the models.
        seed: of the order.
    """

    open: Callable[[TimingPlan], LiteRTDevice]
    device: LiteRTDevice
    store: Store
    series: Series
    executor: Executor
    seed: int = 0

    def run(
        self, sources: Sequence[ModelSource], progress: Callable[[int, int], None] | None = None
    ) -> SweepResult:
        """Measure what the store does not hold yet; models that failed before are tried again.

        Raises:
            UserError: a machine that differs, a worker that failed, or a store that cannot be
                written; what was measured stays.
        """
        plan = self.device.plan
        order = random.Random(self.seed)  # noqa: S311 - no secret
        distinct = {source.key: source for source in sources}
        left = missing(self.store, self.series, distinct, plan.rounds)
        unfinished = [source for key, source in distinct.items() if left[key]]
        order.shuffle(unfinished)
        count = Count(plan.rounds * len(distinct), progress)
        count.done = count.total - sum(map(len, left.values()))
        shares = [
            _Share(self.open, plan, tuple(part), {one.key: left[one.key] for one in part}, start)
            for start in range(0, len(unfinished), _SHARE)
            for part in [unfinished[start : start + _SHARE]]
        ]
        began, failed = time.perf_counter(), 0
        for share, outcome in zip(shares, self.executor.run(_call, shares), strict=True):
            if outcome.value is None:
                raise UserError(f"a worker failed: {(outcome.error or '')[:300]}")
            failed += self._keep(share, outcome.value)
            count.add(sum(map(len, share.left.values())))
        seconds = time.perf_counter() - began
        return SweepResult(len(distinct) - failed, failed, 0.0, seconds)

    def _keep(self, share: _Share, shared: _Shared) -> int:
        """Store what a worker gives back; return how many of its models failed."""
        here = dict(self.device.identity())
        differences = [
            f"{name} is {shared.identity.get(name)!r} there, {value!r} here"
            for name, value in here.items()
            if shared.identity.get(name) != value
        ]
        if differences:
            raise UserError(f"the machines are not equal: {'; '.join(differences)}")
        names = {source.key: source.name for source in share.sources}
        for key, (sha256, size, maker) in shared.models.items():
            self.store.add_model(
                self.series, key, names[key], sha256=sha256, size=size, maker=maker
            )
        for key, number, result in shared.rounds:
            self.store.add_round(self.series, key, number, result)
        for key, reason in shared.failures.items():
            self.store.add_failure(self.series, key, names[key], reason)
        return len(shared.failures)


def _call(share: _Share) -> _Shared:
    return share()
