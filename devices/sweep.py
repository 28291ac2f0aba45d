"""Many models on one device: shuffled rounds that can be stopped and continued at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from brpnas.devices.litert import DeviceLostError, LiteRTDevice, ModelError
from brpnas.devices.store import Series, Store
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.sources import ModelSource
from brpnas.errors import UserError
from brpnas.executors import Executor

__all__ = [
    "Count",
    "Sweep",
    "SweepResult",
    "describe_series",
    "exclusive",
    "missing",
]

_BLOCK = 256
# Long enough for a phone to start again.
_RECONNECT_S = (0.2, 1, 2, 4, 8, 15, 30, 60, 60)
_LOSSES = 3


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Attributes:
        measured: models with all rounds.
        failed: models without; the store knows why.
        convert_s: seconds spent on making models.
        measure_s: seconds spent on measuring them.
    """

    measured: int
    failed: int
    convert_s: float
    measure_s: float


def describe_series(device: LiteRTDevice, **more: str) -> dict[str, Any]:
    """Return what figures of this device depend on, for ``Store.series``.

    Args:
        device: connected.
        more: what else they depend on, such as the precision.
    """
    plan = asdict(device.plan)
    # More rounds may be added later, and patience changes no figure.
    for name in ("rounds", "timeout_s"):
        del plan[name]
    return {"device": dict(device.identity()), "plan": plan, **more}


@contextlib.contextmanager
def exclusive(device: Mapping[str, str]) -> Iterator[None]:
    """Keep other sweeps of this user on this machine away from a device.

    Args:
        device: its identity.

    Raises:
        UserError: another process measures on it.
    """
    name = device.get("serial", device["name"])
    folder = Path(tempfile.gettempdir()) / f"brpnas-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    with (folder / f"device-{digest}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"device '{name}' is in use by process {lock.read() or '?'}: two measurements at "
                "once would disturb each other; wait for it to end"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def missing(store: Store, series: Series, keys: Iterable[str], rounds: int) -> dict[str, list[int]]:
    """Return the rounds that are not measured yet, by the key of their model."""
    done = store.done(series)
    return {
        key: [number for number in range(rounds) if number not in done.get(key, ())] for key in keys
    }


@dataclass(frozen=True)
class Sweep:
    """Measures models on one device, and keeps every round in a store.

    Models are made in blocks, each of which is measured in rounds; in each round its models come
    in a new random order. A model that fails gets a second chance at the end of its round.

    Attributes:
        device: connected.
        store: keeps the rounds.
        series: of the store, as ``describe_series`` describes it.
        executor: makes the models.
        folder: keeps the models of a block meanwhile; removed at the end.
        say: called with lines for people.
        seed: of the order.
        stop: once set, the sweep ends before the next round of a model.
    """

    device: LiteRTDevice
    store: Store
    series: Series
    executor: Executor
    folder: Path
    say: Callable[[str], None]
    seed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self, sources: Sequence[ModelSource], progress: Callable[[int, int], None] | None = None
    ) -> SweepResult:
        """Measure what the store does not hold yet; models that failed before are tried again.

        Args:
            sources: of the models; those with the same key are measured once.
            progress: called with (rounds done, rounds in all).

        Raises:
            UserError: the device is lost for good or not fit, or the store cannot be written;
                what was measured stays.
        """
        order = random.Random(self.seed)  # noqa: S311 - no secret
        distinct = {source.key: source for source in sources}
        left = missing(self.store, self.series, distinct, self.device.plan.rounds)
        unfinished = [key for key in distinct if left[key]]
        order.shuffle(unfinished)
        count = Count(self.device.plan.rounds * len(distinct), progress)
        count.done = count.total - sum(map(len, left.values()))
        failed, convert_s, measure_s = 0, 0.0, 0.0
        try:
            for start in range(0, len(unfinished), _BLOCK):
                block = unfinished[start : start + _BLOCK]
                before = time.perf_counter()
                made = self._make([distinct[key] for key in block])
                left |= missing(self.store, self.series, made, self.device.plan.rounds)
                between = time.perf_counter()
                for key in set(block) - set(made):
                    count.add(len(left[key]))
                failures = self._measure(made, left, order, count)
                convert_s += between - before
                measure_s += time.perf_counter() - between
                failed += len(block) - len(made) + len(failures)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return SweepResult(len(distinct) - failed, failed, convert_s, measure_s)

    def _make(self, sources: Sequence[ModelSource]) -> dict[str, _Made]:
        """Make models and put them into the folder; note those that cannot be made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        made = {}
        outcomes = self.executor.run(_call, sources)
        for source, outcome in zip(sources, outcomes, strict=True):
            model = outcome.value
            if model is None:
                reason = (outcome.error or "").removeprefix("UserError: ")
                self.store.add_failure(self.series, source.key, source.name, reason)
                continue
            path = self.folder / f"{model.sha256}.tflite"
            path.write_bytes(model.content)
            made[source.key] = _Made(model.name, path, model.maker)
            self.store.add_model(
                self.series,
                source.key,
                source.name,
                sha256=model.sha256,
                size=len(model.content),
                maker=model.maker,
            )
        return made

    def _measure(
        self,
        made: Mapping[str, _Made],
        left: Mapping[str, list[int]],
        order: random.Random,
        count: Count,
    ) -> set[str]:
        """Measure a block; return the keys of the models that failed."""
        failures: dict[str, str] = {}
        for number in range(self.device.plan.rounds):
            turn = [key for key in made if number in left[key] and key not in failures]
            order.shuffle(turn)
            again: list[str] = []
            for key in turn:
                if self._time(key, made[key], number) is not None:
                    again.append(key)
                else:
                    count.add(1)
            for key in again:
                reason = self._time(key, made[key], number)
                if reason is not None:
                    failures[key] = reason
                    self.store.add_failure(self.series, key, made[key].name, reason)
                    count.add(sum(later >= number for later in left[key]))
                else:
                    count.add(1)
        return set(failures)

    def _time(self, key: str, made: _Made, number: int) -> str | None:
        """Measure one round and keep it; return why the model failed, or None."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        model = made.read()
        for _ in range(_LOSSES):
            try:
                self.device.wait_until_fit(self.say)
                result = self.device.time(model)
            except ModelError as error:
                return str(error)
            except DeviceLostError as error:
                lost = error
                self._reconnect(error)
            else:
                self.store.add_round(self.series, key, number, result)
                return None
        # It may be the model that brings the device down: the others get their turn.
        return f"the device was lost {_LOSSES} times while it ran this model: {lost}"

    def _reconnect(self, lost: DeviceLostError) -> None:
        """Wait for the device to come back."""
        self.say(f"{lost}; trying to reconnect")
        for seconds in _RECONNECT_S:
            time.sleep(seconds)
            try:
                self.device.reconnect()
            except DeviceLostError as error:
                lost = error
            else:
                return
        raise UserError(
            f"{lost}; gave up. What was measured is kept: see to the device (brpnas devices "
            "doctor), then repeat the command with --resume"
        )


@dataclass(frozen=True)
class _Made:
    """A model that was made, on disk."""

    name: str
    path: Path
    maker: str

    def read(self) -> TFLiteModel:
        return TFLiteModel(self.name, self.path.read_bytes(), self.maker)


@dataclass
class Count:
    """Rounds done, of how many."""

    total: int
    progress: Callable[[int, int], None] | None
    done: int = 0

    def add(self, rounds: int) -> None:
        """Count rounds, and report."""
        self.done += rounds
        if self.progress:
            self.progress(self.done, self.total)


def _call(source: ModelSource) -> TFLiteModel:
    return source()
