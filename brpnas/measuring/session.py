"""The whole of a measurement: from models and devices to a table of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brpnas.devices.litert import LiteRTDevice
from brpnas.devices.store import Store
from brpnas.devices.sweep import Progress
from brpnas.executors import Executor
from brpnas.measuring.choice import Models
from brpnas.measuring.export import Ended, end
from brpnas.measuring.jobs import open_jobs, open_store, store_path, sweep_all, table_paths

__all__ = ["TableSettings", "measure", "says_how_to_go_on"]


@dataclass(frozen=True)
class TableSettings:
    """Where the results go, and what they may join.

    Attributes:
        out: the table, ``.parquet`` or ``.csv``; with several devices, each has one, its name
            added. The rounds are kept beside it, in an SQLite file.
        resume: go on with what is there: measure what is missing, add to the table's rows.
        on_workers: measure on the executor's machines, which are equal to this one; the only
            device is this machine then.
        command: repeats the measurement; for the table's card.
    """

    out: Path
    resume: bool = False
    on_workers: bool = False
    command: str = ""


def measure(
    models: Models,
    devices: Sequence[LiteRTDevice],
    executor: Executor,
    settings: TableSettings,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda _done, _total: None,
) -> list[Ended]:
    """Measure models on devices, side by side, and write a table of each device.

    Every round is kept as soon as it is measured.

    Args:
        models: as ``choose_models`` returns them.
        devices: connected; the caller's to close.
        executor: makes the models.
        settings: where the results go.
        say: called with lines for people.
        progress: told of every round that is done, over all devices.

    Returns:
        What became of each device. One that was lost does not disturb the others: look at
        ``Ended.error``.

    Raises:
        UserError: a model's file cannot be read, a device is given twice, or the results cannot go
            where they should: something else is there, or cannot be written.
        KeyboardInterrupt: says how to go on.
    """
    for source in models.sources.values():
        _ = source.key  # files that cannot be read are an error before the store is made
    path = store_path(settings.out, settings.resume)
    tables = table_paths(settings.out, devices, path, settings.resume)
    with open_store(path) as store:
        jobs = open_jobs(store, devices, models.conditions, tables)
        sources = list(models.sources.values())
        with says_how_to_go_on(store):
            results = sweep_all(
                jobs, sources, executor, say, progress, on_workers=settings.on_workers
            )
        return [
            end(job, result, models, settings.command)
            for job, result in zip(jobs, results, strict=True)
        ]


@contextlib.contextmanager
def says_how_to_go_on(store: Store) -> Iterator[None]:
    """Add to an interrupt what was kept, and how to go on with it."""
    try:
        yield
    except KeyboardInterrupt:
        kept = any(map(store.done, store.all_series()))
        raise KeyboardInterrupt(
            f"before the end; what was measured is in {store.path}; to continue, repeat the "
            "command with --resume"
            if kept
            else "before anything was measured"
        ) from None
