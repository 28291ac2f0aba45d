"""Devices side by side, each with its own queue, store series and table."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from brpnas.datasets import check_writable, read_table
from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.local import LocalDevice
from brpnas.devices.spread import SpreadSweep
from brpnas.devices.store import Series, Store
from brpnas.devices.sweep import Progress, Sweep, SweepResult, describe_series, exclusive
from brpnas.devices.tflite.sources import ModelSource
from brpnas.errors import UserError
from brpnas.executors import Executor
from brpnas.measuring.shared import SharedExecutor

__all__ = [
    "AnyJob",
    "Job",
    "check_same_device",
    "device_name",
    "find_series",
    "open_jobs",
    "open_store",
    "store_path",
    "sweep_all",
    "table_paths",
]


class _Identified(Protocol):
    def identity(self) -> Mapping[str, str]: ...


D = TypeVar("D", bound=_Identified)


@dataclass(frozen=True)
class AnyJob(Generic[D]):
    """One device and what becomes of its figures.

    Attributes:
        device: says what it is by ``identity``.
        store: of the figures.
        series: in the store.
        table: file to export to.
    """

    device: D
    store: Store
    series: Series
    table: Path

    @property
    def name(self) -> str:
        """The device's name."""
        return device_name(self.device.identity())


class Job(AnyJob[LiteRTDevice]):
    """A connected device on which models are timed."""


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
    if store.exists() and not resume:
        raise _is_there(store)
    _check_ours(out, store, resume)
    return store


@contextlib.contextmanager
def open_store(path: Path) -> Iterator[Store]:
    """Open a store. A new one does not stay if nothing is measured: it would block the name.

    Args:
        path: as ``store_path`` returned it.

    Raises:
        UserError: it is no store, or cannot be written.
    """
    new = not path.exists()
    with Store(path) as store:
        try:
            yield store
        finally:
            if new:
                store.discard_if_empty()


def table_paths(out: Path, devices: Sequence[_Identified], store: Path, resume: bool) -> list[Path]:
    """Return the table of each device; with several of them, its name is added to ``out``.

    Args:
        out: the table as the user named it.
        devices: connected.
        store: as ``store_path`` returned it.
        resume: whether the user means to go on with what is there.

    Raises:
        UserError: a device is given twice; a table is there and ``resume`` is not asked for, or
            was not made of this device.
    """
    names = [device_name(device.identity()) for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"device '{name}' is given twice")
    tables = [out] if len(devices) == 1 else [
        out.with_stem(f"{out.stem}-{re.sub('[^A-Za-z0-9.]+', '_', name)}") for name in names
    ]  # fmt: skip
    for table, device in zip(tables, devices, strict=True):
        _check_ours(table, store, resume)
        check_same_device(table, device)
    return tables


def check_same_device(table: Path, device: _Identified) -> None:
    """Check that a table, if it is there, was made of this device, so that it may be replaced.

    Raises:
        UserError: it was made of something else, or cannot be read.
    """
    if not table.exists():
        return
    identity = device.identity()
    name = device_name(identity)
    before = read_table(table).card.device
    # Another system or runtime of the same device is for the store to refuse, with the differences.
    if f"{'serial' if 'serial' in identity else 'name'}: {name}" not in before.split("; "):
        raise UserError(
            f"{table} was not measured on device '{name}' but on another ({before or 'unknown'}): "
            "choose another --out, or move that table away"
        )


def _check_ours(table: Path, store: Path, resume: bool) -> None:
    if table.exists() and not resume:
        raise _is_there(table)
    if table.exists() and not store.exists():
        raise UserError(f"{table} has no measurements beside it ({store}): choose another --out")


def _is_there(path: Path) -> UserError:
    return UserError(f"{path} is there already: add --resume, or choose another --out")


def open_jobs(
    store: Store,
    devices: Sequence[LiteRTDevice],
    conditions: Mapping[str, str],
    tables: Sequence[Path],
) -> list[Job]:
    """Find or make the series of each device.

    Args:
        store: may hold measurements of other devices too.
        devices: connected.
        conditions: what figures depend on besides the device and its plan.
        tables: as ``table_paths`` returned them.

    Raises:
        UserError: the store holds measurements of a device that were made under other conditions,
            which are named.
    """
    return [
        Job(device, store, find_series(store, describe_series(device, **conditions)), table)
        for device, table in zip(devices, tables, strict=True)
    ]


def find_series(store: Store, wanted: Mapping[str, Any]) -> Series:
    """Find or make the series of one device.

    Args:
        store: may hold figures of other devices too.
        wanted: what the figures depend on; ``device``: its identity.

    Raises:
        UserError: the store holds figures of the device that were made under other conditions,
            which are named.
    """
    name = device_name(wanted["device"])
    held = [
        one
        for one in store.all_series()
        if device_name(one.description["device"]) == name and store.done(one)
    ]
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
    progress: Progress,
    *,
    on_workers: bool = False,
) -> list[SweepResult | Exception]:
    """Measure all models on every device, the devices side by side.

    Args:
        jobs: one for each device.
        sources: of the models.
        executor: makes the models, each once for all devices.
        say: called with lines for people.
        progress: told of every round that is done, over all devices.
        on_workers: measure on the executor's machines, which are equal to this one; the only
            device is this machine then.

    Returns:
        How each ended; the error that ended it, if one did. The others are not disturbed.
    """
    stop = threading.Event()
    distinct = {source.key for source in sources}
    counts = [(0, len(distinct) * job.device.plan.rounds) for job in jobs]

    def run(place: int, makes: Executor) -> SweepResult | Exception:
        job = jobs[place]

        def tell(text: str) -> None:
            say(f"{job.name}: {text}" if len(jobs) > 1 else text)

        def update(done: int, total: int) -> None:
            counts[place] = (done, total)
            progress(sum(done for done, _ in counts), sum(total for _, total in counts))

        path, series = job.store.path, job.series
        folder = path.with_name(f"{path.name}.{series.id}.models")
        try:
            with exclusive(job.device.identity()), Store(path) as store:
                sweep = (
                    SpreadSweep(LocalDevice, job.device, store, series, makes, say=tell)
                    if on_workers
                    else Sweep(job.device, store, series, makes, folder, say=tell, stop=stop)
                )
                return sweep.run(sources, update)
        except Exception as error:  # noqa: BLE001 - a fault of one device is not the others'
            return error

    if len(jobs) == 1:  # in this thread, where Ctrl-C arrives
        return [run(0, executor)]
    beside = jobs[0].store.path
    with (
        tempfile.TemporaryDirectory(prefix=f"{beside.name}.", dir=beside.parent) as models,
        ThreadPoolExecutor(len(jobs)) as pool,
    ):
        shared = SharedExecutor(executor, Path(models), stop)
        futures = [pool.submit(run, place, shared) for place in range(len(jobs))]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


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
