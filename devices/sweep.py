"""Many models on one device: shuffled rounds that can be stopped and continued at any moment."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import stat
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from brpnas.devices.litert import DeviceLostError, LiteRTDevice, ModelError
from brpnas.devices.store import Series, Store
from brpnas.devices.tflite import TFLiteModel
from brpnas.devices.tflite.sources import ModelSource
from brpnas.devices.timing import Round
from brpnas.errors import UserError
from brpnas.executors import Executor

__all__ = [
    "Progress",
    "Sweep",
    "SweepResult",
    "Work",
    "describe_series",
    "exclusive",
    "models_kept",
    "take_turns",
]

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (rounds done, rounds in all)."""

_BLOCK = 256
# Long enough for a phone to start again.
_RECONNECT_S = (0.2, 1, 2, 4, 8, 15, 30, 60, 60)
_LOSSES = 3  # while it runs one model
_LOSSES_IN_A_ROW = 12  # several models that bring it down, or a link that holds for no round


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Attributes:
        measured: models with all rounds.
        failed: models without; the store knows why.
        convert_s: seconds spent on making models; None where workers make and measure them.
    """

    measured: int
    failed: int
    convert_s: float | None


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
    headline = {"headline": device.notes["latency_ms"]}  # changed once: rounds do not tell
    return {"device": dict(device.identity()), "plan": plan, **headline, **more}


@contextlib.contextmanager
def exclusive(device: Mapping[str, str]) -> Iterator[None]:
    """Keep other sweeps of this user on this machine away from a device.

    Args:
        device: its identity.

    Raises:
        UserError: another process measures on it, or the folder of locks is not this user's alone.
    """
    name = device.get("serial", device["name"])
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    with _open_lock(f"device-{digest}.lock") as lock:
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


def _open_lock(name: str) -> TextIO:
    """Open a file in this user's folder of locks; others can write the folder around that."""
    folder = Path(tempfile.gettempdir()) / f"brpnas-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            return os.fdopen(os.open(folder / name, flags, 0o600), "r+")
        reason = "it is a link, or others own it or may write to it"
    except OSError as error:
        reason = str(error.strerror)
    raise UserError(
        f"folder {folder}, in which brpnas notes the devices in use, cannot be used: {reason}; "
        "remove it, or name another folder by the environment variable TMPDIR"
    )


class Work:
    """What a sweep is to measure, and how much of it is done.

    Args:
        store: keeps the rounds.
        series: of the store.
        sources: of the models; those with the same key are measured once.
        rounds: of each.
        order: shuffles.
        progress: told of every round that is done.

    Attributes:
        sources: by key, in random order; without those that have all rounds and did not fail.
        models: how many there are with those.
    """

    def __init__(
        self,
        store: Store,
        series: Series,
        sources: Sequence[ModelSource],
        rounds: int,
        order: random.Random,
        progress: Progress | None,
    ) -> None:
        self._store, self._series, self._rounds = store, series, rounds
        self._progress = progress
        distinct = {source.key: source for source in sources}
        self.models = len(distinct)
        left = self.left(distinct)
        # One that failed in a round that is not asked for any more has to be made again, no more.
        failed = store.failed(series)
        unfinished = [key for key in distinct if left[key] or key in failed]
        order.shuffle(unfinished)
        self.sources = {key: distinct[key] for key in unfinished}
        self._total = rounds * len(distinct)
        self._done = self._total - sum(map(len, left.values()))

    def left(self, keys: Collection[str]) -> dict[str, list[int]]:
        """Return the rounds that are not measured yet, by the key of their model."""
        done = self._store.done(self._series)
        return {
            key: [number for number in range(self._rounds) if number not in done.get(key, ())]
            for key in keys
        }

    def count(self, rounds: int) -> None:
        """Count rounds as done, and report."""
        self._done += rounds
        if self._progress:
            self._progress(self._done, self._total)


def take_turns(
    keys: Iterable[str], time: Callable[[str], Round]
) -> Iterator[tuple[str, Round | ModelError]]:
    """Yield what a round of each model gives.

    One that fails is tried again after all others, unless it brought the device down.
    """
    queue, failed = deque(keys), set[str]()
    while queue:
        key = queue.popleft()
        try:
            result: Round | ModelError = time(key)
        except ModelError as error:
            if key not in failed and not isinstance(error, _BringsDownError):
                failed.add(key)
                queue.append(key)
                continue
            result = error
        yield key, result


@contextlib.contextmanager
def models_kept(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with a folder of models, such as a full disk, into the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot keep models in {folder}: {error.strerror}; make room there, then repeat the "
            "command with --resume: what was measured is kept"
        ) from None


@dataclass
class _Losses:
    """How often the device was lost since the last round."""

    in_a_row: int = 0


