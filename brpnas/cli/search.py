"""``brpnas search``: find the best network within a budget of evaluations."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from brpnas.cli._output import (
    command_line,
    cores,
    note,
    number,
    print_json,
    progress_bar,
    show,
)
from brpnas.errors import UserError

__all__ = ["search"]

_TABLE = "digits201"
_SEARCHED, _REPORTED = "valid_acc_pct", "test_acc_pct"
_FREE = ("command", "table", "train_on", "test_on", "jobs")
_DETAILS = ("ctx", "out", "resume", "as_json")
_OF_TRAINING = (
    *("train_on", "test_on", "valid_fraction", "epochs", "channels", "cells_per_stage"),
    *("batch_size", "learning_rate", "crop", "flip", "seeds", "jobs"),
)
_TRAINING = "Training on your own images (with --train-on)"


def search(
    ctx: typer.Context,
    space: Annotated[str, typer.Option(help="Space of networks: nasbench201.")] = "nasbench201",
    table: Annotated[
        str | None,
        typer.Option(
            help="Look metrics up in this table: a .parquet or .csv file, or the name of one that "
            "comes with the package.",
            show_default=_TABLE,
        ),
    ] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(
            help="Column to maximise, in the unit of its name.",
            show_default=f"{_SEARCHED} for {_TABLE} and --train-on",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            help="Column to report for the best network; the search does not see it.",
            show_default=f"{_REPORTED} for {_TABLE} and --test-on",
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
    strategy: Annotated[
        str, typer.Option(help="How to choose: brp, random, evolution, local or reinforce.")
    ] = "brp",
    predictor: Annotated[
        str, typer.Option(help="What brp learns with, for accuracy and for limits: gcn.")
    ] = "gcn",
    budget: Annotated[int, typer.Option(min=1, help="Networks to evaluate.")] = 100,
    iterations: Annotated[
        int, typer.Option(min=1, help="Rounds of brp; a last one takes only the top.")
    ] = 5,
    limit_quantile: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
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
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all random choices.")] = 0,
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
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
        float, typer.Option(min=0, help="At the first step.", rich_help_panel=_TRAINING)
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
        typer.Option(
            min=1,
            help="Networks trained at the same time.",
            show_default="number of cores",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
) -> None:
    """Find the best network: evaluate a few, predict the rest, evaluate what looks best.

    Without any option, searches NAS-Bench-201 cells in the table that comes with the package.
    """
    import brpnas.search
    from brpnas import sources
    from brpnas.datasets import open_table
    from brpnas.evaluate.training import Protocol
    from brpnas.executors import InProcess, Processes
    from brpnas.report import write_report
    from brpnas.resolver import SPACES, make_strategy, resolve
    from brpnas.run import Run
    from brpnas.spaces import NetworkShape

    if resume and out is None:
        raise UserError("--resume needs --out, the run folder to continue")
    if train_on and table:
        raise UserError("--table and --train-on exclude each other: where is accuracy to be from?")
    if not train_on:
        for name in _OF_TRAINING:
            # By name: typer has its own copy of the enumeration of sources.
            given = ctx.get_parameter_source(name)
            if given is not None and given.name == "COMMANDLINE":
                raise UserError(f"--{name.replace('_', '-')} goes with --train-on")
    accuracy, report = _columns(table, train_on, test_on, accuracy, report)
    limits = sources.pair_limits(latency or [], latency_limit or [])
    limited = [limit.metric for limit in limits]
    named = list(dict.fromkeys([accuracy, *([report] if report else []), *limited]))
    networks = resolve("space", space, SPACES)()
    folder = out or _fresh_folder()
    with contextlib.ExitStack() as stack:
        if train_on:
            jobs = jobs or cores()
            source = sources.training_source(
                networks,
                NetworkShape(channels=channels, cells_per_stage=cells_per_stage),
                Protocol(
                    epochs=epochs,
                    batch=batch_size,
                    learning_rate=learning_rate,
                    crop=crop,
                    flip=flip,
                    seeds=seeds,
                ),
                sources.ImageFiles(train_on, test_on, valid_fraction),
                seed,
                folder / "networks",
                stack.enter_context(InProcess() if jobs == 1 else Processes(jobs)),
            )
            for name in named:
                resolve("metric", name, dict.fromkeys(source.evaluator.metrics))
        else:
            source = sources.table_source(open_table(table or _TABLE), networks, named, limits)
        where = table or train_on or _TABLE
        if budget > len(source.pool):
            raise UserError(
                f"--budget {budget} is too large: {where} offers {len(source.pool)} networks"
            )
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
        left_out = (*_DETAILS, *(() if train_on else _OF_TRAINING))
        arguments: dict[str, Any] = {
            name: value for name, value in ctx.params.items() if name not in left_out
        }
        arguments |= {
            **{name: str(value) for name, value in arguments.items() if isinstance(value, Path)},
            **source.identity,
            "accuracy": accuracy,
            "report": report,
            "table": None if train_on else str(where),
            "pool": len(source.pool),
            "command": command_line(ctx, leave_out=left_out),
        }
        run = stack.enter_context(Run(folder, arguments, seed, resume, free=_FREE))
        started = time.perf_counter()
        try:
            with progress_bar("networks", budget) as progress:
                found = brpnas.search.search(
                    problem, chooser, source.evaluator, budget, run, progress
                )
        except UserError:
            if run.steps:  # no answer, but what was tried is worth a look
                run.save()
                note(f"report: {write_report(folder)}")
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"after {len(run.steps)} networks; to continue, repeat the command with "
                f"--out {folder} --resume"
            ) from None
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
    page = write_report(folder)
    if as_json:
        shown = {name: result[name] for name in ("best", "evaluations", "wall_s")}
        print_json({**shown, "run": str(folder)})
        return
    title = f"Best of {number(result['evaluations'])} networks, in {number(result['wall_s'])} s"
    show(title, ("measure", "value"), _summary(result))
    note(f"report: {page}")


def _columns(
    table: str | None,
    train_on: Path | None,
    test_on: Path | None,
    accuracy: str | None,
    report: str | None,
) -> tuple[str, str | None]:
    """Fill in the columns to search and to report, where they are known."""
    default = not train_on and table in (None, _TABLE)
    if accuracy is None and not (default or train_on):
        raise UserError(f"--accuracy is needed: which column of {table} is to be maximised?")
    if report is None and (default or test_on):
        report = _REPORTED
    return accuracy or _SEARCHED, report


def _fresh_folder() -> Path:
    stem = f"search-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    names = [stem, *(f"{stem}-{more}" for more in range(2, 100))]
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())


def _summary(result: dict[str, Any]) -> list[tuple[str, object]]:
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
