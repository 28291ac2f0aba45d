"""Many models on many machines that are equal: each worker makes its share and times it there."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.store import Series, Store
from brpnas.devices.sweep import Progress, SweepResult, Work, take_turns
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.sources import ModelSource
from brpnas.devices.timing import Round, TimingPlan
from brpnas.errors import UserError
from brpnas.executors import Executor

__all__ = ["SpreadSweep"]

_SHARE = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Share:
    """What one worker does: make models, and time their missing rounds in random order."""

    open: Callable[[TimingPlan], LiteRTDevice]
    plan: TimingPlan
    sources: tuple[ModelSource, ...]
    left: Mapping[str, Sequence[int]]
    seed: int

    @property
    def rounds(self) -> int:
        return sum(len(self.left[source.key]) for source in self.sources)

    def __call__(self) -> _Shared:
        shared = _Shared()
        models: dict[str, TFLiteModel] = {}
        for source in self.sources:
            try:
                model = models[source.key] = source()
            except UserError as error:
                shared.failures[source.key] = str(error)
            else:
                shared.models[source.key] = (model.sha256, len(model.content), model.maker)
        try:
            with self.open(self.plan) as device:
                shared.identity = dict(device.identity())
                self._measure(device, models, shared)
        except UserError as error:
            shared.ended = str(error)
        return shared

    def _measure(
        self, device: LiteRTDevice, models: Mapping[str, TFLiteModel], shared: _Shared
    ) -> None:
        order = random.Random(self.seed)  # noqa: S311 - no secret

        def measure(key: str) -> Round:
            device.wait_until_fit(shared.said.append)
            return device.time(models[key])

        for number in range(self.plan.rounds):
            keys = models.keys() - shared.failures.keys()
            turn = sorted(key for key in keys if number in self.left[key])
            order.shuffle(turn)
            for key, result in take_turns(turn, measure):
                if isinstance(result, Round):
                    shared.rounds.append((key, number, result))
                else:
                    shared.failures[key] = str(result)


@dataclass
class _Shared:
    """What a worker gives back; ``ended``: why it measured no further."""

    identity: Mapping[str, str] = field(default_factory=dict)
    models: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    rounds: list[tuple[str, int, Round]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    ended: str | None = None


@dataclass(frozen=True)
class SpreadSweep:
    """Measures models on the machines of an executor, where the user says that they are equal.

    A worker whose identity differs from this machine's ends the sweep: figures of different
    machines in one table could not be compared. A kill loses the shares under way, no more. Of a
    share whose worker crashes, each model is tried alone.

    Attributes:
        open: connects to the device of the machine on which it is called; picklable.
        device: of this machine, to compare with.
        store: keeps the rounds.
        series: of the store.
        executor: its workers make and time the models.
        seed: of the order.
        say: called with lines for people.
    """

    open: Callable[[TimingPlan], LiteRTDevice]
    device: LiteRTDevice
    store: Store
    series: Series
    executor: Executor
    seed: int = 0
    say: Callable[[str], None] = _log.info

    def run(self, sources: Sequence[ModelSource], progress: Progress | None = None) -> SweepResult:
        """Measure what the store does not hold yet; models that failed before are tried again.

        Raises:
            UserError: more than one thread, a machine that differs or cannot measure, or a store
                that cannot be written; what was measured stays.
        """
        plan = self.device.plan
        if plan.threads > 1:
            raise UserError(
                f"{plan.threads} threads: where workers measure (--nodes-equal) several of them "
                "share a machine, and with it the cores that these threads need; use --threads 1"
            )
        order = random.Random(self.seed)  # noqa: S311 - no secret
        work = Work(self.store, self.series, sources, plan.rounds, order, progress)
        left, todo = work.left(work.sources), tuple(work.sources.values())
        shares = [
            _Share(self.open, plan, part, {one.key: left[one.key] for one in part}, start)
            for start in range(0, len(todo), _SHARE)
            for part in [todo[start : start + _SHARE]]
        ]
        failed, alone = 0, list[_Share]()
        for place, outcome in self.executor.as_completed(_call, shares):
            share = shares[place]
            if outcome.value is None:
                alone += [replace(share, sources=(source,)) for source in share.sources]
            else:
                failed += self._keep(share, outcome.value)
                work.count(share.rounds)
        for place, outcome in self.executor.as_completed(_call, alone):
            share = alone[place]
            (source,) = share.sources
            reason = f"its worker failed: {(outcome.error or '')[:300]}"
            failed += self._keep(share, outcome.value or _Shared(failures={source.key: reason}))
            work.count(share.rounds)
        return SweepResult(work.models - failed, failed, None)

    def _keep(self, share: _Share, shared: _Shared) -> int:
        """Store what a worker gives back; return how many of its models failed."""
        for line in shared.said:
            self.say(f"on a worker: {line}")
        differences = [
            f"{name} is {shared.identity.get(name)!r} there, {value!r} here"
            for name, value in self.device.identity().items()
            if shared.identity and shared.identity.get(name) != value
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
        if shared.ended:
            raise UserError(f"a worker cannot measure: {shared.ended}")
        return len(shared.failures)


def _call(share: _Share) -> _Shared:
    return share()
