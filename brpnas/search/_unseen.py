"""The networks that a strategy has not asked for yet."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.search.problem import Problem
from brpnas.spaces import Architecture

__all__ = ["Unseen"]

A = TypeVar("A", bound=Architecture)


class Unseen(Generic[A]):
    """The part of a problem's pool that was not taken yet.

    Args:
        problem: its pool is full at first.
        rng: shuffles the pool once, so that a random draw costs no search.
    """

    def __init__(self, problem: Problem[A], rng: np.random.Generator) -> None:
        self._problem = problem
        self._order = rng.permutation(len(problem.pool))
        self._next = 0
        self._free = np.ones(len(problem.pool), dtype=bool)

    def __contains__(self, arch: A) -> bool:
        return bool(self._free[self._problem.index(arch)])

    def places(self) -> NDArray[np.int64]:
        """Return the places in the pool of what is left, ascending."""
        return np.flatnonzero(self._free)

    def take(self, arch: A) -> A:
        """Take a network of the pool."""
        self._free[self._problem.index(arch)] = False
        return arch

    def draw(self) -> A | None:
        """Take a network drawn uniformly from what is left; None if nothing is."""
        while self._next < len(self._order):
            place = self._order[self._next]
            self._next += 1
            if self._free[place]:
                return self.take(self._problem.pool[place])
        return None
