"""``brpnas search --space lowrank``: low-rank versions of a trained network."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import typer

from brpnas.cli._output import command_line, given, note, print_json, progress_bar, refuse, show
from brpnas.cli._searching import fresh_folder
from brpnas.errors import UserError

if TYPE_CHECKING:
    from brpnas.run import Run

__all__ = ["OF_LOWRANK", "search_lowrank"]

OF_LOWRANK = (
    *(
        "model",
        "weights",
        "calibration",
        "test",
        "normalisation",
        "cost",
        "target",
        "labels",
        "repair",
        "images",
    ),
    *("keep", "weights_by", "cache", "published"),
)
"""Parameters of the command that only this space has."""
_OF_BOTH = (
    *("ctx", "space", "strategy", "predictor", "budget", "iterations", "seed", "out", "resume"),
    *("as_json", "device", "serial", "address", "rounds"),
)
# What a resumed search may change: where things are, not what they are.
_FREE = ("command", "weights", "calibration", "test", "cache", "serial", "address")
_DETAILS = ("ctx", "out", "resume", "as_json")


def search_lowrank(ctx: typer.Context) -> None:
    """Run the command; ``ctx.params`` are those of ``brpnas search``."""
    from brpnas.compressing.costs import check_device, open_device
    from brpnas.compressing.finishing import finish
    from brpnas.compressing.searching import Settings, check_target, search_versions
    from brpnas.compressing.subject import prepare, read_subject
    from brpnas.lowrank import METHODS
    from brpnas.lowrank.repair import REPAIRS
    from brpnas.report.front import write_front_report
    from brpnas.resolver import resolve
    from brpnas.run import Run

    asked = SimpleNamespace(**ctx.params)
    for name in ctx.params:
        if name not in (*OF_LOWRANK, *_OF_BOTH):
            refuse(ctx, name, "another --space")
    for name, value, choices in (
        ("repair", asked.repair, REPAIRS),
        ("way to find low-rank weights", asked.weights_by, METHODS),
        ("use of labels", asked.labels, {"none": 0, "calibration": 0}),
    ):
        resolve(name, value, choices)
    if asked.resume and asked.out is None:
        raise UserError("--resume needs --out, the run folder to continue")
    if asked.published and asked.strategy != "gradient":
        refuse(ctx, "published", "--strategy gradient")
    timed = asked.device or not (asked.model or asked.cost)
    cost = asked.cost or ("latency" if timed else "macs")
    device_name = asked.device or ("local" if cost == "latency" else None)
    timing = device_name is not None and check_device(device_name)
    for name in ("serial", "address", "rounds") if not timing else ():
        refuse(ctx, name, "devices that are timed" if device_name else "--device")
    settings = Settings(
        asked.strategy,
        asked.predictor,
        cost,
        asked.budget if given(ctx, "budget") else Settings.budget,
        asked.iterations if given(ctx, "iterations") else Settings.iterations,
        asked.target,
        asked.seed,
        asked.published,
    )
    folder = asked.out or fresh_folder()
    started = time.perf_counter()
    loaded, images = read_subject(
        asked.model,
        asked.weights,
        asked.calibration,
        asked.test,
        normalisation=asked.normalisation,
        labels=asked.labels == "calibration",
        most=asked.images,
        seed=asked.seed,
    )
    with contextlib.ExitStack() as stack:
        subject = prepare(
            loaded,
            images,
            method=asked.weights_by,
            price="params" if cost == "params" else "macs",
            each_family=cost == "latency",
            options=10 if cost == "latency" else 16,
            cache=asked.cache,
            seed=asked.seed,
            bars=progress_bar,
        )
        check_target(subject, settings)
        for name, why in subject.layers.left.items():
            note(f"layer '{name}' stays as it is: {why}")
        identity = {
            "model_sha256": subject.sha256,
            "calibration_sha256": images.sha256,
            "tested": images.test is not None,
        }
        run_folder = Path(folder)
        arguments: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in ctx.params.items()
            if name in (*OF_LOWRANK, *_OF_BOTH) and name not in _DETAILS
        }
        arguments |= {
            **identity,
            "model": subject.name,
            "cost": settings.metric,
            "budget": settings.budget,
            "iterations": settings.iterations,
            "device": device_name,
            "command": command_line(ctx, leave_out=_DETAILS),
        }
        run = stack.enter_context(Run(run_folder, arguments, asked.seed, asked.resume, free=_FREE))
        device = None
        if device_name is not None:
            device = open_device(
                device_name,
                subject,
                run_folder,
                asked.rounds,
                asked.serial,
                asked.address,
                note,
                stack,
            )
        try:
            searched = search_versions(subject, settings, device, run, progress_bar)
            source = f"{subject.name}" + (f", {asked.weights.name}" if asked.weights else "")
            result = finish(
                subject,
                searched,
                settings,
                asked.repair,
                asked.keep,
                run_folder,
                source,
                progress_bar,
            )
        except UserError:
            _draw_unfinished(run)
            raise
        except KeyboardInterrupt:
            _draw_unfinished(run)
            raise KeyboardInterrupt(
                f"after {len(run.steps)} networks; to continue, repeat the command with "
                f"--out {folder} --resume"
            ) from None
        wall = round(time.perf_counter() - started, 3)
        run.finish({**result, "evaluations": searched.front.evaluated, "wall_s": wall})
        result = run.record["result"]
    page = write_front_report(run_folder)
    if as_json := asked.as_json:
        print_json({**result, "run": str(folder)})
    if not as_json:
        columns = [name for name in _COLUMNS if name in {"fidelity", *result["front"][0]}]
        dense = {"macs_reduction_pct": 0.0, "params_reduction_pct": 0.0, **result["baseline"]}
        rows = [
            (name, *(one.get(column) for column in columns), one.get("recipe", ""))
            for name, one in (
                ("as it is", dense),
                *((f"{place}", one) for place, one in enumerate(result["front"])),
            )
        ]
        title = f"{subject.name}: front of {result['evaluations']} versions, in {wall} s"
        show(title, ("version", *columns, "recipe"), rows)
        note(f"report: {page}")


def _draw_unfinished(run: Run) -> None:
    """Draw what there is: what was tried is worth a look."""
    from brpnas.report.front import write_front_report

    if run.steps:
        run.save()
        note(f"report: {write_front_report(run.folder)}")


_COLUMNS = (
    *("macs_reduction_pct", "params_reduction_pct", "latency_ms", "accuracy_pct"),
    *("agreement_pct", "fidelity"),
)
