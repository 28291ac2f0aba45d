"""Random search."""

from __future__ import annotations

import numpy as np

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._planned import Planned
from brpnas.search.fronts._sampling import sample
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["RandomFront"]


class RandomFront(Planned):
    """Draws from the space, within the span where costs are known beforehand.

    The baseline that every other strategy has to beat.

    Args:
        problem: what is searched.
        seed: of the draws.
        budget: networks to ask for.
    """

    def __init__(self, problem: FrontProblem[LowRankNetwork], seed: int, budget: int) -> None:
        super().__init__(sample(problem, budget, np.random.default_rng(seed)), "random")
