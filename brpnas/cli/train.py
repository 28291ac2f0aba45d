"""``brpnas train``: fit a predictor to some rows of a table and judge it on the others."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brpnas.cli._output import progress_bar, show_result
from brpnas.errors import UserError

__all__ = ["train"]


def train(
    column: Annotated[str, typer.Option(help="Metric to learn, in the unit of its name.")],
    out: Annotated[Path, typer.Option(help="Folder to save the predictor in; new or empty.")],
    space: Annotated[str, typer.Option(help="Space of networks: nasbench201.")] = "nasbench201",
    table: Annotated[
        str,
        typer.Option(
            help="A .parquet or .csv file, or the name of a table that comes with the package."
        ),
    ] = "digits201",
    predictor: Annotated[str, typer.Option(help="What to train: gcn.")] = "gcn",
    train_rows: Annotated[
        int, typer.Option("--train", min=1, help="Random rows to fit the weights to.")
    ] = 900,
    valid_rows: Annotated[
        int, typer.Option("--valid", min=0, help="Random rows to stop the training by.")
    ] = 100,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the rows and of the training.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Fit a predictor to random rows of a table and judge it on all remaining rows.

    Rows without a value, and for latency and energy those of empty networks (below 2% of the
    median), are left out and counted.
    """
    import numpy as np

    from brpnas.datasets import content_sha256, open_table
    from brpnas.predictors import PREDICTORS, Provenance, quality, save_predictor
    from brpnas.report import save_scatter
    from brpnas.resolver import SPACES, parse_archs, resolve

    family = resolve("predictor", predictor, PREDICTORS)
    networks = resolve("space", space, SPACES)()
    source = open_table(table)
    selection = source.judged(column)
    rows = np.flatnonzero(selection.rows)
    learnt = train_rows + valid_rows
    if len(rows) < learnt + 2:
        raise UserError(
            f"{source.name}: column '{column}' has {len(rows)} rows to use; --train {train_rows}, "
            f"--valid {valid_rows} and at least 2 to judge by are {learnt + 2}"
        )
    archs = parse_archs(source, networks)
    _make_folder(out)
    rows = np.random.default_rng(seed).permutation(rows)
    graphs = [networks.graph(archs[row]) for row in rows]
    values = source.metric(column)[rows]
    with progress_bar(f"training on {train_rows} + {valid_rows} networks"):
        started = time.perf_counter()
        fitted = family.regressor(seed, valid_rows / learnt).fit(graphs[:learnt], values[:learnt])
        fit_s = time.perf_counter() - started
        started = time.perf_counter()
        predicted = fitted.predict(graphs[learnt:]).mean
        predict_s = time.perf_counter() - started
    provenance = Provenance(
        metric=column,
        table=source.name,
        table_sha256=content_sha256(source.frame),
        train=train_rows,
        valid=valid_rows,
        seed=seed,
    )
    save_predictor(out, fitted, provenance)
    save_scatter(out / "scatter.png", values[learnt:], predicted, column)
    result = {
        **asdict(quality(values[learnt:], predicted)),
        "fit_s": round(fit_s, 3),
        "predict_s": round(predict_s, 3),
        "rows_missing": selection.missing,
        "rows_empty": selection.empty,
    }
    show_result(f"{column} of {source.name}, predicted by {out}", result, as_json)


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
