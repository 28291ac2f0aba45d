"""A saved predictor and a table to use it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brpnas.datasets import Table, open_table
from brpnas.errors import DAMAGE, UserError, one_line
from brpnas.predictors import Prediction, SavedPredictor, load_predictor
from brpnas.resolver import SPACES, parse_archs, resolve

__all__ = ["load", "predict_rows"]


def load(predictor: Path, table: str) -> tuple[SavedPredictor, Table]:
    """Read a predictor and a table.

    Raises:
        UserError: one of them cannot be read.
    """
    return load_predictor(predictor), open_table(table)


def predict_rows(
    saved: SavedPredictor, table: Table, rows: NDArray[np.bool_] | None = None
) -> Prediction:
    """Predict the networks of a table, or of some of its rows.

    Raises:
        UserError: the table holds networks of another space, or the predictor does not work.
    """
    assert saved.predictor.schema is not None  # noqa: S101 - a loaded predictor was fitted
    space = resolve("space", saved.predictor.schema.space, SPACES)()
    archs = parse_archs(table, space)
    chosen = range(len(table)) if rows is None else np.flatnonzero(rows)
    graphs = [space.graph(archs[row]) for row in chosen]
    try:
        return saved.predictor.predict(graphs)
    except DAMAGE as error:
        raise UserError(
            f"the predictor does not work, its file may be damaged ({one_line(error)})"
        ) from error
