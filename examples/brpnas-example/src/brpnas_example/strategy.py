"""A strategy for one answer: climb from the best network known to its neighbours."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from brpnas.search import Candidate, Observation, Problem, Strategy
from brpnas.spaces import Architecture

A = TypeVar("A", bound=Architecture)
_EXPLORE = 0.25


class Climb(Strategy[A]):
    """Asks for a neighbour of the best network, or one time in four for any network.

    Args:
        problem: what is searched.
        seed: of all choices.
    """

    def __init__(self, problem: Problem[A], seed: int) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        # The networks that were not asked for yet, in random order.
        self._left = {problem.pool[place]: None for place in self._rng.permutation(problem.size)}
        self._best: list[Observation[A]] = []

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return at most ``n`` networks that were not asked for before."""
        return [self._next() for _ in range(min(n, len(self._left)))]

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Keep the best: ``merit`` puts networks within all limits before the others."""
        self._best = [max([*self._best, *observations], key=self._problem.merit)]

    def _next(self) -> Candidate[A]:
        near = self._near() if self._rng.random() > _EXPLORE else []
        if near:
            arch, origin = near[self._rng.integers(len(near))], "neighbour"
        else:
            arch, origin = next(iter(self._left)), "random"
        del self._left[arch]
        return Candidate(arch, origin, 0)

    def _near(self) -> list[A]:
        found = [
            self._problem.find(arch)  # as the pool writes it, if it has it
            for best in self._best
            for arch in self._problem.space.neighbours(best.arch)
        ]
        return [arch for arch in dict.fromkeys(found) if arch is not None and arch in self._left]
