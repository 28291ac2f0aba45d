"""What options of layers cost, and what is asked of their sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from brpnas.errors import UserError
from brpnas.lowrank.schemes import DENSE, Choice

__all__ = ["Budget", "Costs", "Goal", "Penalty"]

_HALVINGS = 50
_DEAREST = 1e12


class Costs:
    """Costs of the options of layers, which add up.

    Attributes:
        options: shape (layers, most options of a layer), float64; 0 where there is no option.
        there: where there is one, in the same shape.
        dense: the place of ``dense`` in each layer, shape (layers,).
        fixed: the cost of all else.
    """

    def __init__(
        self,
        options: Mapping[str, Sequence[Choice]],
        costs: Mapping[str, Sequence[float]],
        fixed: float,
    ) -> None:
        """Check and keep them; arguments and errors are those of `SuperNetwork`."""
        if not options:
            raise UserError("no layer has options: there is nothing to choose")
        if not 0 <= fixed < math.inf:
            raise UserError(f"a fixed cost of {fixed}; accepted: 0 or more")
        size = (len(options), max(len(choices) for choices in options.values()))
        self.options = torch.zeros(size, dtype=torch.float64)
        self.there = torch.zeros(size, dtype=torch.bool)
        places = []
        for i, (name, choices) in enumerate(options.items()):
            if DENSE not in choices or len(set(choices)) < len(choices):
                raise UserError(f"layer '{name}': its options have to be different, and dense "
                                "among them")  # fmt: skip
            of_layer = costs.get(name, ())
            if len(of_layer) != len(choices) or not all(0 <= c < math.inf for c in of_layer):
                raise UserError(
                    f"layer '{name}': {len(choices)} options and {len(of_layer)} costs; accepted: "
                    "one for each, 0 or more"
                )
            self.options[i, : len(choices)] = torch.tensor(of_layer, dtype=torch.float64)
            self.there[i, : len(choices)] = True
            places.append(choices.index(DENSE))
        self.dense = torch.tensor(places)
        self.fixed = fixed

    def of_shares(self, shares: Tensor) -> Tensor:
        """Return the cost of mixtures, shape (...), from shares (..., layers, options)."""
        return (shares * self.options).sum((-2, -1)) + self.fixed

    def of_places(self, places: Tensor) -> float:
        """Return the cost of one option for each layer, given its place there."""
        return float(self.options.gather(1, places[:, None]).sum()) + self.fixed

    @property
    def least(self) -> float:
        """The cost of the cheapest options."""
        return float(self._cheapest().sum()) + self.fixed

    def _cheapest(self) -> Tensor:
        return self.options.masked_fill(~self.there, math.inf).amin(1)


class Goal(Protocol):
    """What is asked for."""

    def check(self, costs: Costs) -> None:
        """Check that it can be had.

        Raises:
            UserError: it cannot.
        """

    def logits(self, theta: Tensor, costs: Costs) -> Tensor:
        """Return unscaled logarithms of the options' chances, in theta's shape."""
        ...

    def loss(self, loss: Tensor, shares: Tensor, costs: Costs) -> Tensor:
        """Return what is minimised.

        Args:
            loss: of mixtures, shape (...).
            shares: of their options, shape (..., layers, options).
            costs: of the options.
        """
        ...

    def decide(self, theta: Tensor, costs: Costs) -> Tensor:
        """Return the place of the option that each layer gets, shape (layers,)."""
        ...


@dataclass(frozen=True)
class Penalty:
    """Low costs beside a low loss, as SVD-NAS asks for them: (log cost / log cost of dense)^beta.

    Attributes:
        beta: what the loss is multiplied by has this power; 0: costs are ignored.
    """

    beta: float

    def check(self, costs: Costs) -> None:
        """Check that the logarithms are positive."""
        if not 0 <= self.beta < math.inf:
            raise UserError(f"a penalty with beta {self.beta}; accepted: 0 or more")
        if costs.least <= 1:
            raise UserError(f"a penalty takes logarithms of costs, and the least is {costs.least}: "
                            "give them in a smaller unit, so that all are above 1")  # fmt: skip

    def logits(self, theta: Tensor, costs: Costs) -> Tensor:  # noqa: ARG002 - another goal's
        """Return theta: it has to learn what costs."""
        return theta

    def loss(self, loss: Tensor, shares: Tensor, costs: Costs) -> Tensor:
        """Return the product."""
        dense = math.log(costs.of_places(costs.dense))
        return loss * (costs.of_shares(shares).log() / dense) ** self.beta

    def decide(self, theta: Tensor, costs: Costs) -> Tensor:  # noqa: ARG002 - another goal's
        """Return the options of the greatest theta."""
        return theta.argmax(1)


@dataclass(frozen=True)
class Budget:
    """A low loss at no more than a given cost.

    An option's chances are those of softmax(theta - price x cost), with the least price of one
    unit of cost for which the expected cost is met: of all chances that meet it, these are the
    nearest to softmax(theta) by KL. So theta has to learn nothing of costs, and no weight of
    theirs has to be found.

    Attributes:
        cost: of the whole network, in the unit of the costs.
    """

    cost: float

    def check(self, costs: Costs) -> None:
        """Check that the cheapest options cost less."""
        if not costs.least <= self.cost < math.inf:
            raise UserError(
                f"a budget of {self.cost:,.6g} cannot be met: with the cheapest options the "
                f"network costs {costs.least:,.6g}"
            )

    def logits(self, theta: Tensor, costs: Costs) -> Tensor:
        """Return theta less what the options cost at the price that meets the budget."""

        def expected(price: float) -> float:
            return float(costs.of_shares(_priced(theta.detach(), price, costs).softmax(1)))

        return _priced(theta, self._price(expected), costs)

    def loss(self, loss: Tensor, shares: Tensor, costs: Costs) -> Tensor:  # noqa: ARG002
        """Return the loss: costs are in the chances."""
        return loss

    def decide(self, theta: Tensor, costs: Costs) -> Tensor:
        """Return the best options at the least price at which they meet the budget."""

        def taken(price: float) -> Tensor:
            return _priced(theta, price, costs).argmax(1)

        return taken(self._price(lambda price: costs.of_places(taken(price))))

    def _price(self, cost: Callable[[float], float]) -> float:
        """Return the least price, per unit of the budget, at which a cost that falls meets it."""
        low, high = 0.0, 0.0
        while cost(high) > self.cost and high < _DEAREST:
            low, high = high, 2 * high or 1.0
        for _ in range(_HALVINGS if high else 0):
            middle = (low + high) / 2
            if cost(middle) > self.cost:
                low = middle
            else:
                high = middle
        return high


def _priced(theta: Tensor, price: float, costs: Costs) -> Tensor:
    # Per share of what the network costs as it is, so that prices are alike for all units.
    dense = costs.of_places(costs.dense)
    return theta - price / dense * costs.options if dense > 0 else theta
