"""What a choice is worth, read from a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from brpnas.datasets import Table
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.spaces import Architecture

__all__ = ["TableEvaluator"]

A = TypeVar("A", bound=Architecture)


class TableEvaluator(Evaluator[A]):
    """Looks networks up by their text; a value that the table lacks is NaN, not an error.

    Args:
        table: one row per network.
        metrics: names of the columns to read, each once.

    Raises:
        UserError: the table lacks a column (and, while evaluating, a network).
    """

    def __init__(self, table: Table, metrics: Sequence[str]) -> None:
        self.metrics = tuple(metrics)
        self._table = table
        self._columns = {name: table.metric(name) for name in self.metrics}

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield each network's row."""
        for row in self._table.rows([str(arch) for arch in archs]):
            yield Evaluation({name: float(column[row]) for name, column in self._columns.items()})
