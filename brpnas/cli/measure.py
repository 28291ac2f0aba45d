"""``brpnas measure``: time networks on this machine or on phones."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brpnas.cli._output import command_line, cores, note, print_json, progress_bar, refuse, show
from brpnas.errors import UserError

if TYPE_CHECKING:
    from brpnas.measuring import Ended

__all__ = ["measure"]

_WHAT = "What to measure"
_HOW = "How to measure"
_WHERE = "Where to measure"
_NEW = "A new device"
_OF_SPACE = ("channels", "cells_per_stage", "input_size")
"""Options that do nothing without --space."""
_MEASURING = (
    *("out", "resume", "device", "serial", "address", "delegate", "sample", "archs"),
    *("everything", "model", "precision", "rounds", "runs", "warmup"),
)
"""Options that do nothing with --suggest."""
_SHOWN = ("measured", "failed", "table", "convert_s")


def measure(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Table to write: .parquet or .csv.", show_default=False)
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="Profile of the device: a name from `brpnas devices list`, or a .toml file.",
            rich_help_panel=_WHERE,
        ),
    ] = "local",
    serial: Annotated[
        list[str] | None,
        typer.Option(
            help="Serial number of the phone. Repeatable: several phones, side by side.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            help="HOST:PORT of a phone in the network. Repeatable.", rich_help_panel=_WHERE
        ),
    ] = None,
    delegate: Annotated[
        str,
        typer.Option(help="What runs the model: cpu, gpu or dsp.", rich_help_panel=_WHERE),
    ] = "cpu",
    space: Annotated[
        str | None,
        typer.Option(
            help="Networks of this space: nasbench201 or nasbench101.", rich_help_panel=_WHAT
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="So many of the space, at random.", rich_help_panel=_WHAT),
    ] = None,
    archs: Annotated[
        Path | None,
        typer.Option(
            help="Those in this file: a table with a column arch, or one on each line.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All of the space that differ once they run.", rich_help_panel=_WHAT
        ),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A .tflite file, a .pt2 file (torch.export), or package.module:function, which "
            "returns a torch module and its example input. Repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32 (as the model is), or int8: quantised before it is measured.",
            rich_help_panel=_WHAT,
        ),
    ] = "fp32",
    converter: Annotated[
        str,
        typer.Option(
            help="What makes models of torch modules: auto, brpnas or litert-torch.",
            rich_help_panel=_WHAT,
        ),
    ] = "auto",
    channels: Annotated[
        int, typer.Option(min=1, max=4096, help="Width of the first stage.", rich_help_panel=_WHAT)
    ] = 16,
    cells_per_stage: Annotated[
        int, typer.Option(min=1, max=1000, help="Depth of each stage.", rich_help_panel=_WHAT)
    ] = 5,
    input_size: Annotated[
        int,
        typer.Option(min=4, max=4096, help="Height and width of the image.", rich_help_panel=_WHAT),
    ] = 32,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="How often each model's turn comes.", rich_help_panel=_HOW
        ),
    ] = 5,
    runs: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="Counted runs in each round.", rich_help_panel=_HOW),
    ] = 10,
    warmup: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Runs before them, not counted.", rich_help_panel=_HOW
        ),
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Threads of the runtime.",
            show_default="the profile's, else 1",
            rich_help_panel=_HOW,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=1,
            max=86_400,
            help="Seconds after which one round counts as hung.",
            rich_help_panel=_HOW,
        ),
    ] = 120,
    executor: Annotated[
        str,
        typer.Option(help="Where models are converted: inline, processes or ray."),
    ] = "processes",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Models converted at the same time.", show_default="number of cores"
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join.", show_default="a local instance"),
    ] = None,
    nodes_equal: Annotated[
        bool,
        typer.Option(
            "--nodes-equal",
            help="The executor's machines equal this one: measure on them too (--device local).",
        ),
    ] = False,
    suggest: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Measure nothing; print so many networks to measure first, one on each line.",
            rich_help_panel=_NEW,
        ),
    ] = None,
    transfer: Annotated[
        str | None,
        typer.Option(
            help="Table of other devices, whose latency and energy columns say what is telling.",
            rich_help_panel=_NEW,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of that table to leave out, with * and ?. Repeatable.",
            rich_help_panel=_NEW,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of --sample and --suggest.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue; measure only what is missing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Measure the latency of networks on a device, and write a table.

    Every round is kept as soon as it is measured, in a store beside the table (.sqlite).
    """
    from brpnas import measuring
    from brpnas.devices.connect import connect
    from brpnas.devices.profile import read_profile
    from brpnas.devices.timing import TimingPlan
    from brpnas.resolver import SPACES, make_executor, resolve
    from brpnas.spaces import NetworkShape

    started = time.perf_counter()
    if suggest is not None:
        for name in (*_MEASURING, *_OF_SPACE):
            refuse(ctx, name, "measuring; --suggest only prints")
        _suggest(suggest, space or "nasbench201", transfer, exclude or [], seed, as_json)
        return
    for name in ("transfer", "exclude"):
        refuse(ctx, name, "--suggest")
    if out is None:
        raise UserError("--out is missing: the table to write, .parquet or .csv")
    for name in () if space else _OF_SPACE:
        refuse(ctx, name, "--space")
    wanted = measuring.Wanted(
        space=resolve("space", space, SPACES)() if space else None,
        sample=sample,
        archs=archs,
        everything=everything,
        models=tuple(model or ()),
        seed=seed,
    )
    shape = NetworkShape(channels=channels, cells_per_stage=cells_per_stage, input_size=input_size)
    rows = measuring.choose_models(wanted, shape, precision, converter)
    profile = read_profile(device)
    plan = TimingPlan(rounds, runs, warmup, threads or profile.threads, delegate, timeout)
    where: list[dict[str, str]] = [
        *({"serial": one} for one in serial or ()),
        *({"address": one} for one in address or ()),
    ]
    if nodes_equal and profile.kind != "local":
        raise UserError("--nodes-equal goes with --device local: phones hang on this machine")
    with contextlib.ExitStack() as stack:
        # As batch systems and `timeout` end programs: what Ctrl-C does.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, before)
        devices = [stack.enter_context(connect(profile, plan, **one)) for one in where or [{}]]
        workers = jobs or (None if executor == "ray" else cores())
        makers = stack.enter_context(make_executor(executor, workers, ray_address))
        for source in rows.values():
            _ = source.key  # files that cannot be read are an error before the store is made
        store_path = measuring.store_path(out, resume)
        tables = measuring.table_paths(out, devices, store_path, resume)
        store = stack.enter_context(measuring.open_store(store_path))
        conditions = {"precision": precision, "converter": converter}
        work = measuring.open_jobs(store, devices, conditions, tables)
        progress = stack.enter_context(progress_bar("rounds"))
        try:
            results = measuring.sweep_all(
                work, list(rows.values()), makers, note, progress, on_workers=nodes_equal
            )
        except KeyboardInterrupt:
            kept = any(map(store.done, store.all_series()))
            raise KeyboardInterrupt(
                f"before the end; what was measured is in {store_path}; to continue, repeat the "
                "command with --resume"
                if kept
                else "before anything was measured"
            ) from None
        command = command_line(ctx, leave_out=("resume", "as_json"))
        ended = [
            measuring.end(job, result, rows, wanted, command)
            for job, result in zip(work, results, strict=True)
        ]
    _tell(ended, round(time.perf_counter() - started, 3), as_json)


