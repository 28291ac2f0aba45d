"""``brpnas search --space lowrank``: low-rank versions of a trained network."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import typer

from brpnas.cli._executors import count_workers, open_executor, refuse_other_executors
from brpnas.cli._output import (
    command_line,
    given,
    left_line,
    note,
    number,
    options_of,
    print_json,
    progress_bar,
    recorded,
    refuse,
    show,
)
from brpnas.cli._searching import drawn_anyway, fresh_folder
from brpnas.errors import DAMAGE, UserError
from brpnas.values import counted

if TYPE_CHECKING:
    from brpnas.compressing.costs import LatencySource
    from brpnas.compressing.searching import SearchSettings
    from brpnas.compressing.subject import Images, Subject
    from brpnas.executors import Executor
    from brpnas.models import LoadedModel
    from brpnas.run import Run

__all__ = ["COMPRESSING", "search_lowrank"]

COMPRESSING = "Compressing a trained network (with --space lowrank)"
"""The panel of the help with the options that only this space has."""
_OF_BOTH = ("ctx", "space", "strategy", "predictor", "budget", "iterations", "seed", "out",
            "resume", "as_json", "device", "serial", "address", "rounds", "jobs", "executor",
            "ray_address")  # fmt: skip
# What a resumed search may change: where things are, not what they are.
_FREE = ("command", "weights", "calibration", "test", "cache", "serial", "address", "jobs",
         "executor", "ray_address")  # fmt: skip
_DETAILS = ("ctx", "out", "resume", "as_json")
_COLUMNS = ("macs_reduction_pct", "params_reduction_pct", "latency_ms", "accuracy_pct",
            "agreement_pct", "fidelity")  # fmt: skip


def search_lowrank(ctx: typer.Context) -> None:
    """Run the command; ``ctx.params`` are those of ``brpnas search``."""
    from brpnas.compressing.subject import read_subject
    from brpnas.lowrank.repair import check_repair
    from brpnas.report.lowrank_page import write_lowrank_report
    from brpnas.run import Run, check_folder

    asked = SimpleNamespace(**ctx.params)
    settings, device_name = _read_options(ctx, asked)
    folder = Path(asked.out or fresh_folder())
    check_folder(folder, asked.resume)
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
    check_repair(asked.repair, loaded.module, len(images.fitted[0]))
    with contextlib.ExitStack() as stack:
        alone = asked.executor in (None, "inline") and asked.jobs in (None, 1)
        workers = (asked.executor, asked.jobs, asked.ray_address)
        executor = None if alone else stack.enter_context(open_executor(*workers))
        device = _open_device(device_name, asked, folder, stack, executor)
        arguments = _arguments(ctx, settings, loaded, images, device_name, device)
        # What is finished needs no preparing; what is not leaves no folder if that fails.
        subject = None if _is_done(folder) else _prepared(asked, settings, loaded, images)
        run = stack.enter_context(Run(folder, arguments, asked.seed, asked.resume, free=_FREE))
        if subject is not None:
            result = _run(asked, settings, subject, device, run, executor)
            result["wall_s"] = round(time.perf_counter() - started, 3)
            run.finish(result)
        result = run.record["result"]
    page = write_lowrank_report(folder)
    if asked.as_json:
        print_json({**result, "run": str(folder)})
    else:
        _show(loaded.name, result)
        note(f"report: {page}")


def _read_options(ctx: typer.Context, asked: SimpleNamespace) -> tuple[SearchSettings, str | None]:
    """Check all that can be checked before anything is read; return the device's name too."""
    from brpnas.compressing.costs import check_device
    from brpnas.compressing.searching import SearchSettings
    from brpnas.lowrank import METHODS
    from brpnas.lowrank.repair import REPAIRS
    from brpnas.resolver import resolve

    for name in ctx.params:
        if name not in (*options_of(ctx, COMPRESSING), *_OF_BOTH):
            refuse(ctx, name, "another --space")
    resolve("repair", asked.repair, REPAIRS)
    resolve("way to find low-rank weights", asked.weights_by, METHODS)
    resolve("use of labels", asked.labels, {"none": 0, "calibration": 0})
    if asked.resume and asked.out is None:
        raise UserError("--resume needs --out, the run folder to continue")
    if asked.target is not None and given(ctx, "keep"):
        raise UserError("--keep goes with searches for a whole front: --target has one answer")
    timed = asked.device or not (asked.model or asked.cost)
    cost = asked.cost or ("latency" if timed else "macs")
    device = asked.device or ("local" if cost == "latency" else None)
    timing = device is not None and check_device(device)
    refuse_other_executors(ctx, asked.executor)
    for name in ("serial", "address", "rounds") if not timing else ():
        refuse(ctx, name, "devices that are timed" if device else "--device")
    settings = SearchSettings(
        asked.strategy,
        asked.predictor,
        cost,
        asked.budget if given(ctx, "budget") else SearchSettings.budget,
        asked.iterations if given(ctx, "iterations") else SearchSettings.iterations,
        asked.target,
        asked.seed,
    )
    return settings, device


