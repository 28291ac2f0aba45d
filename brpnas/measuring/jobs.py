"""Devices side by side, each with its own queue, store series and table."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from brpnas.datasets import check_writable
from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.local import LocalDevice
from brpnas.devices.spread import SpreadSweep
from brpnas.devices.store import Series, Store
from brpnas.devices.sweep import Sweep, SweepResult, describe_series, exclusive
from brpnas.devices.tflite.sources import ModelSource
from brpnas.errors import UserError
from brpnas.executors import Executor, Outcome

__all__ = ["Job", "device_name", "open_jobs", "store_path", "sweep_all"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Job:
    """One device and what becomes of its measurements.

    Attributes:
        device: connected.
        store: of the rounds.
        series: in the store.
        table: file to export to.
    """

    device: LiteRTDevice
    store: Store
    series: Series
    table: Path


def store_path(out: Path, resume: bool) -> Path:
    """Return where the rounds are kept: beside the table, under its name and ``.sqlite``.

    Args:
        out: the table.
        resume: whether the user means to go on with what is there.

    Raises:
        UserError: the table cannot be written, or it or the store is there and ``resume`` is
            not asked for.
    """
    check_writable(out)
    store = out.with_suffix(".sqlite")
    for path in (out, store):
        if path.exists() and not resume:
            raise UserError(f"{path} is there already: add --resume, or choose another --out")
    if out.exists() and not store.exists():
        raise UserError(f"{out} has no measurements beside it ({store}): choose another --out")
    return store


def open_jobs(
    store: Store,
    devices: Sequence[LiteRTDevice],
    conditions: Mapping[str, str],
    out: Path,
) -> list[Job]:
    """Find or make the series of each device.

    Args:
        store: may hold measurements of other devices too.
        devices: connected.
        conditions: what figures depend on besides the device and its plan.
        out: the table; with several devices, the name of each is added to it.

    Raises:
        UserError: a device is given twice, or the store holds measurements of it that were made
            under other conditions, which are named.
    """
    names = [device_name(device.identity()) for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"device '{name}' is given twice")
    tables = [out] if len(devices) == 1 else [
        out.with_stem(f"{out.stem}-{re.sub('[^A-Za-z0-9.]+', '_', name)}") for name in names
    ]  # fmt: skip
    series = [_series(store, device, conditions) for device in devices]
    return [
        Job(device, store, one, table)
        for device, one, table in zip(devices, series, tables, strict=True)
    ]


def _series(store: Store, device: LiteRTDevice, conditions: Mapping[str, str]) -> Series:
    wanted = describe_series(device, **conditions)
    name = device_name(wanted["device"])
    held = [one for one in store.all_series() if device_name(one.description["device"]) == name]
    if held and all(one.description != wanted for one in held):
        differences = "; ".join(_differences(held[-1].description, wanted))
        raise UserError(
            f"{store.path} holds measurements of device '{name}' that do not compare: "
            f"{differences}; choose another --out"
        )
    return store.series(wanted)


def sweep_all(
    jobs: Sequence[Job],
    sources: Sequence[ModelSource],
    executor: Executor,
    say: Callable[[str], None],
    progress: Callable[[int, int], None],
    *,
    on_workers: bool = False,
) -> list[SweepResult | UserError]:
    """Measure all models on every device, the devices side by side.

    Args:
        jobs: one for each device.
        sources: of the models.
        executor: makes the models, of all devices in turn.
        say: called with lines for people.
        progress: called with (rounds done, rounds in all), over all devices.
        on_workers: measure on the executor's machines, which are equal to this one; the only
            device is this machine then.

    Returns:
        How each ended; the error that ended it, if one did. The others are not disturbed.
    """
    stop = threading.Event()
    shared = _InTurn(executor)
    distinct = {source.key for source in sources}
    counts = [(0, len(distinct) * job.device.plan.rounds) for job in jobs]

    def run(place: int) -> SweepResult | UserError:
        job = jobs[place]
        identity = job.device.identity()
        prefix = f"{device_name(identity)}: " if len(jobs) > 1 else ""

        def update(done: int, total: int) -> None:
            counts[place] = (done, total)
            progress(sum(done for done, _ in counts), sum(total for _, total in counts))

        path = job.store.path
        folder = path.with_name(f"{path.name}.{job.series.id}.models")
        try:
            with exclusive(identity), Store(path) as store:
                if on_workers:
                    spread = SpreadSweep(LocalDevice, job.device, store, job.series, shared)
                    return spread.run(sources, update)
                sweep = Sweep(
                    job.device,
                    store,
                    job.series,
                    shared,
                    folder,
                    say=lambda text: say(prefix + text),
                    stop=stop,
                )
                return sweep.run(sources, update)
        except UserError as error:
            return error

    if len(jobs) == 1:  # in this thread, where Ctrl-C arrives
        return [run(0)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(run, place) for place in range(len(jobs))]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


class _InTurn(Executor):
    """Lets the sweeps of several devices, each in a thread, share one executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[Outcome[R]]:
        """Yield what becomes of each item, while no other thread uses the executor."""
        # All of them at once: a generator that is left halfway would keep the lock.
        with self._lock:
            outcomes = list(self._executor.run(function, items))
        yield from outcomes


def device_name(identity: Mapping[str, str]) -> str:
    """Return what tells a device from others: its serial number, or the name of its kind."""
    return identity.get("serial", identity["name"])


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    flat_before, flat_now = _flat(before), _flat(now)
    return [
        f"{name} was {flat_before.get(name)!r}, now {flat_now.get(name)!r}"
        for name in {**flat_before, **flat_now}
        if flat_before.get(name) != flat_now.get(name)
    ]


def _flat(description: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in description.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat
