"""A strategy for a front: random low-rank versions, as evenly over the costs as they come."""

from collections.abc import Sequence

import numpy as np
from brpnas.search import Candidate, FrontProblem, Observation, Strategy
from brpnas.spaces import LowRankNetwork

_DRAWS = 50


class Sprinkle(Strategy[LowRankNetwork]):
    """Draws many versions, and asks for those whose known costs lie nearest to even steps.

    Args:
        problem: what is searched.
        seed: of the draws.
        budget: versions to ask for.
    """

    def __init__(self, problem: FrontProblem[LowRankNetwork], seed: int, budget: int) -> None:
        drawn = problem.space.sample(_DRAWS * budget, np.random.default_rng(seed))
        if problem.known is None:  # a latency, which only a measurement tells
            plan = drawn[:budget]
        else:
            shares = problem.known_shares(drawn)
            least, greatest = problem.span
            inside = (least <= shares) & (shares <= greatest)
            plan = []
            for step in np.linspace(least, greatest, budget):
                distance = np.where(inside, np.abs(shares - step), np.inf)
                nearest = int(distance.argmin())
                if inside[nearest]:
                    plan.append(drawn[nearest])
                    inside[nearest] = False
        self._plan = [Candidate(arch, "random", 0) for arch in plan]

    def ask(self, n: int) -> list[Candidate[LowRankNetwork]]:
        """Return the next ``n``."""
        asked, self._plan = self._plan[:n], self._plan[n:]
        return asked

    def tell(self, observations: Sequence[Observation[LowRankNetwork]]) -> None:
        """Learn nothing."""
