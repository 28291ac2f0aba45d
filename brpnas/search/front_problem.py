"""What is asked of a search for a whole front: maximise one metric at every cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from brpnas.errors import UserError
from brpnas.run import Step
from brpnas.search.problem import Observation, count_failed
from brpnas.spaces import Architecture, Space

__all__ = ["FrontMember", "FrontProblem", "FrontResult", "on_front"]

A = TypeVar("A", bound=Architecture)


@dataclass(frozen=True)
class FrontMember(Generic[A]):
    """A network that no other one of a search beats in both objective and cost.

    Attributes:
        arch: the network.
        metrics: everything the evaluator says of it.
        step: its row in the trace, from 0.
    """

    arch: A
    metrics: dict[str, float]
    step: int


@dataclass(frozen=True)
class FrontResult(Generic[A]):
    """What a search found.

    Attributes:
        members: by cost, the dearest first.
        evaluated: networks asked for.
        failed: how many of them have no objective or no cost.
    """

    members: tuple[FrontMember[A], ...]
    evaluated: int
    failed: int


class FrontProblem(Generic[A]):
    """The space, the metric to maximise and the cost to trade it for.

    Attributes:
        space: of the networks; it mutates too.
        objective: name of the metric to maximise.
        cost: name of the metric to keep low.
        whole: the cost of the network as it is, in the cost's unit; above 0.
        span: least and greatest share of ``whole`` that answers may have.
        known: the cost of a network without evaluating it, where that is possible.

    Raises:
        UserError: a span that is empty or not above 0.
    """

    def __init__(
        self,
        space: Space[A],
        objective: str,
        cost: str,
        whole: float,
        span: tuple[float, float] = (0.2, 0.95),
        known: Callable[[A], float] | None = None,
    ) -> None:
        if not 0 <= span[0] < span[1]:
            raise UserError(f"shares of {cost} from {span[0]:g} to {span[1]:g}: there are none")
        self.space = space
        self.objective = objective
        self.cost = cost
        self.whole = whole
        self.span = span
        self.known = known

    @property
    def metrics(self) -> tuple[str, str]:
        """What a strategy is told of a network: objective and cost."""
        return (self.objective, self.cost)

    @property
    def size(self) -> None:
        """There are more networks than any budget."""
        return

    def observe(self, arch: A, metrics: Mapping[str, float]) -> Observation[A]:
        """Return what a strategy is told of a network."""
        return Observation(arch, metrics[self.objective], {self.cost: metrics[self.cost]})

    def share(self, observation: Observation[A]) -> float:
        """Return a network's cost as a share of the whole; NaN if unknown."""
        return observation.costs[self.cost] / self.whole

    def known_shares(self, archs: Sequence[A]) -> NDArray[np.float64]:
        """Return the costs of networks as shares of the whole, where `known` tells them, (n,)."""
        assert self.known is not None  # noqa: S101 - asked only where it is
        return np.array([self.known(arch) for arch in archs]) / self.whole

    def conclude(self, seen: Sequence[Observation[A]], steps: Sequence[Step]) -> FrontResult[A]:
        """Return the front of a search, of networks with at most the greatest share of cost.

        Raises:
            UserError: no network has an objective, or none is cheap enough; says the closest.
        """
        failed = count_failed(seen, steps, self.objective)
        shares = np.array([self.share(one) for one in seen])
        objectives = np.array([one.objective for one in seen])
        usable = np.isfinite(shares) & np.isfinite(objectives)
        if not usable.any():
            raise UserError(f"none of {len(seen)} networks has a value of {self.cost}")
        cheap = usable & (shares <= self.span[1] * (1 + 1e-9))
        if not cheap.any():
            raise UserError(
                f"none of {len(seen)} networks has at most {100 * self.span[1]:.4g}% of the "
                f"original's {self.cost}: the closest has {100 * shares[usable].min():.4g}%"
            )
        places = np.flatnonzero(cheap)
        places = places[on_front(shares[places], objectives[places])]
        order: list[int] = places[np.argsort(-shares[places], kind="stable")].tolist()
        members = tuple(FrontMember(seen[i].arch, steps[i].metrics, i) for i in order)
        return FrontResult(members, len(seen), failed)


def on_front(costs: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which networks no other one beats: cheaper and at least as good, or as cheap and better.

    Args:
        costs: lower is better, shape (n,).
        values: higher is better, shape (n,).

    Returns:
        Shape (n,); of equals, the first.
    """
    order = np.lexsort((np.arange(len(costs)), -values, costs))
    best = np.maximum.accumulate(values[order])
    first = np.ones(len(order), dtype=bool)
    first[1:] = values[order][1:] > best[:-1]
    front = np.zeros(len(order), dtype=bool)
    front[order[first]] = True
    return front
