"""``brpnas predict``: add a saved predictor's predictions to a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brpnas.cli._options import Json, NewTable, PredictorFolder
from brpnas.cli._output import note, print_json, progress_bar
from brpnas.errors import UserError

__all__ = ["predict"]


def predict(
    predictor: PredictorFolder,
    table: Annotated[
        str,
        typer.Option(
            help="Networks to predict: a .parquet or .csv file with the column arch, or the name "
            "of a table that comes with the package."
        ),
    ],
    out: NewTable,
    as_json: Json = False,
) -> None:
    """Copy a table and add the column prediction, in the unit of the metric that was learnt.

    Where the predictor knows how far off it may be, the column std is added too.
    """
    import dataclasses

    from brpnas.cli._saved import load, predict_rows
    from brpnas.datasets import Table, check_writable, write_table

    saved, source = load(predictor, table)
    check_writable(out)
    if out.exists() and Path(table).exists() and out.samefile(table):
        raise UserError(f"--out {out} is the table itself: choose another file")
    for column in ("prediction", "std"):
        if column in source.metrics:
            raise UserError(f"{source.name}: has a column '{column}' already; rename it")
    with progress_bar(f"predicting {len(source)} networks"):
        found = predict_rows(saved, source)
    learnt = saved.provenance
    added = {"prediction": found.mean} | ({} if found.std is None else {"std": found.std})
    notes = {
        "prediction": f"{learnt.metric}, predicted by {predictor.name}, which learnt it from "
        f"{learnt.train} + {learnt.valid} rows of {learnt.table}",
        "std": f"expected error of the prediction, in the unit of {learnt.metric}",
    }
    card = dataclasses.replace(
        source.card, columns={**source.card.columns, **{name: notes[name] for name in added}}
    )
    write_table(Table(source.frame.assign(**added), card, source.name), out)
    if as_json:
        print_json({"out": str(out), "rows": len(source), "metric": learnt.metric})
    else:
        note(f"{out}: {learnt.metric} of {len(source)} networks in column 'prediction'")
