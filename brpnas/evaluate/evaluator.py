"""What a choice is worth: the noun Evaluator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from brpnas.spaces import Architecture

__all__ = ["Evaluation", "Evaluator"]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one network.

    Attributes:
        metrics: value of each of the evaluator's metrics; NaN where missing.
        error: why the evaluation failed, after retries, or None.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None


class Evaluator(ABC, Generic[A]):
    """Finds the metrics of networks.

    Attributes:
        metrics: names of the metrics, with their unit, in the order of the trace's columns.
    """

    metrics: tuple[str, ...]

    @abstractmethod
    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield the evaluation of each network, in order, each as soon as it is known."""
