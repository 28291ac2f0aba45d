from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brpnas.lowrank import find_layers
from brpnas.lowrank.counting import count_macs


def test_convolution_and_linear_layer_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2)),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 10),
    )
    by_hand = 8 * 3 * 15 * 4 * 4 + 8 * 2 * 9 * 2 * 2 + 320
    assert count_macs(model, torch.zeros(1, 3, 8, 8)) == by_hand
    assert count_macs(model, torch.zeros(3, 3, 8, 8)) == 3 * by_hand


@pytest.mark.parametrize("frozen", [False, True])
def test_transformer_layer_by_hand_where_torch_has_a_faster_way(frozen: bool) -> None:
    tokens, width, hidden = 5, 16, 32
    model = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    model.requires_grad_(not frozen)
    projections = tokens * width * width * 4
    by_hand = projections + 2 * tokens * width * hidden  # products of activations do not count
    assert count_macs(model, torch.zeros(1, tokens, width)) == by_hand
    assert torch.backends.mha.get_fastpath_enabled()
    assert model.training


class _Queried(nn.Module):
    """A linear layer of what the network itself has learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.linear = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.query.expand(len(x), -1))
        return scores


@pytest.mark.parametrize("frozen", [False, True])
def test_linear_layer_of_turned_tokens(frozen: bool) -> None:
    """Not contiguous, so that torch has another way for frozen weights."""
    conv, linear = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 5)

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = conv, linear

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.linear(self.conv(x).flatten(2).transpose(1, 2)).mean(1)
            return scores

    model = Turned().requires_grad_(not frozen)
    assert count_macs(model, torch.zeros(1, 3, 8, 8)) == 16 * (3 * 4 * 8 + 8 * 5)


class _InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.linear(x).chunk(2, 1)
        scores: Tensor = one.relu_() + other
        return scores


def test_views_that_are_changed_in_place() -> None:
    assert count_macs(_InPlace(), torch.zeros(5, 4)) == 5 * 4 * 6


def test_parameters_as_inputs() -> None:
    assert count_macs(_Queried(), torch.zeros(5, 2)) == 5 * 4 * 3


def test_all_of_a_vision_transformer_is_in_its_layers(vit: nn.Module, images: Tensor) -> None:
    layers = find_layers(vit, images[:1])
    assert count_macs(vit, images[:1]) == sum(one.macs for one in layers.shapes.values())