def _suggest(
    count: int, space: str, transfer: str | None, exclude: list[str], seed: int, as_json: bool
) -> None:
    """Print the networks that tell most about a new device."""
    from brpnas.cli._transfer import source_columns
    from brpnas.datasets import open_table
    from brpnas.predictors.transfer import FEWEST_SAMPLES, Transfer
    from brpnas.resolver import SPACES, parse_archs, resolve

    if count < FEWEST_SAMPLES:
        raise UserError(f"--suggest {count}: a transfer needs at least {FEWEST_SAMPLES}")
    if transfer is None:
        raise UserError("--suggest needs --transfer: a table of other devices")
    networks = resolve("space", space, SPACES)()
    others = open_table(transfer)
    columns = source_columns(others, exclude)
    graphs = [networks.graph(arch) for arch in parse_archs(others, networks)]
    with progress_bar(f"learning from {len(columns)} columns"):
        chosen = Transfer.of(graphs, columns, seed).suggest(count)
    archs = [others.archs[row] for row in chosen]
    if as_json:
        print_json({"suggested": archs, "sources": list(columns)})
        return
    for arch in archs:
        typer.echo(arch)


def _tell(ended: list[Ended], wall_s: float, as_json: bool) -> None:
    """Print what was measured; end as a failure if a device was lost."""
    summaries = [one.summary() for one in ended if one.table is not None]
    lost = [(one.job.name, one.error) for one in ended if one.error is not None]
    if as_json and summaries:
        content = summaries[0] if len(ended) == 1 else {"devices": summaries}
        gone = [{"device": name, "error": str(error)} for name, error in lost]
        print_json({**content, "wall_s": wall_s, **({"lost": gone} if gone else {})})
    elif not as_json:
        for summary in summaries:
            _show(summary, wall_s)
    for summary in summaries:
        if summary["failed"]:
            note(f"the column error of {summary['table']} says why {summary['failed']} failed")
    for name, error in lost:
        note(f"error: {error}" if len(ended) == 1 else f"error: device '{name}': {error}")
    for _, error in lost:
        if not isinstance(error, UserError | OSError):
            raise error  # our own mistake: where it was made has to be seen
    if lost:
        raise typer.Exit(2)


def _show(summary: dict[str, Any], wall_s: float) -> None:
    facts = {name: value for name, value in summary["device"].items() if "sha256" not in name}
    show(
        f"Measured in {wall_s:,.0f} s",
        ("measure", "value"),
        [(name, summary[name]) for name in _SHOWN] + list(facts.items()),
    )
