"""REINFORCE: a policy that learns which option to take at each decision."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.search._unseen import Unseen
from brpnas.search.problem import Candidate, Observation, Problem
from brpnas.search.strategy import Strategy
from brpnas.spaces import Architecture, CategoricalSpace

__all__ = ["Reinforce"]

A = TypeVar("A", bound=Architecture)


class Reinforce(Strategy[A]):
    """Samples networks from a policy and makes those with a high reward more likely.

    REINFORCE (Williams 1992) as in the papers of NAS-Bench-101 (Ying et al., ICML 2019) and
    NAS-Bench-201 (Dong & Yang, ICLR 2020): one categorical distribution per decision, all
    independent, and a moving average of the rewards as baseline b. A sampled network with
    reward r changes the logits by ``learning_rate * (r - b) * (onehot - probabilities)``.

    The reward is the network's rank among all that were told so far, by ``Problem.merit``, from
    0 (worst) to 1 (best). So one learning rate serves every unit of the objective, limits need
    no weight, and a failed evaluation is simply the worst.

    A network that is sampled again teaches with its present rank and costs nothing. After
    ``tries`` samples without a new network, a random one is asked for; it does not teach the
    policy, which did not choose it.

    Args:
        problem: what is searched.
        seed: of all random choices.
        learning_rate: size of the steps of the logits.
        decay: of the moving average.
        tries: samples drawn to find a network that was not seen before.
        at_once: networks sampled before the first of them is known; 1 is the published algorithm.

    Raises:
        UserError: the space is not one of independent choices.
    """

    def __init__(
        self,
        problem: Problem[A],
        seed: int,
        learning_rate: float = 1.0,
        decay: float = 0.9,
        tries: int = 20,
        at_once: int = 1,
    ) -> None:
        if not isinstance(problem.space, CategoricalSpace):
            raise UserError(
                f"strategy 'reinforce' needs a space of independent choices; "
                f"the cells of '{problem.space.name}' are none"
            )
        self._space: CategoricalSpace[A] = problem.space
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._unseen = Unseen(problem, self._rng)
        self._learning_rate = learning_rate
        self._decay = decay
        self._tries = tries
        self._at_once = at_once
        self._baseline = 0.5
        self._logits = [np.zeros(options) for options in self._space.choices]
        self._sampled: dict[A, list[int]] = {}
        self._merits: dict[A, tuple[float, float]] = {}
        self._ranking: list[tuple[float, float]] = []

    def ask(self, n: int) -> list[Candidate[A]]:
        """Return networks sampled from the policy."""
        asked: list[Candidate[A]] = []
        for _ in range(min(n, self._at_once)):
            arch, origin = self._sample(), "policy"
            if arch is None:
                arch, origin = self._unseen.draw(), "random"
            if arch is not None:
                asked.append(Candidate(arch, origin, 0))
        return asked

    def tell(self, observations: Sequence[Observation[A]]) -> None:
        """Rank the networks and learn from those that the policy chose."""
        for seen in observations:
            merit = self._merits[seen.arch] = self._problem.merit(seen)
            bisect.insort(self._ranking, merit)
            options = self._sampled.pop(seen.arch, None)
            if options is not None:
                self._learn(options, merit)

    def _sample(self) -> A | None:
        for _ in range(self._tries):
            options = [
                int(self._rng.choice(len(logits), p=_softmax(logits))) for logits in self._logits
            ]
            arch = self._problem.find(self._space.decode(options))
            if arch is None:
                continue
            if arch in self._unseen:
                self._sampled[arch] = options
                return self._unseen.take(arch)
            if arch in self._merits:
                self._learn(options, self._merits[arch])
        return None

    def _learn(self, options: Sequence[int], merit: tuple[float, float]) -> None:
        below = bisect.bisect_left(self._ranking, merit)
        not_above = bisect.bisect_right(self._ranking, merit)
        reward = (below + not_above) / 2 / len(self._ranking)  # equal merits share a rank
        step = self._learning_rate * (reward - self._baseline)
        for logits, option in zip(self._logits, options, strict=True):
            gradient = -_softmax(logits)
            gradient[option] += 1
            logits += step * gradient
        self._baseline = self._decay * self._baseline + (1 - self._decay) * reward


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum())
