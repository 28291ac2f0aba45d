"""Local search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from brpnas.search._unseen import Unseen
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture

__all__ = ["LocalSearch"]

A = TypeVar("A", bound=Architecture)


class LocalSearch(Strategy[A]):
    """Walks from a random network to better neighbours until there is none, then starts anew.

    Local search of White et al., "Exploring the loss landscape in neural architecture search",
    UAI 2021, in the variant that moves to the first better neighbour. Neighbours differ in one
    decision. Neighbours that are known already cost nothing: the walk goes on to the best of
    them if it is better.

    Args:
        problem: what is searched.
        seed: of all random choices.
        at_once: neighbours asked for before the first of them is known; 1 is the published
            algorithm.
    """

    def __init__(self, problem: Problem[A], seed: int, at_once: int = 1) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(problem, self._rng)
        self._at_once = at_once
        self._starts = 0
        self._merits: dict[A, tuple[float, float]] = {}
        self._here: A | None = None
        self._queue: list[A] = []

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return unseen neighbours of the current network, or a random start."""
        if self._here is not None and not self._queue:
            self._look_around()
        if self._queue:
            count = min(n, self._at_once)
            asked, self._queue = self._queue[:count], self._queue[count:]
            return [
                Candidate(self._unseen.take(arch), "neighbour", self._starts - 1) for arch in asked
            ]
        self._here = None
        start = self._unseen.draw()
        if start is None:
            return []
        self._starts += 1
        return [Candidate(start, "random", self._starts - 1)]

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Move to the network if it is better than the current one."""
        for seen in observations:
            self._merits[seen.arch] = self._problem.merit(seen)
            if self._here is None or self._merits[seen.arch] > self._merits[self._here]:
                self._here = seen.arch
                self._queue = []

    def _look_around(self) -> None:
        """Move along known networks while they get better, then queue the unseen neighbours."""
        while self._here is not None:
            around = map(self._problem.find, self._problem.space.neighbours(self._here))
            pool = list(dict.fromkeys(arch for arch in around if arch is not None))
            known = [arch for arch in pool if arch in self._merits]
            best = max(known, key=self._merits.__getitem__, default=self._here)
            if self._merits[best] <= self._merits[self._here]:
                unseen = [arch for arch in pool if arch in self._unseen]
                self._queue = [unseen[i] for i in self._rng.permutation(len(unseen))]
                return
            self._here = best
