from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import Table
from brpnas.errors import UserError
from brpnas.evaluate.lookup import DeployedTableEvaluator, TableEvaluator
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


POOLS = "|avg_pool_3x3~0|+|{}|+|none~0|{}|nor_conv_1x1~2|"
ONCE = POOLS.format("none~0|skip_connect~1", "nor_conv_1x1~1")
TWICE = POOLS.format("avg_pool_3x3~0|none~1", "nor_conv_1x1~1")
OTHER = POOLS.format("none~0|skip_connect~1", "nor_conv_3x3~1")


@pytest.mark.parametrize(("written", "asked"), [(ONCE, TWICE), (TWICE, ONCE)])
def test_cost_is_found_by_what_of_a_network_runs(written: str, asked: str) -> None:
    space = NASBench201()
    table = Table(pd.DataFrame({"arch": [OTHER, written], "latency_ms": [1.5, 2.5]}))
    evaluator = DeployedTableEvaluator(table, ["latency_ms"], space)
    known = [space.parse(text) for text in (asked, written, OTHER)]
    found = [evaluation.metrics["latency_ms"] for evaluation in evaluator.evaluate(known)]
    assert found == [2.5, 2.5, 1.5]
    (unknown,) = evaluator.evaluate([Cell(("none",) * 6)])
    assert np.isnan(unknown.metrics["latency_ms"])
    assert unknown.error is None


def test_own_text_comes_before_a_network_that_runs_alike() -> None:
    space = NASBench201()
    table = Table(pd.DataFrame({"arch": [ONCE, TWICE], "latency_ms": [1.5, np.nan]}))
    evaluator = DeployedTableEvaluator(table, ["latency_ms"], space)
    (own,) = evaluator.evaluate([space.parse(TWICE)])
    assert np.isnan(own.metrics["latency_ms"])
