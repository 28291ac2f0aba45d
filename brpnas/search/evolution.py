"""Regularised evolution."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from brpnas.search._unseen import Unseen
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture

__all__ = ["Evolution"]

A = TypeVar("A", bound=Architecture)


class Evolution(Strategy[A]):
    """Keeps the youngest networks and mutates the best of a few of them.

    Regularised ("ageing") evolution of Real et al., "Regularized evolution for image classifier
    architecture search", AAAI 2019: a population of random networks; then each child is a
    mutation of the best of ``sample_size`` members drawn with replacement, and takes the place
    of the oldest member, however good that one is. Unlike there, a network is evaluated only
    once: a child that was seen before is replaced by another attempt, and after ``tries``
    attempts by a random network.

    Args:
        problem: what is searched.
        seed: of all random choices.
        population: networks alive; the defaults suit budgets of a hundred to a few hundred.
        sample_size: members that compete to be a parent.
        tries: attempts to make a child that was not seen before.
        at_once: children made before the first of them is known; 1 is the published algorithm.
    """

    def __init__(
        self,
        problem: Problem[A],
        seed: int,
        population: int = 20,
        sample_size: int = 10,
        tries: int = 100,
        at_once: int = 1,
    ) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(problem, self._rng)
        self._population = population
        self._sample_size = sample_size
        self._tries = tries
        self._at_once = at_once
        self._asked = 0
        self._alive: deque[tuple[tuple[float, float], A]] = deque(maxlen=population)

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return random networks until the population is full, then children."""
        start = self._population - self._asked
        asked: list[Candidate[A]] = []
        for _ in range(min(n, start if start > 0 else self._at_once)):
            arch, origin = (None if start > 0 else self._child()), "mutation"
            if arch is None:
                arch, origin = self._unseen.draw(), "random"
            if arch is None:
                break
            asked.append(Candidate(arch, origin, self._asked // self._population))
            self._asked += 1
        return asked

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Add the networks to the population; the oldest ones leave it."""
        self._alive += [(self._problem.merit(seen), seen.arch) for seen in observations]

    def _child(self) -> A | None:
        for _ in range(self._tries if self._alive else 0):
            drawn = self._rng.integers(len(self._alive), size=self._sample_size)
            _, parent = max((self._alive[i] for i in drawn), key=lambda member: member[0])
            child = self._problem.find(self._problem.space.mutate(parent, self._rng))
            if child is not None and child in self._unseen:
                return self._unseen.take(child)
        return None
