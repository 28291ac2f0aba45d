"""The least damage at each cost, as if damages added up."""

from __future__ import annotations

from typing import ClassVar

from brpnas.search.fronts._additive import Additive
from brpnas.search.fronts._knapsack import least_damage
from brpnas.search.fronts._places import Places
from brpnas.search.fronts._planned import Planned

__all__ = ["Knapsack"]


class Knapsack(Planned):
    """Solves for the least sum of damages at costs spread over the span.

    Exact, if the damages of a network's layers add up (`Option.damage`): see `least_damage`. As
    many different networks as the budget asks for, or all that no other one beats.
    """

    origin: ClassVar[str] = "knapsack"

    def _networks(self, additive: Additive) -> Places:
        return least_damage(additive, self._problem.span[1])
