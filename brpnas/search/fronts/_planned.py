"""A strategy that knows from the beginning what it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from brpnas.search.problem import Candidate, Observation
from brpnas.search.strategy import Strategy
from brpnas.spaces.lowrank import LowRankNetwork

__all__ = ["Planned"]


class Planned(Strategy[LowRankNetwork]):
    """Asks for a list of networks, and learns nothing.

    Args:
        archs: the networks, without repeats.
        origin: theirs.
    """

    def __init__(self, archs: Sequence[LowRankNetwork], origin: str) -> None:
        self._plan = [Candidate(arch, origin, 0) for arch in archs]

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next ``n`` networks of the list."""
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Do nothing."""
