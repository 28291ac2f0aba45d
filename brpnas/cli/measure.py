"""``brpnas measure``: time networks on this machine or on phones."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from brpnas.cli._output import command_line, cores, note, print_json, progress_bar, show
from brpnas.errors import UserError

__all__ = ["measure"]

_WHAT = "What to measure"
_HOW = "How to measure"
_WHERE = "Where to measure"


def measure(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Table to write: .parquet or .csv.")],
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
        typer.Option(help="Networks of this space: nasbench201.", rich_help_panel=_WHAT),
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
        int, typer.Option(min=1, help="Width of the first stage.", rich_help_panel=_WHAT)
    ] = 16,
    cells_per_stage: Annotated[
        int, typer.Option(min=1, help="Depth of each stage.", rich_help_panel=_WHAT)
    ] = 5,
    input_size: Annotated[
        int, typer.Option(min=4, help="Height and width of the image.", rich_help_panel=_WHAT)
    ] = 32,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each model's turn comes.", rich_help_panel=_HOW)
    ] = 5,
    runs: Annotated[
        int, typer.Option(min=1, help="Counted runs in each round.", rich_help_panel=_HOW)
    ] = 10,
    warmup: Annotated[
        int, typer.Option(min=0, help="Runs before them, not counted.", rich_help_panel=_HOW)
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of the runtime.",
            show_default="the profile's, else 1",
            rich_help_panel=_HOW,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds after which one round counts as hung.", rich_help_panel=_HOW
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
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of --sample.")] = 0,
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
    from brpnas.datasets import write_table
    from brpnas.devices.connect import connect
    from brpnas.devices.profile import read_profile
    from brpnas.devices.store import Store
    from brpnas.devices.timing import TimingPlan
    from brpnas.resolver import SPACES, make_executor, resolve
    from brpnas.spaces import NetworkShape

    started = time.perf_counter()
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
    store_path = measuring.store_path(out, resume)
    with contextlib.ExitStack() as stack:
        devices = [stack.enter_context(connect(profile, plan, **one)) for one in where or [{}]]
        workers = jobs or (None if executor == "ray" else cores())
        makers = stack.enter_context(make_executor(executor, workers, ray_address))
        for source in rows.values():
            _ = source.key  # files that cannot be read are an error before the store is made
        store = stack.enter_context(Store(store_path))
        conditions = {"precision": precision, "converter": converter}
        work = measuring.open_jobs(store, devices, conditions, out)
        progress = stack.enter_context(progress_bar("rounds"))
        try:
            results = measuring.sweep_all(
                work, list(rows.values()), makers, note, progress, on_workers=nodes_equal
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"what was measured is in {store_path}; to continue, repeat the command with "
                "--resume"
            ) from None
        command = command_line(ctx, leave_out=("resume", "as_json"))
        lost = [result for result in results if isinstance(result, UserError)]
        summaries: list[dict[str, Any]] = []
        for job, result in zip(work, results, strict=True):
            if isinstance(result, UserError):
                continue
            table = measuring.export(job, rows, wanted, command)
            write_table(table, job.table)
            summaries.append(
                {
                    "measured": result.measured,
                    "failed": result.failed,
                    "table": str(job.table),
                    "device": dict(job.device.identity()),
                }
            )
    wall_s = round(time.perf_counter() - started, 3)
    if lost:
        for summary in summaries:
            note(f"measured on a device that was not lost: {summary['table']}")
        raise lost[0]
    if as_json:
        content = summaries[0] if len(summaries) == 1 else {"devices": summaries}
        print_json({**content, "wall_s": wall_s})
        return
    for summary in summaries:
        facts = {name: value for name, value in summary["device"].items() if "sha256" not in name}
        show(
            f"Measured in {wall_s:,.0f} s",
            ("measure", "value"),
            [(name, summary[name]) for name in ("measured", "failed", "table")]
            + list(facts.items()),
        )
        if summary["failed"]:
            note(f"the column error of {summary['table']} says why {summary['failed']} failed")
