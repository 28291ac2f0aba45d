"""What a choice is worth, found by several evaluators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.spaces import Architecture

__all__ = ["JoinedEvaluator"]

A = TypeVar("A", bound=Architecture)


class JoinedEvaluator(Evaluator[A]):
    """Asks several evaluators for the same networks and puts their metrics side by side.

    A part that fails keeps the metrics of the others; the evaluation tells its reason. Each network
    is asked of the parts in their order, so that a first part that answers for a whole request at
    once, as timing does, has the machine to itself.

    Args:
        parts: the evaluators; the metrics are in their order.

    Raises:
        UserError: two parts have a metric of the same name.
    """

    def __init__(self, parts: Sequence[Evaluator[A]]) -> None:
        self.parts = tuple(parts)
        self.metrics = tuple(name for part in self.parts for name in part.metrics)
        for name in self.metrics:
            if self.metrics.count(name) > 1:
                raise UserError(f"metric '{name}' comes from two sources; rename one of them")

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield what all parts know of each network, as soon as the last of them knows."""
        found = (part.evaluate(archs) for part in self.parts)
        for evaluations in zip(*found, strict=True):
            metrics = {
                name: value
                for evaluation in evaluations
                for name, value in evaluation.metrics.items()
            }
            reasons = [evaluation.error for evaluation in evaluations if evaluation.error]
            yield Evaluation(metrics, "; ".join(reasons) or None)
