from __future__ import annotations

from brpnas.search import Problem, RandomSearch, Strategy
from brpnas.spaces import Cell
from brpnas.testing import StrategyContract


class TestRandomSearch(StrategyContract):
    def strategy(self, problem: Problem[Cell], seed: int, budget: int) -> Strategy[Cell]:  # noqa: ARG002
        return RandomSearch(problem, seed)
