"""A strategy that follows what is known of options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._additive import Additive, OptionCosts, spread
from brpnas.search.fronts._places import Places
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["Planned"]

_ROUNDS = 4
"""If costs are measured: after each, what sums of costs mean is corrected."""


class Planned(Strategy[LowRankNetwork]):
    """Asks for networks that come of costs and damages alone, at costs spread over the span.

    All at once where costs are known beforehand; else in four rounds, each by what the networks
    before it cost. Of accuracy it learns nothing. Where networks were scouted, these are what it
    asks for: those of the least damage at each cost.

    Attributes:
        origin: of its networks, in the trace.

    Args:
        problem: what is searched.
        seed: not used: nothing is drawn.
        budget: networks to ask for; fewer where there are fewer.
        option_costs: in the unit of ``problem.whole``.
        scouted: networks that were measured, chosen for little damage (`scout`).
    """

    origin: ClassVar[str]

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        seed: int,  # noqa: ARG002 - every strategy has one
        budget: int,
        option_costs: OptionCosts,
        scouted: Sequence[LowRankNetwork] = (),
    ) -> None:
        self._problem = problem
        self._additive = Additive(problem, option_costs, scouted)
        at_once = problem.known is not None or self._additive.scouted
        rounds = 1 if at_once else min(_ROUNDS, budget)
        self._sizes = [len(part) for part in np.array_split(np.arange(budget), rounds)]
        self._iteration = -1
        self._plan: list[Candidate[LowRankNetwork]] = []
        self._asked: set[LowRankNetwork] = set()
        self._shares: dict[LowRankNetwork, float] = {}

    @abstractmethod
    def _networks(self, additive: Additive) -> Places:
        """Return networks of many costs to choose from, shape (networks, layers)."""

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next ``n`` networks of the round."""
        if not self._plan and self._iteration + 1 < len(self._sizes):
            self._iteration += 1
            self._new_round(self._sizes[self._iteration])
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Keep what networks cost."""
        for seen in observations:
            if np.isfinite(share := self._problem.share(seen)):
                self._shares[seen.arch] = share

    def _new_round(self, size: int) -> None:
        if self._iteration:
            self._additive.learn(self._shares)
        if self._additive.scouted:
            chosen = self._additive.best_scouted(size, self._problem.span)
        else:
            chosen = self._solved(size)
        self._plan = [Candidate(arch, self.origin, self._iteration) for arch in chosen]
        self._asked.update(chosen)

    def _solved(self, size: int) -> list[LowRankNetwork]:
        """Return new networks, spread over the span."""
        places = self._networks(self._additive)
        archs = self._additive.archs(places)
        new = [row for row, arch in enumerate(archs) if arch not in self._asked]
        if not new:
            return []
        rows = spread(self._additive.shares(places[new]), size, self._problem.span)
        return [archs[new[row]] for row in rows]