@dataclass(frozen=True)
class Sweep:
    """Measures models on one device, and keeps every round in a store.

    Models are made in blocks. Each is measured in rounds, in parts that the device can keep, so
    that it is given every model once; in each round the models come in a new random order. A model
    that fails gets a second chance at the end of its round, unless it brought the device down.

    Attributes:
        device: connected.
        store: keeps the rounds.
        series: of the store, as ``describe_series`` describes it.
        executor: makes the models.
        folder: keeps the models of a block meanwhile; removed at the end.
        say: called with lines for people.
        seed: of the order.
        stop: once set, the sweep ends with KeyboardInterrupt: before the next round of a model, or
            at once while it waits.
    """

    device: LiteRTDevice
    store: Store
    series: Series
    executor: Executor
    folder: Path
    say: Callable[[str], None]
    seed: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    _losses: _Losses = field(default_factory=_Losses, init=False)

    def run(self, sources: Sequence[ModelSource], progress: Progress | None = None) -> SweepResult:
        """Measure what the store does not hold yet; models that failed before are tried again.

        Args:
            sources: of the models; those with the same key are measured once.
            progress: told of every round that is done.

        Raises:
            UserError: the device is lost for good or not fit, or the store or the folder cannot be
                written; what was measured stays.
        """
        order = random.Random(self.seed)  # noqa: S311 - no secret
        rounds = self.device.plan.rounds
        work = Work(self.store, self.series, sources, rounds, order, progress)
        keys = list(work.sources)
        failed, convert_s = 0, 0.0
        try:
            for start in range(0, len(keys), _BLOCK):
                block = keys[start : start + _BLOCK]
                before = time.perf_counter()
                made = self._make([work.sources[key] for key in block])
                # Only now: rounds of a model that is made otherwise today do not count any more.
                left = work.left(block)
                convert_s += time.perf_counter() - before
                for key in set(block) - set(made):
                    work.count(len(left[key]))
                failed += len(block) - len(made)
                for part in self._parts(made):
                    failed += self._measure(part, left, order, work)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return SweepResult(work.models - failed, failed, convert_s)

    def _make(self, sources: Sequence[ModelSource]) -> dict[str, _Made]:
        """Make models and put them into the folder; note those that cannot be made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        made = {}
        outcomes = self.executor.run(_call, sources)
        for source, outcome in zip(sources, outcomes, strict=True):
            self._pause(0)
            self._reach(self.device.hold)
            model = outcome.value
            if model is None:
                reason = outcome.error or ""
                self.store.add_failure(self.series, source.key, source.name, reason)
                continue
            path = self.folder / f"{model.sha256}.tflite"
            with models_kept(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                path.write_bytes(model.content)
            made[source.key] = _Made(model.name, path, model.maker, len(model.content))
            self.store.add_model(
                self.series,
                source.key,
                source.name,
                sha256=model.sha256,
                size=len(model.content),
                maker=model.maker,
            )
        return made

    def _parts(self, made: Mapping[str, _Made]) -> Iterator[dict[str, _Made]]:
        """Divide models into parts that the device can keep."""
        room = self._reach(self.device.room_bytes) if made else 0
        part: dict[str, _Made] = {}
        for key, one in made.items():
            if part and sum(other.size for other in part.values()) + one.size > room:
                yield part
                part = {}
            part[key] = one
        if part:
            yield part

    def _measure(
        self,
        made: Mapping[str, _Made],
        left: Mapping[str, list[int]],
        order: random.Random,
        work: Work,
    ) -> int:
        """Measure a part of a block; return how many of its models failed."""
        failed: set[str] = set()
        for number in range(self.device.plan.rounds):
            turn = [key for key in made if number in left[key] and key not in failed]
            order.shuffle(turn)
            for key, result in take_turns(turn, lambda key: self._time(key, made[key])):
                if isinstance(result, Round):
                    self.store.add_round(self.series, key, number, result)
                    work.count(1)
                else:
                    failed.add(key)
                    self.store.add_failure(self.series, key, made[key].name, str(result))
                    work.count(sum(later >= number for later in left[key]))
        return len(failed)

    def _time(self, key: str, made: _Made) -> Round:
        """Measure one round of a model, also where the device is lost meanwhile and comes back."""
        self._pause(0)
        with models_kept(self.folder):
            model = made.read()
        for left in reversed(range(_LOSSES)):
            self._reach(lambda: self._make_ready(model))
            try:
                result = self.device.time(model)
            except DeviceLostError as error:
                reason = f"the device was lost {_LOSSES} times while it ran this model: {error}"
                if not left:  # noted now: the device may not come back
                    self.store.add_failure(self.series, key, made.name, reason)
                self._reconnect(error)
            except ModelError:
                self._losses.in_a_row = 0  # the device answered
                raise
            else:
                self._losses.in_a_row = 0
                return result
        raise _BringsDownError(reason)

    def _make_ready(self, model: TFLiteModel) -> None:
        self.device.wait_until_fit(self.say, self._pause)
        self.device.prepare(model)

    def _reach(self, action: Callable[[], T]) -> T:
        """Do something on the device which no model can be blamed for, until it answers."""
        while True:
            try:
                return action()
            except DeviceLostError as error:
                self._reconnect(error)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise KeyboardInterrupt

    def _reconnect(self, lost: DeviceLostError) -> None:
        """Wait for the device to come back, unless it was lost again and again."""
        self._losses.in_a_row += 1
        if self._losses.in_a_row >= _LOSSES_IN_A_ROW:
            raise UserError(
                f"{lost}; that was the {_LOSSES_IN_A_ROW}th time, and no round came to its end in "
                "between. What was measured is kept: see to cable, port and power, then repeat the "
                "command with --resume"
            )
        self.say(f"{lost}; trying to reconnect")
        for seconds in _RECONNECT_S:
            self._pause(seconds)
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
    size: int

    def read(self) -> TFLiteModel:
        return TFLiteModel(self.name, self.path.read_bytes(), self.maker)


class _BringsDownError(ModelError):
    """The device was lost so often with this model that it may be the model's fault."""


def _call(source: ModelSource) -> TFLiteModel:
    return source()
