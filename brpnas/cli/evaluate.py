"""``brpnas evaluate``: judge a saved predictor on a table."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from brpnas.cli._options import Json, PredictorFolder
from brpnas.cli._output import note, progress_bar, show_result
from brpnas.errors import UserError

__all__ = ["evaluate"]


def evaluate(
    predictor: PredictorFolder,
    table: Annotated[
        str,
        typer.Option(
            help="Measured networks: a .parquet or .csv file, or the name of a table that comes "
            "with the package."
        ),
    ],
    column: Annotated[
        str, typer.Option(help="Metric to judge by: the one that the predictor learnt.")
    ],
    as_json: Json = False,
) -> None:
    """Compare a predictor with the measured values of a table.

    Rows without a value, and for latency and energy those of empty networks (below 2% of the
    median), are left out and counted.
    """
    from brpnas.cli._saved import load, predict_rows
    from brpnas.datasets import content_sha256
    from brpnas.judging import inside_90pct
    from brpnas.predictors import quality

    saved, source = load(predictor, table)
    selection = source.judged(column)
    learnt = saved.provenance
    if column != learnt.metric:
        raise UserError(f"predictor {predictor} learnt '{learnt.metric}', not '{column}'")
    if content_sha256(source.frame) == learnt.table_sha256:
        note(
            f"{source.name} is the table that the predictor learnt from: {learnt.train} + "
            f"{learnt.valid} of these rows are known to it"
        )
    started = time.perf_counter()
    with progress_bar(f"predicting {int(selection.rows.sum())} networks"):
        predicted = predict_rows(saved, source, selection.rows)
    predict_s = time.perf_counter() - started
    truth = source.metric(column)[selection.rows]
    result = {
        **asdict(quality(truth, predicted.mean)),
        "in_90pct": inside_90pct(truth, predicted),
        "predict_s": round(predict_s, 3),
        "rows_missing": selection.missing,
        "rows_empty": selection.empty,
    }
    show_result(f"{predictor} on {column} of {source.name}", result, as_json)
