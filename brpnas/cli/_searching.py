"""What ``brpnas search`` fills in where the user says nothing, opens, and shows at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from brpnas.cli._executors import open_executor
from brpnas.cli._output import note
from brpnas.errors import UserError
from brpnas.values import counted

if TYPE_CHECKING:
    from brpnas.datasets import Table
    from brpnas.executors import Executor
    from brpnas.run import Run
    from brpnas.search import Constraint
    from brpnas.sources import Source
    from brpnas.spaces import FiniteSpace

__all__ = [
    "COST",
    "COST_TABLE",
    "REPORTED",
    "SEARCHED",
    "TABLE",
    "cost_columns",
    "drawn_anyway",
    "fresh_folder",
    "objective_columns",
    "open_source",
    "summary",
]

TABLE = "digits201"
SEARCHED, REPORTED = "valid_acc_pct", "test_acc_pct"
COST_TABLE = "litert201"
"""What the networks of the default table cost on a machine that was measured."""
COST = "latency_ms"


def objective_columns(
    table: str | None,
    train_on: Path | None,
    test_on: Path | None,
    accuracy: str | None,
    report: str | None,
) -> tuple[str, str | None]:
    """Fill in the columns to search and to report, where they are known.

    Raises:
        UserError: a table of the user's, which may be none, without a column to search.
    """
    default = not train_on and table in (None, TABLE)
    if accuracy is None and not (default or train_on):
        from brpnas.datasets import open_table

        columns = ", ".join(open_table(str(table)).metrics)
        raise UserError(
            f"--accuracy is needed: which column of {table} is to be maximised? It has: {columns}"
        )
    if report is None and (default or test_on):
        report = REPORTED
    return accuracy or SEARCHED, report


def cost_columns(
    default: bool,
    latency: list[str] | None,
    limits: list[float] | None,
    latency_table: str | None,
    device: str | None,
) -> tuple[list[str], str | None]:
    """Fill in the columns to limit and the table they are read from, for the default table.

    Raises:
        UserError: a table without a column to read from it, a device and a table.
    """
    for name, given in (("--latency-table", latency_table), ("--device", device)):
        if given and not (latency or limits):
            raise UserError(f"{name} needs --latency-limit: which latency is good enough?")
    if latency_table and device:
        raise UserError("--device and --latency-table exclude each other: measured or looked up?")
    if default and (latency or limits) and not device:
        latency_table = latency_table or COST_TABLE
    if not latency and limits and len(limits) == 1 and (latency_table or device):
        latency = [COST]
    return latency or [], latency_table


def open_source(
    asked: SimpleNamespace,
    networks: FiniteSpace[Any],
    wanted: list[str],
    limits: list[Constraint],
    folder: Path,
    stack: ExitStack,
) -> Source:
    """Open what the metrics come from: a table or training, and another table or a device.

    Args:
        asked: the command's options.
        networks: the space.
        wanted: metrics to maximise and to report.
        limits: on these and other metrics.
        folder: of the run.
        stack: closes what was opened.
    """
    from brpnas import sources
    from brpnas.datasets import open_table
    from brpnas.devices.fpga.device import is_fpga
    from brpnas.evaluate.computed import COMPUTED
    from brpnas.evaluate.measured import LATENCIES
    from brpnas.resolver import resolve

    costs = open_table(asked.latency_table) if asked.latency_table else None
    priced = _offered(costs, limits) if costs else []
    if asked.device:
        priced = list(COMPUTED if is_fpga(asked.device) else LATENCIES)
    named = costs.name if costs else f"device {asked.device}"
    if asked.train_on:
        source = _training_source(asked, networks, folder, stack)
        metrics = source.evaluator.metrics
        costly, others = sources.divide_limits(limits, priced, metrics, f"{named} and training")
        for name in (*wanted, *(limit.metric for limit in others)):
            resolve("metric", name, dict.fromkeys(metrics))
    else:
        table = open_table(asked.table or TABLE)
        where = f"{named} and {table.name}"
        offered = _offered(table, limits)
        costly, others = sources.divide_limits(limits, priced, offered, where)
        source = sources.table_source(table, networks, wanted, others)
    if costs and costly:
        return sources.with_cost_table(source, costs, networks, costly, note)
    if asked.device and is_fpga(asked.device):
        return _mapped(asked, source, networks, stack)
    if asked.device:
        return _timed(asked, source, networks, folder, stack)
    return source


def _offered(table: Table, limits: list[Constraint]) -> list[str]:
    """Return the columns that can be limited, and those that are, whatever they hold."""
    limited = [limit.metric for limit in limits]
    numeric = table.frame.select_dtypes("number").columns
    return [name for name in table.metrics if name in numeric or name in limited]


def _training_source(
    asked: SimpleNamespace, networks: FiniteSpace[Any], folder: Path, stack: ExitStack
) -> Source:
    from brpnas import sources
    from brpnas.evaluate.training import Protocol
    from brpnas.spaces import NetworkShape

    return sources.training_source(
        networks,
        NetworkShape(channels=asked.channels, cells_per_stage=asked.cells_per_stage),
        Protocol(
            epochs=asked.epochs,
            batch=asked.batch_size,
            learning_rate=asked.learning_rate,
            crop=asked.crop,
            flip=asked.flip,
            seeds=asked.seeds,
        ),
        sources.ImageFiles(asked.train_on, asked.test_on, asked.valid_fraction),
        asked.seed,
        folder / "networks",
        stack.enter_context(_executor(asked)),
    )


def _timed(
    asked: SimpleNamespace,
    source: Source,
    networks: FiniteSpace[Any],
    folder: Path,
    stack: ExitStack,
) -> Source:
    from brpnas import sources
    from brpnas.devices.connect import connect
    from brpnas.devices.profile import read_profile
    from brpnas.devices.sweep import exclusive
    from brpnas.devices.timing import TimingPlan

    profile = read_profile(asked.device)
    plan = TimingPlan(rounds=asked.rounds, threads=profile.threads, delegate=asked.delegate)
    device = stack.enter_context(connect(profile, plan, serial=asked.serial, address=asked.address))
    stack.enter_context(exclusive(device.identity()))
    return sources.with_device(source, device, networks, asked.precision, folder, note)


def _mapped(
    asked: SimpleNamespace, source: Source, networks: FiniteSpace[Any], stack: ExitStack
) -> Source:
    from brpnas import sources
    from brpnas.devices.fpga.device import open_fpga

    device = open_fpga(asked.device)
    executor = stack.enter_context(_executor(asked))
    return sources.with_fpga(source, device, networks, executor)


def _executor(asked: SimpleNamespace) -> Executor:
    return open_executor(asked.executor, asked.jobs, asked.ray_address)


def fresh_folder() -> Path:
    """Return a folder below ``runs/`` that is not there, named by the time."""
    stem = f"search-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{more}" for more in range(2, 100))]
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())


@contextmanager
def drawn_anyway(run: Run, write_page: Callable[[Path], Path]) -> Iterator[None]:
    """Draw what was tried by a search that ends without an answer: it is worth a look."""

    def draw() -> None:
        if run.steps:
            run.save()
            note(f"report: {write_page(run.folder)}")

    try:
        yield
    except UserError:
        draw()
        raise
    except KeyboardInterrupt:
        draw()
        raise KeyboardInterrupt(
            f"after {counted(len(run.steps), 'network')}; to continue, repeat the command with "
            f"--out {run.folder} --resume"
        ) from None


def summary(result: dict[str, Any]) -> list[tuple[str, object]]:
    """Return the rows of the table for people."""
    rows: list[tuple[str, object]] = []
    for name, value in result["best"].items():
        rows.append((name, value))
        if name in result["ranks"]:
            rank, of = result["ranks"][name]
            rows.append((f"rank by {name}", f"{rank:,} of {of:,}"))
    rows.append(("found as number", result["step"] + 1))
    if result["failed"]:
        rows.append(("without a value", result["failed"]))
    return rows