def _is_done(folder: Path) -> bool:
    """Return whether a folder holds a search that is finished, its trace and its recipes too."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        recipes = [Path(one["recipe"]) for one in record["result"]["front"]]
    except (OSError, *DAMAGE):  # what is damaged is told where the run is opened
        return False
    return all(path.exists() for path in (folder / "trace.parquet", *recipes))


def _prepared(
    asked: SimpleNamespace, settings: SearchSettings, loaded: LoadedModel, images: Images
) -> Subject:
    from brpnas.compressing.searching import check_target
    from brpnas.compressing.subject import prepare

    subject = prepare(
        loaded,
        images,
        cost=settings.cost,
        seed=asked.seed,
        bars=progress_bar,
        method=asked.weights_by,
        cache=asked.cache,
    )
    check_target(subject, settings)
    for name, why in subject.layers.left.items():
        note(left_line(name, why))
    return subject


def _open_device(
    name: str | None,
    asked: SimpleNamespace,
    folder: Path,
    stack: contextlib.ExitStack,
    executor: Executor | None,
) -> LatencySource | None:
    from brpnas.compressing.costs import open_device

    if name is None:
        return None
    where = {"rounds": asked.rounds, "serial": asked.serial, "address": asked.address}
    return open_device(name, folder, stack, note, **where, executor=executor)


def _arguments(
    ctx: typer.Context,
    settings: SearchSettings,
    loaded: LoadedModel,
    images: Images,
    device_name: str | None,
    device: LatencySource | None,
) -> dict[str, Any]:
    """Return what the run was asked to do, and with what."""
    from brpnas.lowrank import weights_hash

    both = (name for name in _OF_BOTH if name not in _DETAILS)
    return {
        **recorded(ctx, (*options_of(ctx, COMPRESSING), *both)),
        "model_sha256": weights_hash(loaded.module),
        "calibration_sha256": images.sha256,
        "tested": images.test is not None,
        "model": loaded.name,
        "cost": settings.metric,
        "budget": settings.budget,
        "iterations": settings.iterations,
        "device": device_name,
        "device_identity": None if device is None else dict(device.identity),
        "command": command_line(ctx, leave_out=_DETAILS),
    }


def _run(
    asked: SimpleNamespace,
    settings: SearchSettings,
    subject: Subject,
    device: LatencySource | None,
    run: Run,
    executor: Executor | None,
) -> dict[str, Any]:
    """Search and finish; what was tried is drawn although there is no answer."""
    from brpnas.compressing.finishing import finish
    from brpnas.compressing.searching import search_versions
    from brpnas.report.lowrank_page import write_lowrank_report

    source = f"{subject.name}, {asked.weights.name}" if asked.weights else subject.name
    with drawn_anyway(run, write_lowrank_report):
        workers = count_workers(asked.executor, asked.jobs)
        searched = search_versions(subject, settings, device, run, progress_bar, executor, workers)
        found = finish(
            subject, searched, settings, asked.repair, asked.keep, run.folder, source, progress_bar
        )
    left = [{"layer": name, "reason": why} for name, why in subject.layers.left.items()]
    counts = {"evaluations": searched.front.evaluated, "surveyed": len(searched.surveyed)}
    return {**found, "left": left, **counts}


def _show(name: str, result: dict[str, Any]) -> None:
    """Print the front; a version's recipe has its number for a name."""
    front = result["front"]
    columns = [column for column in _COLUMNS if column in {"fidelity", *front[0]}]
    dense = {"macs_reduction_pct": 0.0, "params_reduction_pct": 0.0, **result["baseline"]}
    versions = [("as it is", dense), *((Path(one["recipe"]).stem, one) for one in front)]
    rows = [(version, *(one.get(column) for column in columns)) for version, one in versions]
    versions_of = counted(len(front), "version")
    title = f"{name}: {versions_of} of the front, {number(result['evaluations'])} evaluated"
    if result["surveyed"]:
        title += f", latencies of {result['surveyed']} others"
    show(f"{title}, in {result['wall_s']} s", ("version", *columns), rows)
    note(f"recipes: {Path(front[0]['recipe']).parent}/VERSION.json")
