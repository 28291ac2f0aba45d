"""Random search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from brpnas.search._unseen import Unseen
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture

__all__ = ["RandomSearch"]

A = TypeVar("A", bound=Architecture)


class RandomSearch(Strategy[A]):
    """Draws uniformly from the pool, without replacement, and learns nothing.

    The baseline that every other strategy has to beat (Li & Talwalkar, "Random search and
    reproducibility for neural architecture search", UAI 2019).

    Args:
        problem: what is searched.
        seed: of the draws.
    """

    def __init__(self, problem: Problem[A], seed: int) -> None:
        self._unseen = Unseen(problem, np.random.default_rng(seed))

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return the next ``n`` networks of a shuffled pool."""
        drawn = (self._unseen.draw() for _ in range(n))
        return [Candidate(arch, "random", 0) for arch in drawn if arch is not None]

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Do nothing."""
