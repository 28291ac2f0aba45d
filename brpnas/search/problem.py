"""What is asked of a search: maximise one metric while others stay under their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from brpnas.errors import UserError
from brpnas.spaces import Architecture, CategoricalSpace

__all__ = ["Candidate", "Constraint", "Observation", "Problem"]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class Constraint:
    """The metric of the answer is at most the limit, in the metric's own unit."""

    metric: str
    limit: float


@dataclass(frozen=True)
class Candidate(Generic[A]):
    """A network that a strategy asks for, and why.

    Attributes:
        arch: the network.
        origin: ``random``, ``top`` (best predicted), ``explore`` (drawn among the well
            predicted), ``final``, or what else a strategy does (``mutation``, ``neighbour``, ...).
        iteration: the round of the strategy, from 0.
    """

    arch: A
    origin: str
    iteration: int


@dataclass(frozen=True)
class Observation(Generic[A]):
    """What an evaluated network turned out to be.

    Attributes:
        arch: the network.
        objective: the metric to maximise; NaN where the evaluation failed or is missing.
        costs: each constrained metric; NaN where missing.
    """

    arch: A
    objective: float
    costs: Mapping[str, float]


class Problem(Generic[A]):
    """The networks to choose from, the metric to maximise and the limits to keep.

    Args:
        space: the space of the networks.
        pool: the networks that can be evaluated, without repeats.
        objective: name of the metric to maximise.
        constraints: limits on other metrics.
    """

    def __init__(
        self,
        space: CategoricalSpace[A],
        pool: Sequence[A],
        objective: str,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.space = space
        self.pool = list(pool)
        self.objective = objective
        self.constraints = tuple(constraints)
        self._index = {arch: place for place, arch in enumerate(self.pool)}
        if len(self._index) != len(self.pool):
            raise UserError("the pool of networks holds some network twice")

    def find(self, arch: A) -> A | None:
        """Return the pool's own writing of a network: itself, else its canonical form."""
        if arch in self._index:
            return arch
        canonical = self.space.canonical(arch)
        return canonical if canonical in self._index else None

    def index(self, arch: A) -> int:
        """Return a network's place in the pool."""
        return self._index[arch]

    def violation(self, observation: Observation[A]) -> float:
        """Sum of relative excesses over the limits: 0 if all are met, infinite if unknown."""
        total = 0.0
        for constraint in self.constraints:
            cost = observation.costs.get(constraint.metric, np.nan)
            if np.isnan(cost):
                return np.inf
            total += max(0.0, cost - constraint.limit) / abs(constraint.limit or 1.0)
        return total

    def merit(self, observation: Observation[A]) -> tuple[float, float]:
        """Order observations, larger is better: feasible ones by objective, then by violation.

        Feasible before infeasible, as in Deb, "An efficient constraint handling method for
        genetic algorithms", 2000. An unknown objective is the worst.
        """
        if np.isnan(observation.objective):
            return (-np.inf, -np.inf)
        violation = self.violation(observation)
        return (-violation, observation.objective)
