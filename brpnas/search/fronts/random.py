"""Random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._sampling import sample
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["RandomFront"]


class RandomFront(Strategy[LowRankNetwork]):
    """Draws from the space, within the span where costs are known beforehand.

    The baseline that every other strategy has to beat.

    Args:
        problem: what is searched.
        seed: of the draws.
        budget: networks to ask for.
    """

    def __init__(self, problem: FrontProblem[LowRankNetwork], seed: int, budget: int) -> None:
        drawn = sample(problem, budget, np.random.default_rng(seed))
        self._plan = [Candidate(arch, "random", 0) for arch in drawn]

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next ``n`` networks."""
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Do nothing."""
