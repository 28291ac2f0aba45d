"""What a choice is worth, read from a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from brpnas.datasets import Table
from brpnas.evaluate.evaluator import Evaluation, Evaluator
from brpnas.spaces import Architecture, Space

__all__ = ["DeployedTableEvaluator", "TableEvaluator"]

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


class DeployedTableEvaluator(Evaluator[A]):
    """Looks up what networks cost, in a table that need not write them in the same way.

    A network is found by its text, else by the first row that runs alike (``Space.deployed``). A
    value that the table lacks is NaN, and so is a network that it lacks.

    Args:
        table: one row per network, all of the space.
        metrics: names of the columns to read, each once.
        space: of the networks.

    Raises:
        UserError: the table lacks a column, or the space does not know a network.
    """

    def __init__(self, table: Table, metrics: Sequence[str], space: Space[A]) -> None:
        self.metrics = tuple(metrics)
        self._columns = {name: table.metric(name) for name in self.metrics}
        self._space = space
        self._row_of = {text: row for row, text in enumerate(table.archs)}
        self._alike: dict[A, int] = {}
        for row, text in enumerate(table.archs):
            self._alike.setdefault(space.deployed(space.parse(text)), row)

    def evaluate(self, archs: Sequence[A]) -> Iterator[Evaluation]:
        """Yield each network's row."""
        for arch in archs:
            row = self._row_of.get(str(arch))
            if row is None:
                row = self._alike.get(self._space.deployed(arch))
            yield Evaluation(
                {
                    name: np.nan if row is None else float(column[row])
                    for name, column in self._columns.items()
                }
            )
