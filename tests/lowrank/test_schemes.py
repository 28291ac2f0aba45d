from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    DENSE,
    Choice,
    Factors,
    Pair,
    Scheme,
    find_layers,
    greatest_rank,
    replace,
    schemes_for,
)
from brpnas.lowrank.counting import count_macs

# Layers and the sizes of their inputs.
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(6, 4, 3, padding=1, bias=False), (1, 6, 7, 9)),
    (nn.Conv2d(6, 4, (3, 5), stride=(2, 3), padding=(2, 1), dilation=(1, 2)), (2, 6, 11, 16)),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2, padding_mode="reflect"), (1, 4, 8, 8)),
    (nn.Conv2d(4, 6, (1, 5), padding="valid"), (1, 4, 8, 8)),
    (nn.Conv2d(6, 4, 1, stride=2), (1, 6, 7, 7)),
    (nn.Linear(6, 18), (2, 5, 6)),
    (nn.Linear(12, 5, bias=False), (3, 12)),
]


@pytest.mark.parametrize(("layer", "size"), LAYERS, ids=[str(layer) for layer, _ in LAYERS])
def test_costs_are_those_that_torch_counts(layer: nn.Module, size: tuple[int, ...]) -> None:
    model, x = nn.Sequential(layer), torch.randn(size)
    layers = find_layers(model, x)
    shape = layers.shapes["0"]
    factors = Factors(model, layers, "plain")
    assert shape.macs == count_macs(model, x)
    assert DENSE.macs(shape) == shape.macs
    assert DENSE.params(shape) == sum(p.numel() for p in layer.parameters())
    for scheme in schemes_for(shape):
        ranks = scheme.ranks(shape)
        macs, params = scheme.macs(shape, ranks), scheme.params(shape, ranks)
        assert ranks[-1] == greatest_rank(shape, scheme)
        for rank in {int(ranks[0]), int(ranks[-1])}:
            choice = Choice((Pair(scheme, rank),))
            built, _ = replace(model, {"0": choice}, factors)
            counted = count_macs(built, x)
            assert counted == macs[ranks == rank][0] == choice.macs(shape)
            weights = sum(p.numel() for name, p in built.named_parameters() if "weight" in name)
            assert weights == params[ranks == rank][0]
            assert choice.params(shape) == sum(p.numel() for p in built.parameters())


def test_costs_of_two_pairs_are_added() -> None:
    model, x = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False)), torch.randn(1, 8, 6, 6)
    shape = find_layers(model, x).shapes["0"]
    both = Choice.parse("separable:r5+output:g2:r1")
    ones = [Choice((pair,)) for pair in both.pairs]
    assert both.macs(shape) == sum(one.macs(shape) for one in ones)
    assert both.params(shape) == sum(one.params(shape) for one in ones)
    assert both.params(shape, adds_bias=True) == both.params(shape) + 8


def test_table_of_the_lr_space() -> None:
    layer = find_layers(nn.Conv2d(16, 32, 3, 2, 1, bias=False), torch.randn(1, 16, 32, 32))
    shape = layer.shapes[""]
    p = 16 * 16
    expected = {
        "separable": (p * (32 * 3 + 16 * 3 * 2), 32 * 3 + 16 * 3, 48),
        "input:g4": (p * 4 * (32 + 4 * 9), 4 * (32 + 4 * 9), 32),
        "output:g4": (p * 4 * (16 * 4 + 8 * 9), 4 * (16 + 8 * 9), 16),
    }
    for scheme in schemes_for(shape):
        if str(scheme) in expected:
            costs = (int(scheme.macs(shape, 1)), int(scheme.params(shape, 1)))
            assert (*costs, greatest_rank(shape, scheme)) == expected.pop(str(scheme))
    assert not expected
    assert len(schemes_for(shape)) == 1 + 5 + 6  # separable, divisors of 16 and of 32


def test_no_two_schemes_of_a_pointwise_layer_are_the_same() -> None:
    shape = find_layers(nn.Conv2d(4, 6, 1), torch.randn(1, 4, 5, 5)).shapes[""]
    names = [str(scheme) for scheme in schemes_for(shape)]
    assert names == ["plain", "input:g2", "input:g4", "output:g2", "output:g3", "output:g6"]


def test_queries_keys_and_values_are_told() -> None:
    fused = find_layers(nn.Linear(8, 24), torch.randn(1, 8)).shapes[""]
    plain = find_layers(nn.Linear(8, 16), torch.randn(1, 8)).shapes[""]
    assert list(map(str, schemes_for(fused))) == ["plain", "rows:g3"]
    assert list(map(str, schemes_for(plain))) == ["plain"]


@pytest.mark.parametrize(
    "text",
    ["dense", "separable:r12", "plain:r1", "rows:g3:r40", "input:g4:r8+output:g1:r3"],
)
def test_text_parses_back(text: str) -> None:
    choice = Choice.parse(text)
    assert str(choice) == text
    assert Choice.parse(str(choice)) == choice
    assert hash(Choice.parse(text)) == hash(choice)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no choice"),
        ("separable", "accepted are dense"),
        ("separable:g2:r3", "is no choice"),
        ("input:r3", "is no choice"),
        ("input:g0:r3", "is no choice"),
        ("plain:r0", "is no choice"),
        ("plain:r1٣", "is no choice"),
        ("dense+plain:r1", "is no choice"),
        ("rows:g3:r2", "the least is 3"),
        ("plain:r1+plain:r2", "one of a higher rank"),
        ("plain:r1+input:g1:r2+output:g1:r1", "at most two"),
    ],
)
def test_other_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Choice.parse(text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scheme("tucker"), "families: separable, input"),
        (lambda: Scheme("plain", 2), "cannot have 2 groups"),
        (lambda: Scheme("input", 0), "cannot have 0 groups"),
        (lambda: Pair(Scheme("separable"), 0), "the least is 1"),
    ],
)
def test_values_that_cannot_be_are_refused(make: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def test_costs_take_all_ranks_at_once() -> None:
    shape = find_layers(nn.Conv2d(6, 4, 3), torch.randn(1, 6, 8, 8)).shapes[""]
    ranks = np.arange(1, 9).reshape(2, 4)
    macs = Scheme("separable").macs(shape, ranks)
    assert macs.shape == (2, 4)
    assert (macs == ranks * int(Scheme("separable").macs(shape, 1))).all()
