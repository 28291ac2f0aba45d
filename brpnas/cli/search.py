"""``brpnas search``: find the best network within a budget of evaluations."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer

from brpnas.cli._compressing import COMPRESSING, search_lowrank
from brpnas.cli._executors import (
    executor_option,
    jobs_option,
    ray_option,
    refuse_other_executors,
)
from brpnas.cli._names import SPACE_NAMES, either
from brpnas.cli._options import Json, predictor_option, seed_option
from brpnas.cli._output import (
    command_line,
    note,
    number,
    options_of,
    print_json,
    progress_bar,
    recorded,
    refuse,
    show,
)
from brpnas.cli._searching import (
    COST_TABLE,
    REPORTED,
    SEARCHED,
    TABLE,
    cost_columns,
    drawn_anyway,
    fresh_folder,
    objective_columns,
    open_source,
    summary,
)
from brpnas.errors import UserError
from brpnas.values import counted

__all__ = ["search"]

# What a resumed search may change: where things are, not what they are.
_FREE = ("command", "table", "latency_table", "train_on", "test_on", "jobs", "executor",
         "ray_address", "serial", "address")  # fmt: skip
# Panels of the help: each is also the set of options that go with the one in its title.
_TIMING = "Measuring during the search (with --device)"
_TRAINING = "Training on your own images (with --train-on)"
_SIDE_BY_SIDE = "Several networks at the same time"


def search(
    ctx: typer.Context,
    space: Annotated[
        str,
        typer.Option(
            help=f"Space of networks: {either((*SPACE_NAMES, 'lowrank'))}, the low-rank versions "
            "of a network that is trained already."
        ),
    ] = "nasbench201",
    table: Annotated[
        str | None,
        typer.Option(
            help="Look metrics up in this table: a .parquet or .csv file, or the name of one that "
            "comes with the package.",
            show_default=TABLE,
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            help="Column to maximise, in the unit of its name.",
            show_default=f"{SEARCHED} for {TABLE} and --train-on",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            help="Column to report for the best network; the search does not see it.",
            show_default=f"{REPORTED} for {TABLE} and --test-on",
        ),
    ] = None,
    latency: Annotated[
        list[str] | None,
        typer.Option(help="Column that must stay within a limit: any cost. Repeatable."),
    ] = None,
    latency_limit: Annotated[
        list[float] | None,
        typer.Option(help="Limit of the --latency in the same place, in the column's unit."),
    ] = None,
    latency_table: Annotated[
        str | None,
        typer.Option(
            help="Read the --latency columns that this table has from it, such as one that "
            "`brpnas measure` made; a network counts by what of it runs.",
            show_default=f"{COST_TABLE} for {TABLE}",
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="How to choose: brp, random, evolution, local or reinforce; in lowrank: brp, "
            "random, evolution, knapsack, greedy or gradient."
        ),
    ] = "brp",
    predictor: Annotated[
        str, predictor_option("What brp learns with, for accuracy and for limits")
    ] = "gcn",
    budget: Annotated[
        int, typer.Option(min=1, help="Networks to evaluate; in lowrank 60, if it is not given.")
    ] = 100,
    iterations: Annotated[
        int,
        typer.Option(
            min=1, help="Rounds of brp; a last one takes only the top. In lowrank 5, if not given."
        ),
    ] = 10,
    limit_quantile: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=0.999,
            help="Quantile of its prediction errors by which brp keeps away from a limit.",
        ),
    ] = 0.5,
    at_once: Annotated[
        int,
        typer.Option(
            min=1,
            help="Networks that evolution, local and reinforce ask for before they know the "
            "first; 1 is as published, more keeps several --jobs busy.",
        ),
    ] = 1,
    seed: Annotated[int, seed_option("all random choices")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder: run.json, trace.parquet, plots, report.html.",
            show_default="runs/search-<time>",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out where it was stopped.")
    ] = False,
    as_json: Json = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="Time each network on this device: a name from `brpnas devices list`, or a .toml "
            "file. Or map it to an FPGA: fpga:PLATFORM, such as fpga:zc706.",
            rich_help_panel=_TIMING,
        ),
    ] = None,
    serial: Annotated[
        str | None, typer.Option(help="Serial number of the phone.", rich_help_panel=_TIMING)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a phone in the network.", rich_help_panel=_TIMING),
    ] = None,
    delegate: Annotated[
        str, typer.Option(help="What runs it: cpu, gpu or dsp.", rich_help_panel=_TIMING)
    ] = "cpu",
    precision: Annotated[
        str, typer.Option(help="fp32, or int8: quantised before.", rich_help_panel=_TIMING)
    ] = "fp32",
    rounds: Annotated[
        int,
        typer.Option(min=1, max=1000, help="How often its turn comes.", rich_help_panel=_TIMING),
    ] = 5,
    train_on: Annotated[
        Path | None,
        typer.Option(
            help="Train each network on these images: .npz with x (uint8, NHWC) and y.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    test_on: Annotated[
        Path | None,
        typer.Option(help="Report on these images, .npz likewise.", rich_help_panel=_TRAINING),
    ] = None,
    valid_fraction: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the images to choose by.", rich_help_panel=_TRAINING
        ),
    ] = 0.2,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the images.", rich_help_panel=_TRAINING)
    ] = 12,
    channels: Annotated[
        int, typer.Option(min=1, help="Width of the first stage.", rich_help_panel=_TRAINING)
    ] = 16,
    cells_per_stage: Annotated[
        int, typer.Option(min=1, help="Depth of each stage.", rich_help_panel=_TRAINING)
    ] = 1,
    batch_size: Annotated[
        int, typer.Option(min=2, help="Images per step.", rich_help_panel=_TRAINING)
    ] = 64,
    learning_rate: Annotated[
        float, typer.Option(min=0, max=1000, help="At the first step.", rich_help_panel=_TRAINING)
    ] = 0.1,
    crop: Annotated[
        int, typer.Option(min=0, help="Random shift, in pixels.", rich_help_panel=_TRAINING)
    ] = 4,
    flip: Annotated[
        bool, typer.Option(help="Mirror half of the images.", rich_help_panel=_TRAINING)
    ] = True,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Trainings of each network, averaged.", rich_help_panel=_TRAINING),
    ] = 1,
    jobs: Annotated[
        int | None,
        jobs_option(
            "Networks trained, mapped to an FPGA, or compared by --space lowrank",
            _SIDE_BY_SIDE,
            "number of cores; 1 with --space lowrank",
        ),
    ] = None,
    executor: Annotated[
        str | None,
        executor_option("Where that is done", "processes", _SIDE_BY_SIDE),
    ] = None,
    ray_address: Annotated[str | None, ray_option(_SIDE_BY_SIDE)] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What to compress: a name from `brpnas models list`, package.module:function, a "
            ".pt2 file, or a name of timm.",
            show_default="digits-cnn, which comes with weights and images",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Its weights: .safetensors.", rich_help_panel=COMPRESSING),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Images like those it was made for, to judge by: .npz with x and perhaps y, "
            "a folder, or .parquet.",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Images with labels that the search never sees: the front is tested on them.",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(
            help="What the network expects of images: imagenet, cifar10, none, or means and "
            "deviations such as 0.5,0.5,0.5/0.25,0.25,0.25.",
            show_default="that of the network",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="What to save: macs, params or latency.",
            show_default="latency with --device or without --model, else macs",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="Share of the original's cost that the answer may have, such as 0.5; without it "
            "the whole front is searched.",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            help="none: versions are compared with the original; calibration: with the labels of "
            "the calibration images.",
            rich_help_panel=COMPRESSING,
        ),
    ] = "none",
    repair: Annotated[
        str,
        typer.Option(
            help="What is done to the versions of the front at the end, without training data: "
            "none, bn, lsq, synthetic or calibration.",
            rich_help_panel=COMPRESSING,
        ),
    ] = "none",
    keep: Annotated[
        int,
        typer.Option(
            min=1, help="Versions of the front to finish and save.", rich_help_panel=COMPRESSING
        ),
    ] = 10,
    images: Annotated[
        int,
        typer.Option(
            min=16,
            help="Calibration images to use, drawn at random.",
            rich_help_panel=COMPRESSING,
        ),
    ] = 4096,
    weights_by: Annotated[
        str,
        typer.Option(
            help="How low-rank weights are found: output (least error of what a layer returns), "
            "whitened or plain (singular value decomposition).",
            rich_help_panel=COMPRESSING,
        ),
    ] = "output",
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps decompositions for other searches.",
            rich_help_panel=COMPRESSING,
        ),
    ] = None,
) -> None:
    """Find the best network: evaluate a few, predict the rest, evaluate what looks best.

    Without any option, searches NAS-Bench-201 cells in the table that comes with the package;
    with --space lowrank alone, compresses the network that comes with it for this machine.
    """
    if space == "lowrank":
        search_lowrank(ctx)
        return

    import brpnas.search
    from brpnas import sources
    from brpnas.report.search_page import write_search_report
    from brpnas.resolver import SPACES, make_strategy, resolve
    from brpnas.run import Run

    if resume and out is None:
        raise UserError("--resume needs --out, the run folder to continue")
    if train_on and table:
        raise UserError("--table and --train-on exclude each other: where is accuracy to be from?")
    idle = _refuse_idle(ctx)
    default = not train_on and table in (None, TABLE)
    accuracy, report = objective_columns(table, train_on, test_on, accuracy, report)
    latency, latency_table = cost_columns(default, latency, latency_limit, latency_table, device)
    limits = sources.pair_limits(latency, latency_limit or [])
    limited = [limit.metric for limit in limits]
    wanted = list(dict.fromkeys([accuracy, *([report] if report else [])]))
    named = list(dict.fromkeys([*wanted, *limited]))
    networks = resolve("space", space, SPACES)()
    folder = out or fresh_folder()
    with contextlib.ExitStack() as stack:
        asked = SimpleNamespace(**{**ctx.params, "latency_table": latency_table})
        source = open_source(asked, networks, wanted, limits, folder, stack)
        if ctx.params["latency_table"] and "latency_table_sha256" not in source.identity:
            raise UserError(
                f"--latency-table {latency_table} has none of the columns that are limited "
                f"({', '.join(limited)}): name one of its columns with --latency, or leave it out"
            )
        where = table or train_on or TABLE
        if budget > len(source.pool):
            offered = counted(len(source.pool), "network")
            raise UserError(f"--budget {budget} is too large: {where} offers {offered}")
        if missing := source.unknown([accuracy, *limited]):
            note(
                f"{missing} of {len(source.pool)} networks lack a value of "
                f"{' or '.join([accuracy, *limited])}: they cannot be the answer"
            )
        problem = brpnas.search.Problem(networks, source.pool, accuracy, limits)
        schedule = brpnas.search.BRPSchedule(budget, iterations)
        chooser = make_strategy(
            strategy, problem, seed, schedule, predictor, at_once, limit_quantile
        )
        left_out = ("ctx", "out", "resume", "as_json", *idle)
        arguments: dict[str, Any] = {
            **recorded(ctx, (name for name in ctx.params if name not in left_out)),
            **source.identity,
            "accuracy": accuracy,
            "report": report,
            "table": None if train_on else str(where),
            "latency": latency or None,
            "latency_table": latency_table,
            "pool": len(source.pool),
            "command": command_line(ctx, leave_out=left_out),
        }
        run = stack.enter_context(Run(folder, arguments, seed, resume, free=_FREE))
        started = time.perf_counter()
        if not run.done:
            with (
                drawn_anyway(run, write_search_report),
                progress_bar("networks", budget) as progress,
            ):
                found = brpnas.search.search(
                    problem, chooser, source.evaluator, budget, run, progress
                )
            best = {"arch": str(found.best), **{name: found.metrics[name] for name in named}}
            ranks = source.ranks(named[: 2 if report else 1], found.metrics, limits)
            run.finish(
                {
                    "best": best,
                    "step": found.step,
                    "evaluations": found.evaluated,
                    "failed": found.failed,
                    "ranks": ranks,
                    "wall_s": round(time.perf_counter() - started, 3),
                }
            )
        result = run.record["result"]
    page = write_search_report(folder)
    if as_json:
        shown = {name: result[name] for name in ("best", "evaluations", "wall_s")}
        print_json({**shown, "run": str(folder)})
        return
    title = f"Best of {counted(result['evaluations'], 'network')}, in {number(result['wall_s'])} s"
    show(title, ("measure", "value"), summary(result))
    note(f"report: {page}")


def _refuse_idle(ctx: typer.Context) -> list[str]:
    """Refuse options that would do nothing beside the others; return the names of all of those."""
    from brpnas.devices.fpga.device import is_fpga

    training, device = ctx.params["train_on"] is not None, ctx.params["device"]
    mapped = device is not None and is_fpga(device)
    idle = dict.fromkeys(options_of(ctx, COMPRESSING), "--space lowrank")
    if not training:
        idle |= dict.fromkeys(options_of(ctx, _TRAINING), "--train-on")
    if not (training or mapped):
        where = "--train-on, --device fpga:PLATFORM, or --space lowrank"
        idle |= dict.fromkeys(options_of(ctx, _SIDE_BY_SIDE), where)
    if mapped or device is None:
        where = "devices that are timed" if mapped else "--device"
        idle |= dict.fromkeys(options_of(ctx, _TIMING), where)
        if mapped:
            del idle["device"]
    for name, owner in idle.items():
        refuse(ctx, name, owner)
    refuse_other_executors(ctx, ctx.params["executor"])
    return list(idle)
