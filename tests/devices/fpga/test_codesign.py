"""Alternatives for layers that are chosen together with their foldings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brpnas.devices.fpga import FPGADevice, network_of, read_platform
from brpnas.devices.fpga.codesign import Alternative, Codesign, Plan
from brpnas.devices.fpga.network import Network

_ZC706 = read_platform("zc706")
SMALL = FPGADevice(replace(_ZC706, resources={**_ZC706.resources, "DSP": 60}))
IMAGE = torch.zeros(1, 3, 16, 16)
WIDTHS = ((6, 7, 8, 11, 12, 16), (8, 13, 16), (10,))
DAMAGES = ((6.0, 5.0, 4.0, 2.0, 1.0, 0.0), (7.0, 2.0, 0.0), (0.0,))


class Chain(nn.Module):
    """Pairs of layers, of which the widths between them are to be chosen."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        between = [(3, 16), (16, 16)]
        self.pairs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, w, 3, padding=1), nn.Conv2d(w, f, 1))
            for (c, f), w in zip(between, widths, strict=False)
        )
        self.last = nn.Linear(16, widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        for pair in self.pairs:
            x = torch.relu(pair(x))
        return torch.as_tensor(self.last(x.mean((2, 3))))


def chain(widths: tuple[int, ...]) -> Network:
    return network_of(Chain(widths).eval(), IMAGE, str(widths))


@pytest.fixture(scope="module")
def stages() -> list[list[Alternative]]:
    whole = chain((16, 16, 10))
    found: list[list[Alternative]] = []
    for node in whole.nodes:
        if not node.name.startswith("pairs"):
            found.append([Alternative((node,))])
        elif node.name.endswith(".0"):
            at = int(node.name.split(".")[1])
            found.append([])
            for width, damage in zip(WIDTHS[at], DAMAGES[at], strict=True):
                one = chain((width, width, 10)).nodes
                pair = tuple(n for n in one if n.name.startswith(f"pairs.{at}."))
                found[-1].append(Alternative(pair, damage))
    return found


@pytest.fixture(scope="module")
def cycles() -> dict[tuple[int, int], float]:
    """Of each combination, mapped as a whole."""
    rows = itertools.product(range(len(WIDTHS[0])), range(len(WIDTHS[1])))
    return {
        (one, other): SMALL.map(chain((WIDTHS[0][one], WIDTHS[1][other], 10))).parts[0].costs.cycles
        for one, other in rows
    }


def least(codesign: Codesign, damage_price: float, room: float) -> Plan | None:
    """Return the best plan that fits, of those at many prices for room."""
    prices = codesign.least_cycles * np.geomspace(1e-2, 1e3, 80)
    plans = [codesign.plan(price, damage_price) for price in prices.tolist()]
    return min(
        (plan for plan in plans if plan.room <= room),
        key=lambda plan: plan.cycles + damage_price * plan.damage,
        default=None,
    )


@pytest.mark.parametrize("price", [100.0, 300.0, 1000.0, 1e18])
def test_plans_are_about_as_good_as_any(
    stages: list[list[Alternative]], cycles: dict[tuple[int, int], float], price: float
) -> None:
    whole = chain((16, 16, 10))
    plan = least(Codesign(SMALL.problem(whole), stages, 1.0), price, 1.0)
    assert plan is not None
    assert plan.room <= 1.0
    sums = {
        (one, other): taken + price * (DAMAGES[0][one] + DAMAGES[1][other])
        for (one, other), taken in cycles.items()
    }
    chosen = tuple(row for row, stage in zip(plan.chosen, stages, strict=True) if len(stage) > 1)
    assert plan.damage == DAMAGES[0][chosen[0]] + DAMAGES[1][chosen[1]]
    assert sums[chosen[0], chosen[1]] <= 1.07 * min(sums.values())
    if price == 1e18:
        assert plan.damage == 0
    elif price < 1000:
        assert sums[chosen[0], chosen[1]] < 0.95 * sums[5, 2]


def test_what_is_free_costs_what_mapping_says(stages: list[list[Alternative]]) -> None:
    whole = chain((16, 16, 10))
    plan = least(Codesign(SMALL.problem(whole), stages, 1.0), 1e18, 1.0)
    assert plan is not None
    mapped = SMALL.map(whole).parts[0].costs
    assert mapped.resources[0] <= 60
    # Without squeezes and queues, and at paces that are up to 5% apart.
    assert plan.cycles == pytest.approx(mapped.cycles, rel=0.15)


def test_less_room_takes_longer(stages: list[list[Alternative]]) -> None:
    codesign = Codesign(SMALL.problem(chain((16, 16, 10))), stages, 1.0)
    assert least(codesign, 100.0, 1e-3) is None
    half, full = (least(codesign, 100.0, room) for room in (0.4, 1.0))
    assert half is not None
    assert full is not None
    assert half.room <= 0.4
    objective = [plan.cycles + 100 * plan.damage for plan in (half, full)]
    assert objective[0] > 1.5 * objective[1]


def test_dearer_room_is_used_less(stages: list[list[Alternative]]) -> None:
    codesign = Codesign(SMALL.problem(chain((16, 16, 10))), stages, 1.0)
    plans = [codesign.plan(codesign.least_cycles * at, 100.0) for at in (0.01, 0.1, 1, 10, 100)]
    rooms = [plan.room for plan in plans]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[0] > 4 * rooms[-1]
