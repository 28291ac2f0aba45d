from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from brpnas.errors import UserError
from brpnas.lowrank import DENSE, Choice
from brpnas.lowrank.costs import Budget, Costs, Penalty


def _costs(scale: float = 1.0) -> Costs:
    options = {
        "a": (DENSE, Choice.parse("plain:r2"), Choice.parse("plain:r1")),
        "b": (Choice.parse("plain:r1"), DENSE),
    }
    costs = {"a": [100 * scale, 60 * scale, 20 * scale], "b": [30 * scale, 80 * scale]}
    return Costs(options, costs, 20 * scale)


THETA = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, -math.inf]], dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e9])
@pytest.mark.parametrize("cost", [75, 110, 150])
def test_chances_meet_the_budget_and_are_the_nearest_that_do(cost: float, scale: float) -> None:
    costs = _costs(scale)
    chances = Budget(cost * scale).logits(THETA, costs).softmax(1)
    assert float(costs.of_shares(chances)) == pytest.approx(cost * scale, rel=1e-6)
    free = THETA.softmax(1)

    def apart(shares: torch.Tensor) -> float:
        return float(torch.xlogy(shares, shares / free.clamp_min(1e-300)).sum())

    rng = np.random.default_rng(0)
    for _ in range(50):  # moved along costs that stay the same
        step = torch.from_numpy(rng.normal(size=2)) * 1e-3
        moved = chances.clone()
        moved[0] += step[0] * torch.tensor([1.0, -2.0, 1.0])  # of 100, 60 and 20
        moved[1, :2] += step[1] * torch.tensor([8.0, -8.0])
        moved[0] -= step[1] * torch.tensor([-5.0, 0.0, 5.0])
        assert float(costs.of_shares(moved)) == pytest.approx(cost * scale, rel=1e-6)
        if bool((moved >= 0).all()):
            assert apart(moved) > apart(chances) - 1e-9


def test_budget_that_theta_meets_has_no_price() -> None:
    assert torch.equal(Budget(200).logits(THETA, _costs()), THETA)
    assert Budget(200).decide(THETA, _costs()).tolist() == [0, 1]


def test_what_is_decided_is_on_the_front() -> None:
    costs = _costs()
    sums = {
        places: (
            costs.of_places(torch.tensor(places)),
            float(THETA[0, places[0]] + THETA[1, places[1]]),
        )
        for places in itertools.product(range(3), range(2))
    }
    for budget in (70, 110, 150, 199):
        places = tuple(Budget(budget).decide(THETA, costs).tolist())
        spent, worth = sums[places]
        assert spent <= budget
        assert all(w < worth for c, w in sums.values() if c < spent)


def test_penalty_is_the_published_product() -> None:
    costs, shares = _costs(), torch.tensor([[0.5, 0, 0.5], [1.0, 0, 0]])
    loss = Penalty(4).loss(torch.tensor(2.0), shares, costs)
    assert float(loss) == pytest.approx(2 * (math.log(110) / math.log(200)) ** 4)
    assert Penalty(4).decide(THETA, costs).tolist() == [0, 1]


def test_goals_that_cannot_be_had() -> None:
    Budget(70).check(_costs())
    with pytest.raises(UserError, match=r"a budget of 69 cannot be met: .* costs 70"):
        Budget(69).check(_costs())
    with pytest.raises(UserError, match="give them in a smaller unit"):
        Penalty(1).check(_costs(1e-3))
    with pytest.raises(UserError, match="a fixed cost of nan"):
        Costs({"a": (DENSE,)}, {"a": [1]}, math.nan)
