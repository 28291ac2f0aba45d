"""The whole of a computation: from networks and an FPGA to a table."""

from __future__ import annotations

from collections.abc import Sequence

import brpnas
from brpnas.datasets import Card
from brpnas.devices.fpga.device import FPGADevice, Mapper
from brpnas.devices.fpga.sources import NetworkSource
from brpnas.devices.store import ModelRecord
from brpnas.devices.sweep import Progress, SweepResult
from brpnas.devices.timing import Round
from brpnas.executors import Executor, Outcome
from brpnas.measuring.choice import Networks
from brpnas.measuring.export import Ended, Form, end
from brpnas.measuring.jobs import AnyJob, find_series, open_store, store_path, table_paths
from brpnas.measuring.session import TableSettings, says_how_to_go_on

__all__ = ["compute"]

_DECIMALS = 6
_NOT_YET = "not mapped yet"


class _Job(AnyJob[FPGADevice]):
    """A board to which networks are mapped."""


def compute(
    networks: Networks,
    device: FPGADevice,
    executor: Executor,
    settings: TableSettings,
    progress: Progress = lambda _done, _total: None,
) -> Ended:
    """Map networks to a board, and write a table.

    Every result is kept as soon as it is there. Nothing is timed, so nothing is repeated, and
    workers do not disturb each other.

    Args:
        networks: as ``choose_networks`` returns them.
        device: the board.
        executor: maps them.
        settings: where the results go.
        progress: told of every network that is done.

    Raises:
        UserError: the results cannot go where they should: something else is there, or cannot be
            written.
        KeyboardInterrupt: says how to go on.
    """
    path = store_path(settings.out, settings.resume)
    (table,) = table_paths(settings.out, [device], path, settings.resume)
    with open_store(path) as store:
        description = {"device": dict(device.identity()), **networks.conditions}
        job = _Job(device, store, find_series(store, description), table)
        with says_how_to_go_on(store):
            result = _map_all(job, list(networks.sources.values()), executor, progress)
        return end(job, result, networks, settings.command, _form)


def _map_all(
    job: _Job, sources: Sequence[NetworkSource], executor: Executor, progress: Progress
) -> SweepResult:
    """Map what the store does not hold yet; networks that failed before are tried again."""
    distinct = {source.key: source for source in sources}
    done = job.store.done(job.series)
    left = [(key, source) for key, source in distinct.items() if key not in done]
    count, failed = len(distinct) - len(left), 0
    progress(count, len(distinct))
    outcomes = executor.as_completed(Mapper(job.device), [source for _, source in left])
    for place, outcome in outcomes:
        failed += not _keep(job, *left[place], outcome)
        count += 1
        progress(count, len(distinct))
    return SweepResult(len(distinct) - failed, failed, None)


def _keep(
    job: _Job, key: str, source: NetworkSource, outcome: Outcome[dict[str, float] | str]
) -> bool:
    """Store what became of a network; return whether it was mapped."""
    columns = outcome.value
    if not isinstance(columns, dict):
        job.store.add_failure(job.series, key, source.name, columns or outcome.error or "")
        return False
    maker = f"brpnas {brpnas.__version__}"
    job.store.add_model(job.series, key, source.name, sha256=key, size=0, maker=maker)
    job.store.add_round(
        job.series, key, 0, Round({name: (value,) for name, value in columns.items()})
    )
    return True


def _form(job: _Job, records: Sequence[ModelRecord]) -> Form:  # noqa: ARG001 - one kind of function
    """Return the form of a table of mapped networks."""
    conditions = {name: value for name, value in job.series.description.items() if name != "device"}
    card = Card(
        title=f"Latency on {job.name}",
        source=f"computed by brpnas {brpnas.__version__}: fpgaConvNet's model, foldings and cuts "
        "found by its own mapper",
        device="; ".join(f"{name}: {value}" for name, value in job.device.identity().items()),
        conditions="; ".join(
            ["one image at a time", *(f"{name}: {value}" for name, value in conditions.items())]
        ),
        columns={
            **job.device.notes,
            "model_sha256": "of what was mapped and this program's version: rows that have it in "
            "common run alike",
        },
    )
    return Form(_row, card)


def _row(record: ModelRecord) -> dict[str, float | str]:
    samples = record.rounds[0].samples if 0 in record.rounds else {}
    if record.error is not None or "latency_ms" not in samples:
        return {"error": record.error or _NOT_YET}
    columns = {name: values[0] for name, values in samples.items()}
    rounded = {name: round(value, _DECIMALS) for name, value in columns.items()}
    return {**rounded, "model_sha256": str(record.sha256)}
