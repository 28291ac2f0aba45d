"""BRP-NAS: a predictor that chooses its own next training networks."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors.predictor import Predictor
from brpnas.search._cost_model import CostModel
from brpnas.search._unseen import Unseen
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture, Graph

__all__ = ["BRPSchedule", "BRPSearch"]

A = TypeVar("A", bound=Architecture)

_log = logging.getLogger(__name__)


_FEWEST_FIRST = 8


@dataclass(frozen=True)
class BRPSchedule:
    """How the budget is divided.

    Attributes:
        budget: networks asked for in all.
        iterations: rounds that explore; the first is random.
        initial: networks of the first round; an equal share if None, but not too few to learn from.
        top_share: share of each later round that is taken from the top of the ranking.
        final: share of the budget that is taken from the top alone, after the last round.

    Raises:
        UserError: a number is out of range.
    """

    budget: int
    iterations: int = 10
    initial: int | None = None
    top_share: float = 0.5
    final: float = 0.2

    def __post_init__(self) -> None:
        if self.budget < 1 or self.iterations < 1:
            raise UserError(
                f"budget and iterations must be at least 1, not {self.budget}, {self.iterations}"
            )
        if not (0 <= self.top_share <= 1 and 0 <= self.final < 1):
            raise UserError(
                "top_share must lie in 0..1 and final below 1, "
                f"not {self.top_share:g}, {self.final:g}"
            )
        if self.initial is not None and not 1 <= self.initial <= self.budget:
            raise UserError(f"initial must lie in 1..{self.budget}, not {self.initial}")

    def rounds(self) -> list[int]:
        """Return the number of networks of each iteration and of the final round."""
        explored = max(self.budget - int(self.budget * self.final), self.initial or 1)
        share = -(-explored // self.iterations)
        first = self.initial or min(max(share, _FEWEST_FIRST), explored)
        later = self.iterations - 1
        sizes = [(explored - first + place) // later for place in range(later)][::-1]
        return [first, *sizes, self.budget - first - sum(sizes)]


class BRPSearch(Strategy[A]):
    """Ranks the whole pool with a predictor and evaluates what it ranks high.

    Iterative sampling of Dudziak et al., "BRP-NAS: prediction-based NAS using GCNs", NeurIPS
    2020, section 4. Round 0 is random. Round i fits the ranker to all that is known, ranks the
    networks that were not asked for, and takes a share from the top and the rest uniformly from
    the top 1/2^i of the ranking, because the top alone gets stuck. The final round takes only
    the top.

    Limits are kept by one cost predictor each, fitted to the costs of networks that were paid
    for: only networks are ranked whose predicted cost, plus a margin from the predictor's own
    error, is within the limit (see ``CostModel``). If these do not fill a round, those with the
    smallest predicted excess follow.

    The objective is taken to depend on the function that a network computes, not on how it is
    written (see ``Space.canonical``): the ranker sees canonical graphs, and of the writings of
    one function only one is paid for, as long as other functions are left. Costs depend on the
    writing: where all writings that were paid for break a limit, another one may keep it. The
    final round takes the top of all rows, as published: other writings of the best functions are
    networks of their own in a table, trained with other luck.

    Where too little is known for a fit (few networks, or all alike), the round is random, which
    the origins in the trace show.

    Args:
        problem: what is searched.
        seed: of all random choices and of the predictors.
        ranker: makes a fresh predictor of the objective from a seed.
        schedule: how the budget is divided.
        latency: makes a fresh predictor of a constrained metric from a seed; needed if there are
            limits.
        quantile: of the cost predictor's errors that sets the margin. Costs are measured before
            a network can be the answer, so a high quantile makes the answer no safer; it wastes
            fewer networks beyond the limit, but misses the best ones, which lie close to it.

    Raises:
        UserError: limits without a predictor for them.
    """

    def __init__(
        self,
        problem: Problem[A],
        seed: int,
        ranker: Callable[[int], Predictor],
        schedule: BRPSchedule,
        latency: Callable[[int], Predictor] | None = None,
        quantile: float = 0.5,
    ) -> None:
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(problem, self._rng)
        self._ranker = ranker
        self._schedule = schedule
        self._rounds = schedule.rounds()
        self._iteration = -1
        self._plan: list[Candidate[A]] = []
        self._objectives: dict[int, float] = {}
        self._settled: set[int] = set()
        """Networks whose function needs no other writing: they keep the limits, or have failed."""
        self._limits: list[CostModel] = []
        if problem.constraints and latency is None:
            names = ", ".join(constraint.metric for constraint in problem.constraints)
            raise UserError(f"strategy 'brp' needs a predictor of the limited metrics: {names}")
        if latency is not None:
            self._limits = [
                CostModel(constraint, latency, len(problem.pool), quantile)
                for constraint in problem.constraints
            ]

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return the next networks of the round; a new round begins with the fits."""
        while not self._plan and self._iteration + 1 < len(self._rounds):
            self._iteration += 1
            self._plan = self._new_round(self._rounds[self._iteration])
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Keep the results for the fits of the next round."""
        for seen in observations:
            place = self._problem.index(seen.arch)
            if np.isfinite(seen.objective):
                self._objectives[place] = seen.objective
            if self._problem.feasible(seen) or not np.isfinite(seen.objective):
                self._settled.add(place)
            for constraint, limit in zip(self._problem.constraints, self._limits, strict=True):
                limit.tell(place, seen.costs.get(constraint.metric, np.nan))

    def _new_round(self, size: int) -> list[Candidate[A]]:
        places = self._unseen.places()
        size = min(size, len(places))
        if not size:
            return []
        ranking = None if self._iteration == 0 else self._rank(places, size)
        if ranking is None:
            drawn = [self._unseen.draw() for _ in range(size)]
            return [
                Candidate(arch, "random", self._iteration) for arch in drawn if arch is not None
            ]
        order, fitting, expected = ranking
        final = self._iteration == self._schedule.iterations
        top = size if final else round(size * self._schedule.top_share)
        # The window shrinks with the ranking's growing trust, but always holds a full round.
        window = order[top : max(fitting // 2**self._iteration, size)]
        explored = self._rng.choice(window, size - top, replace=False)
        origins = ["final" if final else "top"] * top + ["explore"] * (size - top)
        return [
            Candidate(
                self._unseen.take(self._problem.pool[place]),
                origin,
                self._iteration,
                expected.get(place, math.nan),
            )
            for place, origin in zip([*order[:top], *explored], origins, strict=True)
        ]

    def _rank(
        self, places: NDArray[np.int64], size: int
    ) -> tuple[NDArray[np.int64], int, dict[int, float]] | None:
        """Order networks from best to worst, those expected to break a limit behind all others.

        Returns:
            Places in that order (at least ``size``), how many of them are expected to keep
            all limits, and the scores of those; None if the ranker cannot be fitted.
        """
        functions = self._functions
        seed = int(self._rng.integers(2**31))
        try:
            ranker = self._ranker(seed).fit(
                [functions[place] for place in self._objectives],
                np.array(list(self._objectives.values())),
            )
        except UserError as error:
            _log.warning("round %d is random: %s", self._iteration, error)
            return None
        excess = np.zeros(len(places))
        for limit in self._limits:
            excess += limit.excess(self._graphs, places, self._rng)
        fitting = places[excess == 0]
        last = self._iteration == self._schedule.iterations
        new = fitting if last else self._one_writing_each(fitting)
        scores = ranker.predict([functions[place] for place in new]).mean if len(new) else new
        order = new[np.argsort(-scores, kind="stable")]
        if len(order) < size:
            nearest = places[np.argsort(excess, kind="stable")][len(fitting) :]
            order = np.concatenate([order, nearest, np.setdiff1d(fitting, new)])
        return order, len(new), dict(zip(new.tolist(), scores.tolist(), strict=True))

    def _one_writing_each(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first network of each function that needs one."""
        functions = self._problem.functions
        places = places[~np.isin(functions[places], functions[list(self._settled)])]
        _, first = np.unique(functions[places], return_index=True)
        return places[first]

    @functools.cached_property
    def _graphs(self) -> list[Graph]:
        """The networks of the pool as they are written: costs depend on that."""
        return [self._problem.space.graph(arch) for arch in self._problem.pool]

    @functools.cached_property
    def _functions(self) -> list[Graph]:
        """The canonical writings: the objective depends on the function alone."""
        space = self._problem.space
        return [space.graph(space.canonical(arch)) for arch in self._problem.pool]
