from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import Table
from brpnas.errors import UserError
from brpnas.evaluate.lookup import TableEvaluator
from brpnas.spaces import Cell, NASBench201

CELLS = NASBench201().sample(4, np.random.default_rng(0))
TABLE = Table(
    pd.DataFrame(
        {
            "arch": [str(cell) for cell in CELLS[:3]],
            "accuracy_pct": [70.0, 71.5, 72.0],
            "latency_ms": [1.5, np.nan, 2.0],
        }
    ),
    name="made.csv",
)


def test_rows_are_found_by_text_in_the_order_asked_for() -> None:
    evaluator: TableEvaluator[Cell] = TableEvaluator(TABLE, ["latency_ms", "accuracy_pct"])
    assert evaluator.metrics == ("latency_ms", "accuracy_pct")
    found = list(evaluator.evaluate([CELLS[2], CELLS[0]]))
    assert [list(evaluation.metrics.items()) for evaluation in found] == [
        [("latency_ms", 2.0), ("accuracy_pct", 72.0)],
        [("latency_ms", 1.5), ("accuracy_pct", 70.0)],
    ]


def test_missing_value_is_nan_and_no_error() -> None:
    evaluator: TableEvaluator[Cell] = TableEvaluator(TABLE, ["latency_ms"])
    (evaluation,) = evaluator.evaluate([CELLS[1]])
    assert np.isnan(evaluation.metrics["latency_ms"])
    assert evaluation.error is None


def test_unknown_column_and_unknown_network() -> None:
    with pytest.raises(UserError, match="latency_ms"):
        TableEvaluator(TABLE, ["latencyms"])
    evaluator: TableEvaluator[Cell] = TableEvaluator(TABLE, ["latency_ms"])
    with pytest.raises(UserError, match=r"made\.csv"):
        list(evaluator.evaluate([CELLS[3]]))
