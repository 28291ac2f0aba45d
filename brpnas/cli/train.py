"""``brpnas train``: fit a predictor to some rows of a table and judge it on the others."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brpnas.cli._options import Json, SpaceName, TableName, ValidRows, predictor_option, seed_option
from brpnas.cli._output import (
    command_line,
    note,
    print_json,
    progress_bar,
    refuse,
    show,
    show_result,
)
from brpnas.cli._transfer import source_columns
from brpnas.errors import UserError

if TYPE_CHECKING:
    from brpnas.datasets import Table
    from brpnas.predictors import Prediction
    from brpnas.spaces import FiniteSpace

__all__ = ["train"]


def train(
    ctx: typer.Context,
    column: Annotated[str, typer.Option(help="Metric to learn, in the unit of its name.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the predictor, or the predictions; new or empty.")
    ],
    space: SpaceName = "nasbench201",
    table: TableName = "digits201",
    predictor: Annotated[str, predictor_option("What to train")] = "ensemble",
    train: Annotated[int, typer.Option(min=1, help="Random rows to fit the weights to.")] = 900,
    valid: ValidRows = 100,
    transfer: Annotated[
        str | None,
        typer.Option(
            help="Table with the same networks on other devices: learn from its latencies and "
            "energies, and from few rows of --table."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(help="Rows to learn from with --transfer, chosen for it; 3 or more.")
    ] = 10,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of --transfer to leave out, such as '*pi5*': those of the same physical "
            "device. May be given several times."
        ),
    ] = None,
    seed: Annotated[int, seed_option("the rows and of the training")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a predictor to random rows of a table and judge it on all remaining rows.

    Rows without a value, and for latency and energy those of empty networks (below 2% of the
    median), are left out and counted. With --transfer, a few chosen rows are learnt from, and
    what other devices need for the same networks.
    """
    from brpnas.datasets import open_table
    from brpnas.resolver import SPACES, resolve

    if transfer is None:
        refuse(ctx, "samples", "--transfer")
        refuse(ctx, "exclude", "--transfer")
        task = _Task(open_table(table), column, resolve("space", space, SPACES)(), out, seed)
        _train_alone(task, predictor, train, valid, as_json)
        return
    for name in ("train", "valid", "predictor"):
        refuse(ctx, name, "training without --transfer, which learns from --samples rows")
    task = _Task(open_table(table), column, resolve("space", space, SPACES)(), out, seed)
    how = command_line(ctx, ["as_json", "train", "valid", "predictor"])
    _train_by_others(task, open_table(transfer), samples, exclude or [], as_json, how)


@dataclass(frozen=True)
class _Task:
    """What is learnt, and where the result goes."""

    table: Table
    column: str
    space: FiniteSpace[Any]
    out: Path
    seed: int


def _train_alone(
    task: _Task, predictor: str, train_rows: int, valid_rows: int, as_json: bool
) -> None:
    """Fit a predictor to many rows, and save it."""
    from brpnas.datasets import content_sha256
    from brpnas.judging import Case, draw, inside_90pct, rows_to_use, try_out
    from brpnas.predictors import PREDICTORS, Provenance, quality, save_predictor
    from brpnas.report.predictor_png import save_scatter
    from brpnas.resolver import parse_archs, resolve

    family = resolve("predictor", predictor, PREDICTORS)
    source, column, out, seed = task.table, task.column, task.out, task.seed
    selection = rows_to_use(source, column, train_rows, valid_rows)
    archs = parse_archs(source, task.space)
    new = not out.exists()
    _make_folder(out)
    rows = draw(selection, seed)
    graphs = [task.space.graph(archs[row]) for row in rows]
    case = Case(column, predictor, train_rows, valid_rows, seed)
    with progress_bar(f"training on {train_rows} + {valid_rows} networks"):
        try:
            fitted, trial = try_out(family.regressor, graphs, source.metric(column)[rows], case)
        except UserError:
            if new:
                out.rmdir()
            raise
    provenance = Provenance(
        metric=column,
        table=source.name,
        table_sha256=content_sha256(source.frame),
        train=train_rows,
        valid=valid_rows,
        seed=seed,
    )
    save_predictor(out, fitted, provenance)
    save_scatter(out / "scatter.png", trial.truth, trial.predicted.mean, column)
    result = {
        **asdict(quality(trial.truth, trial.predicted.mean)),
        "in_90pct": inside_90pct(trial.truth, trial.predicted),
        "fit_s": trial.fit_s,
        "predict_s": trial.predict_s,
        "rows_missing": selection.missing,
        "rows_empty": selection.empty,
    }
    show_result(f"{column} of {source.name}, predicted by {out}", result, as_json)


