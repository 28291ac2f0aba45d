from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from brpnas.lowrank import Choice, Factors, Pair, find_layers, gather_moments, schemes_for
from brpnas.lowrank.options import find_options

ALL = 1_000


@pytest.fixture(scope="module")
def factors() -> Factors:
    """Of a 3x3 convolution, one with a stride, a 1x1, a linear layer, and one too thin to save."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(6, 8, 3, padding=1),
            nn.Conv2d(8, 12, 3, stride=2, bias=False),
            nn.Conv2d(12, 10, 1, bias=False),  # rank 5 would save weights, but adds a bias
            nn.Flatten(),
            nn.Linear(90, 10),
            nn.Linear(10, 1),
        )
        x = torch.randn(32, 6, 8, 8)
    layers = find_layers(model, x[:1])
    return Factors(model, layers, "output", gather_moments(model, layers, [x]))


def everything(factors: Factors, name: str, price: str) -> list[tuple[int, float, Choice]]:
    """Return price, error and choice of every rank of every scheme."""
    shape = factors.layers.shapes[name]
    choices = [
        Choice((Pair(scheme, int(rank)),))
        for scheme in schemes_for(shape)
        for rank in scheme.ranks(shape)
    ]
    return [
        (choice.macs(shape) if price == "macs" else choice.params(shape, True),
         factors.error(name, choice), choice)
        for choice in choices
    ]  # fmt: skip


@pytest.mark.parametrize("price", ["macs", "params"])
def test_none_is_beaten_and_nothing_else_is_left_out(factors: Factors, price: str) -> None:
    found = find_options(factors, price, ALL)
    assert list(found) == list(factors.layers.shapes)
    for name, options in found.items():
        shape = factors.layers.shapes[name]
        every = {choice: (cost, error) for cost, error, choice in everything(factors, name, price)}
        whole = shape.macs if price == "macs" else shape.params
        costs = [every[choice][0] for choice, _ in options]
        errors = [error for _, error in options]
        assert errors == pytest.approx([every[choice][1] for choice, _ in options], rel=1e-6)
        assert all(a < b for a, b in pairwise(costs))  # the cheapest first
        assert all(a > b for a, b in pairwise(errors))
        assert all(cost < whole for cost in costs)
        for cost, error in every.values():
            as_cheap = [mine for at, mine in zip(costs, errors, strict=True) if at <= cost]
            assert cost >= whole or error >= 1 or min(as_cheap) <= error * (1 + 1e-6)
    assert min(len(found[name]) for name in ("0", "1", "2", "4")) > 3
    assert found["5"] == []  # no pair is cheaper than a single row


def test_few_are_spread_over_the_whole_front(factors: Factors) -> None:
    whole = find_options(factors, most=ALL)
    few = find_options(factors, most=4)
    for name, options in few.items():
        assert len(options) <= 4
        assert [one for one in whole[name] if one in options] == options
        assert options[:1] == whole[name][:1]
        assert options[-1:] == whole[name][-1:]
    assert len(few["1"]) == 4


def test_each_kind_has_its_own_front(factors: Factors) -> None:
    found = find_options(factors, most=4, each_kind=ALL)
    for name, options in found.items():
        shape = factors.layers.shapes[name]
        of = [choice.pairs[0].scheme.kind for choice, _ in options]
        assert {*of} == {
            choice.pairs[0].scheme.kind
            for cost, error, choice in everything(factors, name, "macs")
            if cost < shape.macs and error < 1
        }
        costs = [choice.macs(shape) for choice, _ in options]
        assert costs == sorted(costs)
        for kind in {*of}:
            errors = [error for (_, error), mine in zip(options, of, strict=True) if mine == kind]
            assert all(a > b for a, b in pairwise(errors))


def test_those_of_each_kind_are_more(factors: Factors) -> None:
    few, more = find_options(factors, most=6), find_options(factors, most=6, each_kind=2)
    for name, options in more.items():
        assert set(few[name]) <= set(options)
        kinds = {choice.pairs[0].scheme.kind for choice, _ in options}
        assert len(set(options)) == len(options) <= 6 + 2 * len(kinds)
    assert len(more["1"]) > len(few["1"])


def test_progress_counts_layers(factors: Factors) -> None:
    said: list[tuple[int, int]] = []
    find_options(factors, progress=lambda done, total: said.append((done, total)))
    assert said == [(i, 5) for i in range(1, 6)]
