"""The least damage at each cost, as if damages added up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brpnas.search.front_problem import FrontProblem
from brpnas.search.fronts._additive import Additive, spread
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._planned import Planned
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["Knapsack"]


class Knapsack(Planned):
    """Solves for the least sum of damages at costs spread over the span.

    Exact, if the damages of a network's layers add up (`Option.damage`): see `least_damage`. As
    many different networks as the budget asks for, or all that no other one beats.

    Args:
        problem: what is searched.
        seed: not used: nothing is drawn.
        budget: networks to ask for.
        option_costs: of the layer with each option, by the layer's name, in the order of
            ``space.options`` and the unit of ``problem.whole``.
        fixed_cost: of all else, in the same unit.
    """

    def __init__(
        self,
        problem: FrontProblem[LowRankNetwork],
        seed: int,  # noqa: ARG002 - every strategy has one
        budget: int,
        option_costs: Mapping[str, NDArray[np.float64]],
        fixed_cost: float,
    ) -> None:
        additive = Additive(problem, option_costs, fixed_cost)
        places = least_damage(additive, problem.span[1])
        rows = spread(additive.shares(places), budget, problem.span)
        super().__init__(additive.archs(places[rows]), "knapsack")
