from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brpnas.comparing import Comparison, Plan, compare
from brpnas.datasets import Table
from brpnas.errors import UserError
from brpnas.executors import InProcess
from brpnas.predictors import PREDICTORS, Prediction, Predictor
from brpnas.spaces import Graph, NASBench201
from brpnas.testing import SyntheticEvaluator, synthetic_problem

SPACE = NASBench201()


@pytest.fixture(scope="module")
def table() -> Table:
    archs = synthetic_problem(80).pool
    found = [evaluation.metrics for evaluation in SyntheticEvaluator().evaluate(archs)]
    frame = pd.DataFrame(found)
    frame.insert(0, "arch", list(map(str, archs)))
    return Table(frame)


class Constant(Predictor):
    """Predicts the median; crashes where it is told to."""

    crashes: ClassVar = False
    fitted: ClassVar[list[int]] = []

    def __init__(self, seed: int, valid: float) -> None:
        self.settings = seed, valid

    def fit(self, graphs: Sequence[Graph], values: NDArray[np.float64]) -> Self:
        if self.crashes:
            raise MemoryError("no more")
        self.fitted.append(len(graphs))
        self._median = float(np.median(values))
        return self

    def predict(self, graphs: Sequence[Graph]) -> Prediction:
        return Prediction(np.full(len(graphs), self._median), np.full(len(graphs), 1e9))


def test_any_predictor_and_a_fixed_number_to_judge_by(table: Table) -> None:
    plan = Plan(train=(20, 5, 20), valid=4, seeds=2, test=30)
    told: list[tuple[int, int]] = []
    found = compare(
        table,
        SPACE,
        ["latency_ms", "latency_ms"],
        {"constant": Constant},
        plan,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 4) for done in range(5)]
    assert [(fit.case.train, fit.case.seed) for fit in found.fits] == [
        (5, 0),
        (5, 1),
        (20, 0),
        (20, 1),
    ]
    frame = found.frame()
    assert (frame["n_test"] == 30).all()
    assert (frame["in_90pct"] == 1).all()
    assert frame["spearman"].isna().all()
    assert frame["error"].isna().all()
    few, many = found.fits[0].score, found.fits[2].score
    assert few
    assert many
    judged = [truth for truth, _ in few.points]
    assert judged == [truth for truth, _ in many.points]  # the same networks for all sizes
    assert found.medians()[0]["spearman"] is None


def test_what_crashed_is_tried_again_and_what_failed_is_not(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors: dict[str, type[Predictor]] = {
        "constant": Constant,
        "layerwise": PREDICTORS["layerwise"].regressor,
    }
    plan = Plan(train=(1,), valid=0, seeds=1)

    def run(resume: bool) -> Comparison:
        return compare(
            table,
            SPACE,
            ["latency_ms"],
            predictors,
            plan,
            tmp_path / "c",
            executor=InProcess(retries=0),
            resume=resume,
        )

    monkeypatch.setattr(Constant, "fitted", [])
    with monkeypatch.context() as patch:
        patch.setattr(Constant, "crashes", True)
        crashed, failed = (fit.error for fit in run(resume=False).fits)
    assert crashed == "MemoryError: no more"
    assert failed
    monkeypatch.setattr(predictors["layerwise"], "fit", lambda *_: pytest.fail("fitted again"))
    for _ in range(2):
        found = run(resume=True)
        assert [fit.error for fit in found.fits] == [None, failed]
    assert Constant.fitted == [1]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"train": ()}, "--train names no number"),
        ({"valid": -1}, "--valid must be at least 0, not -1"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"test": 1}, "--test must be at least 2"),
    ],
)
def test_bad_plans(plan: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Plan(**plan)  # type: ignore[arg-type]


def test_nothing_to_compare(table: Table) -> None:
    with pytest.raises(UserError, match="at least one column and one predictor"):
        compare(table, SPACE, ["latency_ms"], {})


def test_other_space(table: Table) -> None:
    other = Table(table.frame.assign(arch=[f"net{row}" for row in range(len(table))]))
    with pytest.raises(UserError, match="row 1, column 'arch'"):
        compare(other, SPACE, ["latency_ms"], {"constant": Constant}, Plan((5,), 0, 1))