def _train_by_others(
    task: _Task, others: Table, samples: int, exclude: list[str], as_json: bool, how: str
) -> None:
    """Learn from few rows and from other devices, and write predictions of all their networks."""
    import numpy as np

    from brpnas.judging import FEWEST_JUDGED, inside_90pct
    from brpnas.predictors import Prediction, Quality, quality
    from brpnas.predictors.transfer import FEWEST_SAMPLES, Transfer
    from brpnas.report.predictor_png import save_scatter
    from brpnas.resolver import parse_archs

    if samples < FEWEST_SAMPLES:
        raise UserError(f"--samples {samples}: a transfer needs at least {FEWEST_SAMPLES}")
    source, column, out = task.table, task.column, task.out
    selection = source.judged(column)
    costs = source_columns(others, exclude, column)
    archs = parse_archs(others, task.space)
    parse_archs(source, task.space)  # its texts mean what those of the others mean
    row_of = {arch: row for row, arch in enumerate(others.archs)}
    place = np.array([row_of.get(arch, -1) for arch in source.archs])  # -1: not among the others
    rows = np.flatnonzero(selection.rows & (place >= 0))
    if len(rows) < samples:
        raise UserError(
            f"{source.name}: {int((place >= 0).sum())} of its {len(source)} networks are also in "
            f"{others.name}, {len(rows)} of them with a value to use in column '{column}'; "
            f"--samples asks for {samples}"
        )
    values = np.full(len(others), np.nan)
    values[place[rows]] = source.metric(column)[rows]
    usable = values[np.isfinite(values)]
    if usable.min() <= 0:
        raise UserError(
            f"{source.name}: column '{column}' has values down to {usable.min():g}: a transfer "
            "learns latencies and energies, which are positive"
        )
    if np.nanmin(values) == np.nanmax(values):
        raise UserError(f"{source.name}: all values of column '{column}' are equal")
    _make_folder(out)
    if unknown := int((selection.rows & (place < 0)).sum()):
        note(f"{source.name}: {unknown} measured networks are not in {others.name}: left out")
    with progress_bar(f"learning from {len(costs)} columns and {samples} networks"):
        started = time.perf_counter()
        learner = Transfer.of([task.space.graph(arch) for arch in archs], costs, task.seed)
        chosen = learner.suggest(samples, np.isfinite(values))
        learner.fit(chosen, values[chosen])
        fit_s = time.perf_counter() - started
        started = time.perf_counter()
        found = learner.predict()
        predict_s = time.perf_counter() - started
    _write_predictions(task, others, found, how)
    test = np.setdiff1d(np.flatnonzero(np.isfinite(values)), chosen)
    measures = (*(one.name for one in fields(Quality)), "in_90pct")
    judged: dict[str, Any] = dict.fromkeys(measures)
    if len(test) >= FEWEST_JUDGED:
        judged = asdict(quality(values[test], found.mean[test]))
        told = Prediction(found.mean[test], None if found.std is None else found.std[test])
        judged["in_90pct"] = inside_90pct(values[test], told)
        save_scatter(out / "scatter.png", values[test], found.mean[test], column)
    else:
        judged["n_test"] = len(test)
        note(f"{source.name}: {len(test)} networks are left to judge by, too few")
    result: dict[str, Any] = {
        **judged,
        "fit_s": round(fit_s, 3),
        "predict_s": round(predict_s, 3),
        "rows_missing": selection.missing,
        "rows_empty": selection.empty,
    }
    if as_json:
        learnt_from = {"chosen": [others.archs[row] for row in chosen], "sources": list(costs)}
        print_json({**result, **learnt_from})
        return
    show_result(f"{column} of {source.name}, predicted by {others.name}", result, as_json)
    show(
        f"learnt from {len(costs)} columns of {others.name} and {samples} networks",
        ("arch", column),
        [(others.archs[row], float(values[row])) for row in chosen],
    )


def _write_predictions(task: _Task, others: Table, found: Prediction, how: str) -> None:
    """Write a table of all networks of the others, with mean and standard deviation."""
    import pandas as pd

    from brpnas.datasets import Card, Table, content_sha256, write_table

    hashes = ", ".join(
        f"{table.name} (sha256 {content_sha256(table.frame)})" for table in (task.table, others)
    )
    card = Card(
        title=f"{task.column} of {task.table.name}, predicted by transfer from {others.name}",
        source=f"predicted, not measured, from {hashes}",
        device=task.table.card.device,
        conditions=task.table.card.conditions,
        rebuild=how,
        space=task.space.name,
        columns={
            "prediction": f"{task.column}, in the unit of its name",
            "std": f"expected error of the prediction, in the unit of {task.column}",
        },
    )
    columns = {"arch": others.archs, "prediction": found.mean, "std": found.std}
    write_table(Table(pd.DataFrame(columns), card), task.out / "predictions.parquet")


def _make_folder(folder: Path) -> None:
    """Make the predictor's folder now: an hour of training is lost if that fails afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"folder {folder} is not empty: choose another folder")
        with tempfile.TemporaryFile(dir=folder):
            pass  # the folder is not read-only
    except OSError as error:
        raise UserError(f"cannot write to folder {folder}: {error.strerror or error}") from None
