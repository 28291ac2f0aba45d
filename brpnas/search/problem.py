"""What is asked of a search: maximise one metric while others stay under their limits."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.run import Step
from brpnas.spaces import Architecture, FiniteSpace

__all__ = [
    "Candidate",
    "Constraint",
    "Observation",
    "Problem",
    "SearchResult",
    "check_reachable",
]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class Constraint:
    """The metric of the answer is at most the limit, in the metric's own unit.

    Raises:
        UserError: the limit is not a finite number.
    """

    metric: str
    limit: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.limit):
            raise UserError(f"the limit on {self.metric} must be a number, not {self.limit}")

    def excess(self, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far costs lie above the limit, as a share of it; infinite if unknown."""
        over = np.maximum(0.0, costs - self.limit) / abs(self.limit or 1.0)
        return np.where(np.isnan(costs), np.inf, over)


def check_reachable(constraint: Constraint, costs: NDArray[np.float64]) -> None:
    """Refuse a limit that no network meets, where all costs are known before a search.

    Args:
        constraint: the limit.
        costs: the constrained metric of every network, in the unit of the limit; NaN where missing.

    Raises:
        UserError: no cost is known, or the smallest is above the limit.
    """
    known = costs[~np.isnan(costs)]
    if not len(known):
        raise UserError(f"no network has a value of {constraint.metric}")
    if known.min() > constraint.limit:
        raise UserError(
            f"no network has {constraint.metric} of at most {constraint.limit:g}: "
            f"the smallest is {known.min():g}"
        )


@dataclass(frozen=True)
class Candidate(Generic[A]):
    """A network that a strategy asks for, and why.

    Attributes:
        arch: the network.
        origin: ``random``, ``top`` (best predicted), ``explore`` (drawn among the well
            predicted), ``final``, or what else a strategy does (``mutation``, ``neighbour``, ...).
        iteration: the round of the strategy, from 0.
        expected: of the objective, in the unit of the strategy's predictor, which may be of this
            round alone: the larger, the better. NaN where nothing was expected.
    """

    arch: A
    origin: str
    iteration: int
    expected: float = math.nan


@dataclass(frozen=True)
class Observation(Generic[A]):
    """What an evaluated network turned out to be.

    Attributes:
        arch: the network.
        objective: the metric to maximise; not finite where the evaluation failed or is missing.
        costs: each constrained metric; NaN where missing.
    """

    arch: A
    objective: float
    costs: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult(Generic[A]):
    """What a search found.

    Attributes:
        best: the network with the largest measured objective among those that keep all limits;
            the first of them among equals.
        metrics: everything the evaluator says of it; NaN where missing.
        step: its row in the trace, from 0.
        evaluated: networks asked for.
        failed: how many of them have no objective.
    """

    best: A
    metrics: dict[str, float]
    step: int
    evaluated: int
    failed: int


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
        space: FiniteSpace[A],
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

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a strategy is told of a network: the objective and the limited metrics."""
        return (self.objective, *(limit.metric for limit in self.constraints))

    @property
    def size(self) -> int:
        """How many networks there are to choose from."""
        return len(self.pool)

    def observe(self, arch: A, metrics: Mapping[str, float]) -> Observation[A]:
        """Return what a strategy is told of a network."""
        costs = {limit.metric: metrics[limit.metric] for limit in self.constraints}
        return Observation(arch, metrics[self.objective], costs)

    def find(self, arch: A) -> A | None:
        """Return the pool's own writing of a network: itself, else the first of its function."""
        if arch in self._index:
            return arch
        place = self._first_writing.get(self.space.canonical(arch))
        return None if place is None else self.pool[place]

    @functools.cached_property
    def functions(self) -> NDArray[np.int64]:
        """The place of the first network that computes the same, for each of the pool."""
        first = self._first_writing
        return np.array([first[self.space.canonical(arch)] for arch in self.pool], dtype=np.int64)

    @functools.cached_property
    def _first_writing(self) -> dict[A, int]:
        """Where the pool first writes a function, by the function's canonical network."""
        first: dict[A, int] = {}
        for place, arch in enumerate(self.pool):
            first.setdefault(self.space.canonical(arch), place)
        return first

    def index(self, arch: A) -> int:
        """Return a network's place in the pool."""
        return self._index[arch]

    def violation(self, observation: Observation[A]) -> float:
        """Sum of relative excesses over the limits: 0 if all are met, infinite if unknown."""
        costs = (
            (limit, np.array(observation.costs.get(limit.metric, np.nan)))
            for limit in self.constraints
        )
        return float(sum(limit.excess(cost) for limit, cost in costs))

    def feasible(self, observation: Observation[A]) -> bool:
        """Tell whether a network has an objective and keeps every limit."""
        return bool(np.isfinite(observation.objective)) and self.violation(observation) == 0

    def merit(self, observation: Observation[A]) -> tuple[float, float]:
        """Order observations, larger is better: feasible ones by objective, then by violation.

        Feasible before infeasible, as in Deb, "An efficient constraint handling method for
        genetic algorithms", 2000. An unknown objective is the worst.
        """
        if not np.isfinite(observation.objective):
            return (-np.inf, -np.inf)
        violation = self.violation(observation)
        return (-violation, observation.objective)

    def conclude(self, seen: Sequence[Observation[A]], steps: Sequence[Step]) -> SearchResult[A]:
        """Return the best network of a search.

        Raises:
            UserError: none has an objective, or none keeps the limits.
        """
        failed = count_failed(seen, steps, self.objective)
        best = max(range(len(seen)), key=lambda place: self.merit(seen[place]))
        if not self.feasible(seen[best]):
            smallest = self._smallest(seen)
            raise UserError(f"none of {len(seen)} networks keeps the limits: {smallest}")
        return SearchResult(seen[best].arch, steps[best].metrics, best, len(seen), failed)

    def _smallest(self, seen: Sequence[Observation[A]]) -> str:
        parts = []
        for limit in self.constraints:
            costs = [observation.costs[limit.metric] for observation in seen]
            known = [cost for cost in costs if np.isfinite(cost)]
            smallest = f"the smallest seen is {min(known):g}" if known else "no value is known"
            parts.append(f"{limit.metric} must be at most {limit.limit:g}, {smallest}")
        return "; ".join(parts)


def count_failed(seen: Sequence[Observation[A]], steps: Sequence[Step], objective: str) -> int:
    """Return how many networks have no objective.

    Raises:
        UserError: none has one; says why the first failed.
    """
    failed = sum(not np.isfinite(observation.objective) for observation in seen)
    if failed == len(seen):
        error = next((f": {step.error}" for step in steps if step.error), "")
        raise UserError(f"none of {len(seen)} networks has a value of {objective}{error}")
    return failed
