"""``brpnas measure``: time networks on this machine or on phones."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brpnas.cli._executors import (
    RayAddress,
    executor_option,
    jobs_option,
    open_executor,
    refuse_other_executors,
)
from brpnas.cli._names import SPACE_NAMES, either
from brpnas.cli._options import Json, seed_option
from brpnas.cli._output import command_line, note, print_json, progress_bar, refuse, show
from brpnas.errors import UserError

if TYPE_CHECKING:
    from brpnas.measuring import Ended

__all__ = ["measure"]

_WHAT = "What to measure"
_HOW = "How to measure"
_WHERE = "Where to measure"
_NEW = "A new device"
_PUBLISHED = "as published with the space"
_OF_SPACE = ("channels", "cells_per_stage", "input_size")
"""Options that do nothing without --space."""
_OF_TIMING = (
    *("serial", "address", "delegate", "precision", "converter", "rounds", "runs", "warmup"),
    *("threads", "timeout", "nodes_equal"),
)
"""Options that do nothing for an FPGA, which is computed."""
_SUGGESTING = ("suggest", "transfer", "exclude", "space", "seed", "as_json")
"""The options that do something with --suggest."""
_SHOWN = ("measured", "failed", "table", "convert_s")


def measure(
    ctx: typer.Context,
    out: Annotated[
        Path | None, typer.Option(help="Table to write: .parquet or .csv.", show_default=False)
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="Profile of the device: a name from `brpnas devices list`, or a .toml file. Or "
            "fpga:PLATFORM, such as fpga:zc706: computed, not measured.",
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
        typer.Option(help=f"Networks of this space: {either(SPACE_NAMES)}.", rich_help_panel=_WHAT),
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
            "returns a torch module and its example input (several: a tuple). For FPGAs an .onnx "
            "file or a function. Repeatable.",
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
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Width of the first stage.",
            show_default=_PUBLISHED,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    cells_per_stage: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Depth of each stage.",
            show_default=_PUBLISHED,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            min=4,
            max=4096,
            help="Height and width of the image.",
            show_default=_PUBLISHED,
            rich_help_panel=_WHAT,
        ),
    ] = None,
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
        str, executor_option("Where models are converted, or networks mapped")
    ] = "processes",
    jobs: Annotated[int | None, jobs_option("Models converted, or networks mapped")] = None,
    ray_address: RayAddress = None,
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
    seed: Annotated[int, seed_option("--sample and --suggest")] = 0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue: measure what is missing, keep the table's rows."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the latency of networks on a device, and write a table.

    Every round is kept as soon as it is measured, in a store beside the table (.sqlite).
    """
    from brpnas import measuring
    from brpnas.devices.connect import connect
    from brpnas.devices.fpga.device import is_fpga, open_fpga
    from brpnas.devices.profile import read_profile
    from brpnas.devices.timing import TimingPlan
    from brpnas.resolver import SPACES, resolve

    started = time.perf_counter()
    if suggest is not None:
        for name in ctx.params:
            if name not in _SUGGESTING:
                refuse(ctx, name, "measuring; --suggest only prints")
        _suggest(suggest, space or "nasbench201", transfer, exclude or [], seed, as_json)
        return
    if out is None:
        raise UserError("--out is missing: the table to write, .parquet or .csv")
    unused = {
        **dict.fromkeys(("transfer", "exclude"), "--suggest"),
        **({} if space else dict.fromkeys(_OF_SPACE, "--space")),
        **({} if sample else {"seed": "--sample and --suggest"}),
    }
    for name, owner in unused.items():
        refuse(ctx, name, owner)
    refuse_other_executors(ctx, executor)
    networks = resolve("space", space, SPACES)() if space else None
    wanted = measuring.Wanted(networks, sample, archs, everything, tuple(model or ()), seed)
    sizes = zip(_OF_SPACE, (channels, cells_per_stage, input_size), strict=True)
    given = {name: size for name, size in sizes if size is not None}
    shape = dataclasses.replace(networks.shape, **given) if networks else None
    command = command_line(ctx, leave_out=("resume", "as_json"))
    settings = measuring.TableSettings(out, resume, nodes_equal, command)
    with contextlib.ExitStack() as stack:
        # As batch systems and `timeout` end programs: what Ctrl-C does.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, before)
        if is_fpga(device):
            for name in _OF_TIMING:
                refuse(ctx, name, f"devices that are timed; {device} is computed")
            board = open_fpga(device)
            chosen = measuring.choose_networks(wanted, shape)
            makers = stack.enter_context(open_executor(executor, jobs, ray_address))
            progress = stack.enter_context(progress_bar("networks"))
            ended = [measuring.compute(chosen, board, makers, settings, progress)]
        else:
            models = measuring.choose_models(wanted, shape, precision, converter)
            if not models.converted:
                refuse(ctx, "converter", "--space and --model package.module:function")
            profile = read_profile(device)
            plan = TimingPlan(rounds, runs, warmup, threads or profile.threads, delegate, timeout)
            where: list[dict[str, str]] = [
                *({"serial": one} for one in serial or ()),
                *({"address": one} for one in address or ()),
            ]
            if nodes_equal and profile.kind != "local":
                raise UserError(
                    "--nodes-equal goes with --device local: phones hang on this machine"
                )
            devices = [stack.enter_context(connect(profile, plan, **one)) for one in where or [{}]]
            makers = stack.enter_context(open_executor(executor, jobs, ray_address))
            progress = stack.enter_context(progress_bar("rounds"))
            ended = measuring.measure(models, devices, makers, settings, note, progress)
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


def _write_page(table: Path) -> None:
    """Write the page of a table beside it; what was measured is not lost if that fails."""
    from brpnas.report import write_reports

    try:
        note(f"report: {write_reports([table])}")
    except UserError as error:
        note(f"no report: {error}")


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
    for one in ended:
        if one.table is not None:
            _write_page(one.job.table)
    for summary in summaries:
        if summary["failed"]:
            note(f"the column error of {summary['table']} says why {summary['failed']} failed")
        if summary["earlier"]:
            note(f"{summary['table']} keeps rows of earlier commands: {summary['earlier']}")
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
