"""How to choose: the noun Strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from brpnas.search.problem import Candidate, Observation
from brpnas.spaces import Architecture

__all__ = ["Strategy"]

A = TypeVar("A", bound=Architecture)


class Strategy(ABC, Generic[A]):
    """Chooses networks to evaluate and learns from what they turn out to be.

    A strategy is a deterministic function of its seed and of what it was told: told the same, it
    asks the same. A search is resumed by telling a fresh strategy what the killed run found.
    ``brpnas.testing.StrategyContract`` tests this contract.
    """

    @abstractmethod
    def ask(self, n: int) -> list[Candidate[A]]:
        """Return at least 1 and at most ``n`` networks, none of which was asked for before.

        A strategy that wants to learn from some of them before it goes on returns fewer than
        ``n``. An empty list means that nothing is left to ask for.
        """

    @abstractmethod
    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Learn what the networks of the last ``ask`` turned out to be, in that order.

        They may be told in several portions, to the same effect.
        """
