"""BRP-NAS for a whole front: a learned order of networks that chooses what to evaluate next."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.predictors.predictor import Predictor
from brpnas.search.brp import BRPSchedule
from brpnas.search.front_problem import FrontProblem, on_front
from brpnas.search.fronts._additive import Additive, OptionCosts, spread
from brpnas.search.fronts._gain import choose
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._places import Places, space_of
from brpnas.search.fronts._relation import layer_weights
from brpnas.search.fronts._variation import cross, mutate
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces import Graph
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["BRPFront"]

_log = logging.getLogger(__name__)

_FIRST = 0.35
"""Share of the budget in round 0."""
_EXPLORED = 0.5
"""Share of a later round, but the final one, that is not taken from the top."""
_TRUST = 0.2
"""Weight of the ranker, before it has said anything: what it gets after a round or two."""
_BRED = 750
"""Mutants of a round, and as many crossings."""
_RESCALED = 8
"""Knapsacks of a round, with damages rescaled at random."""
_PER_KNAPSACK = 60
"""Networks of each of them."""
_STEPS = 2000
"""Of the costs of those knapsacks."""
_SIGMA = 1.0
"""Greatest standard deviation of the logarithms of the factors."""
_PARENTS = 16
"""Networks that are bred from, at least, where so many are known."""


class BRPFront(Strategy[LowRankNetwork]):
    """Predicts thousands of networks and evaluates those that would add most to the front.

    Iterative sampling of Dudziak et al., "BRP-NAS: prediction-based NAS using GCNs", NeurIPS
    2020, section 4, for a front, in a space without end. Half of round 0 are the best networks if
    damages added up (`least_damage`), the others mutants of those. Round i fits two orders to all
    that is known: the ranker's, of graphs; and that of the sum of damages, where each layer's is
    multiplied by what its weight turns out to be (`layer_weights`). Their average
    chooses among new networks: mutants and crossings of the best that are known, and the best if
    damages added up with weights that are those learnt, times a random factor for each layer. Half
    of the round are taken from the top, one after the other: the greatest area that is added under
    the front (`area_gains`), which spreads them over the span. The others are drawn from the top
    1/2^i, because the top alone gets stuck. The final round takes only the top.

    Where too little is known for a fit (few networks, or all alike), the round is of random
    mutants, which the origins in the trace show.

    Args:
        problem: what is searched.
        seed: of all random choices and of the predictors.
        budget: networks to ask for.
        ranker: makes a fresh predictor of the objective from a seed.
        regressor: makes a fresh predictor of a cost that is not known beforehand from a seed; it
            has been told of what was scouted, and is told of the others.
        iterations: rounds that explore.
        option_costs: in the unit of ``problem.whole``.
        scouted: networks that were measured, chosen for little damage (`scout`).
    """

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        seed: int,
        budget: int,
        ranker: Callable[[int], Predictor],
        regressor: Callable[[int], Predictor],
        iterations: int,
        option_costs: OptionCosts,
        scouted: Sequence[LowRankNetwork] = (),
    ) -> None:
        self._problem = problem
        self._space = space_of(problem)
        self._rng = np.random.default_rng(seed)
        self._ranker = ranker
        self._regressor = regressor
        self._additive = Additive(problem, option_costs, scouted)
        self._weights = np.ones(len(self._additive.sizes))
        self._rounds = BRPSchedule(budget, iterations, max(1, round(budget * _FIRST))).rounds()
        self._iteration = -1
        self._plan: list[Candidate[LowRankNetwork]] = []
        self._asked: set[LowRankNetwork] = set()
        self._objectives: dict[LowRankNetwork, float] = {}
        self._shares: dict[LowRankNetwork, float] = {}
        self._said: dict[LowRankNetwork, tuple[float, float]] = {}

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next networks of the round; a new round begins with the fits."""
        while not self._plan and self._iteration + 1 < len(self._rounds):
            self._iteration += 1
            self._new_round(self._rounds[self._iteration])
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Keep the results for the fits of the next round."""
        for seen in observations:
            if np.isfinite(share := self._problem.share(seen)):
                self._shares[seen.arch] = share
                if np.isfinite(seen.objective):
                    self._objectives[seen.arch] = seen.objective

    def _new_round(self, size: int) -> None:
        """Plan the networks of a round."""
        if not self._iteration:
            self._take(self._first(-(-size // 2)), "knapsack")
            self._take_random(size - len(self._plan))
            return
        if self._problem.known is None:
            self._additive.learn(self._shares)
        measured = list(self._objectives)
        values = np.array([self._objectives[arch] for arch in measured])
        damages = self._additive.damage(self._additive.places(measured))
        self._weights = layer_weights(damages, values)
        archs = self._candidates()
        graphs = [self._space.graph(arch) for arch in archs]
        expected = self._predict(archs, graphs) if archs else None
        if expected is None:
            self._take_random(size)
            return
        final = self._iteration == len(self._rounds) - 1
        top = size if final else size - round(size * _EXPLORED)
        costs = self._costs(archs, graphs)
        # What is expected to be too dear comes last, whatever else is expected of it.
        objectives = np.where(costs > self._problem.span[1] * (1 + 1e-9), -np.inf, expected)
        best, drawn = choose(
            (np.array([self._shares[arch] for arch in measured]), values),
            costs,
            objectives,
            self._problem.span,
            (top, size - top),
            0.5**self._iteration,
            self._rng,
        )
        for chosen, origin in ((best, "final" if final else "top"), (drawn, "explore")):
            self._take([archs[row] for row in chosen], origin, expected[chosen].tolist())

    def _take(
        self, archs: Sequence[LowRankNetwork], origin: str, expected: Sequence[float] | None = None
    ) -> None:
        self._plan += [
            Candidate(arch, origin, self._iteration, value)
            for arch, value in zip(archs, expected or repeat(math.nan, len(archs)), strict=True)
        ]
        self._asked.update(archs)

    def _take_random(self, size: int) -> None:
        archs = self._candidates(rescaled=0)
        rows = self._rng.permutation(len(archs))[:size]
        self._take([archs[row] for row in rows], "random")

    def _first(self, size: int) -> list[LowRankNetwork]:
        """Return networks to begin with, spread over the span."""
        if self._additive.scouted:
            return self._additive.best_scouted(size, self._problem.span)
        solved = self._solved()
        rows = spread(self._additive.shares(solved), size, self._problem.span)
        return self._additive.archs(solved[rows])

    def _solved(self) -> Places:
        """The best networks if damages added up, shape (networks, layers)."""
        return least_damage(self._additive, self._problem.span[1])

    def _candidates(self, rescaled: int = _RESCALED) -> list[LowRankNetwork]:
        """Return new networks, near the best that are known.

        Costs lie within the span, as far as they add up.
        """
        parents = [self._best()]
        if self._additive.scouted:
            scouted = self._additive.best_scouted(_PER_KNAPSACK, self._problem.span)
            parents.append(self._additive.places(scouted))
        for _ in range(rescaled):
            sigma = self._rng.uniform(0, _SIGMA)
            scale = self._weights * np.exp(sigma * self._rng.standard_normal(len(self._weights)))
            found = least_damage(self._additive, self._problem.span[1], _STEPS, scale)
            rows = spread(self._additive.shares(found), _PER_KNAPSACK, self._problem.span)
            parents.append(found[rows])
        known = np.concatenate(parents)
        one, other = known[self._rng.integers(len(known), size=(2, _BRED))]
        mutants = mutate(known[self._rng.integers(len(known), size=_BRED)],
                         self._additive.sizes, self._rng)  # fmt: skip
        bred = np.unique(np.concatenate([known, mutants, cross(one, other, self._rng)]), axis=0)
        least, greatest = self._problem.span
        archs = self._additive.archs(bred)
        shares = self._additive.known(archs, self._additive.shares(bred))
        inside = (shares >= least) & (shares <= greatest * (1 + 1e-9))
        return [archs[row] for row in np.flatnonzero(inside) if archs[row] not in self._asked]

    def _best(self) -> Places:
        """Return the networks of the measured front, and of those behind it if it has few."""
        left = [arch for arch in self._objectives if self._shares[arch] <= self._problem.span[1]]
        best: list[LowRankNetwork] = []
        while left and len(best) < _PARENTS:
            shares = np.array([self._shares[arch] for arch in left])
            front = on_front(shares, np.array([self._objectives[arch] for arch in left]))
            best += [arch for arch, on in zip(left, front, strict=True) if on]
            left = [arch for arch, on in zip(left, front, strict=True) if not on]
        return self._additive.places(best) if best else self._solved()

    def _predict(
        self, archs: Sequence[LowRankNetwork], graphs: Sequence[Graph]
    ) -> NDArray[np.float64] | None:
        """Return expected objectives, shape (n,); None where the ranker cannot be fitted.

        Two orders of the networks, the ranker's and that of the sums of damages, become values
        of the objective by those of the networks that were measured, and are averaged. Weights
        are the inverse squared errors of what each said before the networks were measured.
        """
        seed = int(self._rng.integers(2**31))
        measured = list(self._objectives)
        values = np.array(list(self._objectives.values()))
        known = [self._space.graph(arch) for arch in measured]
        try:
            ranker = self._ranker(seed).fit(known, values)
        except UserError as error:
            _log.warning("round %d is random: %s", self._iteration, error)
            return None
        ranks = _in_unit(ranker.predict(known).mean, values, ranker.predict(graphs).mean)
        told = self._additive.damage(self._additive.places(measured))
        wanted = self._additive.damage(self._additive.places(archs))
        sums = _in_unit(-told @ self._weights, values, -wanted @ self._weights)
        weight = self._trust()
        self._said.update(zip(archs, zip(ranks, sums, strict=True), strict=True))
        return weight * ranks + (1 - weight) * sums

    def _trust(self) -> float:
        """Return the weight of the ranker."""
        told = [(*self._said[arch], value) for arch, value in self._objectives.items()
                if arch in self._said]  # fmt: skip
        if not told:
            return _TRUST
        ranks, sums, truth = np.array(told).T
        wrong = (np.square(ranks - truth).mean(), np.square(sums - truth).mean())
        return float((wrong[1] + 1e-12) / (sum(wrong) + 2e-12))

    def _costs(
        self, archs: Sequence[LowRankNetwork], graphs: Sequence[Graph]
    ) -> NDArray[np.float64]:
        """Return shares of the whole's cost: known, predicted, or as if costs added up."""
        if self._problem.known is not None:
            return self._problem.known_shares(archs)
        return self._additive.known(archs, self._predicted_costs(archs, graphs))

    def _predicted_costs(
        self, archs: Sequence[LowRankNetwork], graphs: Sequence[Graph]
    ) -> NDArray[np.float64]:
        seed, whole = int(self._rng.integers(2**31)), self._problem.whole
        try:
            new = [arch for arch in self._shares if arch not in self._additive.scouted]
            known = [self._space.graph(arch) for arch in new]
            costs = np.array([self._shares[arch] for arch in new]) * whole
            return self._regressor(seed).fit(known, costs).predict(graphs).mean / whole
        except UserError as error:
            _log.warning("%s adds up in round %d: %s", self._problem.cost, self._iteration, error)
            return self._additive.shares(self._additive.places(archs))


def _in_unit(
    scores: NDArray[np.float64], values: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what values scores stand for: those in the same place of the order."""
    return np.asarray(np.interp(others, np.sort(scores), np.sort(values)))
