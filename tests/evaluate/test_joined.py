from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.evaluate.joined import JoinedEvaluator
from brpnas.spaces import Cell, NASBench201

CELLS = list(NASBench201())[:3]


class _Says(Evaluator[Cell]):
    """Numbers the networks; fails at one of them; notes when it is asked."""

    def __init__(self, name: str, log: list[str], fails_at: int | None = None) -> None:
        self.metrics = (name,)
        self.log = log
        self.fails_at = fails_at

    def evaluate(self, archs: Sequence[Cell]) -> Iterator[Evaluation]:
        for place, _ in enumerate(archs):
            self.log.append(f"{self.metrics[0]}{place}")
            failed = place == self.fails_at
            metrics = {} if failed else {self.metrics[0]: float(place)}
            yield Evaluation(metrics, f"no {self.metrics[0]}" if failed else None)


def test_metrics_side_by_side_in_order_and_in_step() -> None:
    log: list[str] = []
    joined = JoinedEvaluator([_Says("a", log), _Says("b", log)])
    assert joined.metrics == ("a", "b")
    found = joined.evaluate(CELLS)
    assert next(found) == Evaluation({"a": 0, "b": 0})
    assert log == ["a0", "b0"]
    assert list(found) == [Evaluation({"a": place, "b": place}) for place in (1, 2)]
    assert list(joined.evaluate([])) == []


def test_a_part_that_fails_keeps_the_others() -> None:
    joined = JoinedEvaluator([_Says("a", [], 0), _Says("b", [], 1), _Says("c", [], 1)])
    assert list(joined.evaluate(CELLS)) == [
        Evaluation({"b": 0, "c": 0}, "no a"),
        Evaluation({"a": 1}, "no b; no c"),
        Evaluation({"a": 2, "b": 2, "c": 2}),
    ]


def test_a_metric_has_one_source() -> None:
    with pytest.raises(UserError, match="metric 'a' comes from two sources"):
        JoinedEvaluator([_Says("a", []), _Says("a", [])])
