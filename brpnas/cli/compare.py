"""``brpnas compare``: which predictor is best for a metric, after how many networks."""

from __future__ import annotations

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
from brpnas.cli._options import (
    Json,
    SpaceName,
    TableName,
    ValidRows,
    predictor_option,
)
from brpnas.cli._output import command_line, note, print_json, progress_bar, show
from brpnas.errors import UserError

if TYPE_CHECKING:
    from brpnas.comparing import Comparison

__all__ = ["compare"]

_SHOWN = (
    "train",
    "predictor",
    "within_5pct",
    "within_10pct",
    "spearman",
    "in_90pct",
    "n_test",
    "fit_s",
)


def compare(
    ctx: typer.Context,
    column: Annotated[
        list[str], typer.Option(help="Metric to learn, in the unit of its name. Repeatable.")
    ],
    predictor: Annotated[list[str], predictor_option("What to compare", " Repeatable.")],
    out: Annotated[
        Path, typer.Option(help="Folder for results, plots and report.html; new or empty.")
    ],
    space: SpaceName = "nasbench201",
    table: TableName = "digits201",
    train: Annotated[
        str, typer.Option(help="Random rows to fit the weights to: numbers with commas between.")
    ] = "30,100,300,900",
    valid: ValidRows = 100,
    seeds: Annotated[
        int, typer.Option(min=1, help="Fits of each case; medians over them are shown.")
    ] = 5,
    test: Annotated[
        int | None,
        typer.Option(min=2, help="Rows to judge by.", show_default="all that are not learnt from"),
    ] = None,
    executor: Annotated[str, executor_option("Where to fit")] = "processes",
    jobs: Annotated[int | None, jobs_option("Fits")] = None,
    ray_address: RayAddress = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue in --out; fits that are done stay.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit several predictors to a table, each many times, and judge all of them alike.

    Each fit is kept as soon as it is done. A predictor that cannot learn a case gives a row with
    the error. Rows are drawn, left out and judged as by train.
    """
    from brpnas import comparing
    from brpnas.datasets import open_table
    from brpnas.predictors import PREDICTORS
    from brpnas.report import write_reports
    from brpnas.report.predictor_png import save_predictor_plots
    from brpnas.resolver import SPACES, resolve

    started = time.perf_counter()
    refuse_other_executors(ctx, executor)
    families = {name: resolve("predictor", name, PREDICTORS) for name in predictor}
    plan = comparing.Plan(_numbers(train), valid, seeds, test)
    networks, source = resolve("space", space, SPACES)(), open_table(table)
    with (
        open_executor(executor, jobs, ray_address) as where,
        progress_bar("fits") as progress,
    ):
        try:
            found = comparing.compare(
                source,
                networks,
                column,
                {name: family.regressor for name, family in families.items()},
                plan,
                out,
                executor=where,
                resume=resume,
                command=command_line(ctx, leave_out=("ctx", "out", "resume", "as_json")),
                progress=progress,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"before the end; to continue, repeat the command with --out {out} --resume"
            ) from None
    rows = found.medians()
    errors = [fit.error for fit in found.fits if fit.error is not None]
    failed = len(errors)
    if failed == len(found.fits):
        raise UserError(f"none of {failed} fits succeeded; the first says: {errors[0]}")
    plots = save_predictor_plots(found.fits, out)
    page = write_reports([out])
    if as_json:
        counts = {
            name: {"rows_missing": selection.missing, "rows_empty": selection.empty}
            for name, selection in found.selections.items()
        }
        summary = {"medians": rows, "columns": counts, "fits": len(found.fits), "failed": failed}
        wall_s = round(time.perf_counter() - started, 3)
        print_json({**summary, "run": str(out), "wall_s": wall_s})
        return
    _show(found, rows)
    note(f"{len(found.fits)} fits, {failed} failed; each of them in {out / 'fits.csv'}")
    for title, path in plots.items():
        note(f"{title}: {path}")
    note(f"report: {page}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"--train '{text}' must be whole numbers with commas between, such as 30,100,300,900"
        ) from None


def _show(found: Comparison, rows: list[dict[str, Any]]) -> None:
    for column, selection in found.selections.items():
        own = [row for row in rows if row["column"] == column]
        left_out = f"{selection.missing} rows without a value and {selection.empty} empty networks"
        shown = [*_SHOWN, *(["error"] if any(row["error"] for row in own) else [])]
        values = [
            [row[name] or "" if name == "error" else row[name] for name in shown] for row in own
        ]
        show(f"{column}: medians over the seeds; {left_out} left out", shown, values)
