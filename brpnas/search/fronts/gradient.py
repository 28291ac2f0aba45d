"""A super-network trained for each of several costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from brpnas.lowrank import Choice
from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._additive import Additive, OptionCosts
from brpnas.search.fronts._places import space_of
from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["GradientFront"]

_ABOVE = 1.01  # the cheapest options, where there is still a choice


class GradientFront(Strategy[LowRankNetwork]):
    """Asks for what gradients find at costs spread over the span (`train_supernet`).

    A network is trained for when it is asked for, and asked for alone, so that it is evaluated
    before the next is trained. What two trainings find is asked for once.

    Args:
        problem: what is searched.
        seed: not used: the trainer has its own.
        budget: costs to train for, the dearest first; none that the cheapest options do not meet.
        option_costs: in the unit of ``problem.whole``.
        trainer: from the share of the whole's cost to the choices for the layers.
    """

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        seed: int,  # noqa: ARG002 - every strategy has one
        budget: int,
        option_costs: OptionCosts,
        trainer: Callable[[float], Mapping[str, Choice]],
    ) -> None:
        self._space = space_of(problem)
        self._trainer = trainer
        least, greatest = problem.span
        additive = Additive(problem, option_costs)
        cheapest = float(additive.shares(additive.costs.argmin(1)))
        least = min(max(least, _ABOVE * cheapest), greatest)
        self._targets = [float(share) for share in np.linspace(greatest, least, budget)]
        self._asked: set[LowRankNetwork] = set()

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:  # noqa: ARG002 - one is enough
        """Return the network of the next cost that gives another one."""
        while self._targets:
            arch = self._space.network(self._trainer(self._targets.pop(0)))
            if arch not in self._asked:
                self._asked.add(arch)
                return [Candidate(arch, "gradient", 0)]
        return []

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Do nothing."""
