from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from brpnas.errors import UserError
from brpnas.lowrank import find_layers


class _PadsFirst(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class _SameAsEver(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _Odd(nn.Module):
    """One layer of each kind that cannot be replaced, and some that can."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Conv2d(4, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.transposed = nn.ConvTranspose2d(4, 4, 1)
        self.parametrised = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.pads = _PadsFirst(4, 4, 3)
        self.usual = _SameAsEver(4, 4, 1)
        self.hooked = nn.Conv2d(4, 4, 1)
        self.hooked.register_forward_hook(lambda _module, _x, y: y * 2)
        self.norm = nn.BatchNorm2d(4)
        self.unused = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied_too = nn.Linear(4, 4)
        self.tied_too.weight = self.tied.weight
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.good, self.grouped, self.transposed, self.parametrised, self.pads):
            x = layer(x)
        x = self.norm(self.hooked(self.usual(x))).flatten(2).transpose(1, 2)
        x = self.tied_too(self.tied(self.twice(self.twice(input=x))))
        attended: Tensor = self.attention(x, x, x)[0]
        return attended


def test_layers_are_sorted_with_reasons() -> None:
    layers = find_layers(_Odd(), torch.randn(2, 4, 6, 6))
    assert list(layers.shapes) == ["good", "usual", "twice"]
    reasons = {
        "grouped": "a grouped convolution (2 groups)",
        "transposed": "a ConvTranspose2d: transposed",
        "parametrised": "its weight is parametrised",
        "pads": "a _PadsFirst, which computes something else",
        "hooked": "it has hooks, which would be lost",
        "unused": "never called: another module may read its weights",
        "tied": "it shares its weights with tied_too",
        "tied_too": "it shares its weights with tied",
        "attention": "a MultiheadAttention: neither Conv2d nor Linear",
        "attention.out_proj": "never called: another module may read its weights",
    }
    assert layers.left == reasons


def test_positions_count_images_and_calls() -> None:
    layers = find_layers(_Odd(), torch.randn(2, 4, 6, 6))
    twice = layers.shapes["twice"]
    assert twice.positions.outputs == 2 * 2 * 36
    assert twice.input_size == (2, 36, 4)
    strided = find_layers(nn.Conv2d(3, 5, 3, stride=(2, 3)), torch.randn(2, 3, 9, 12)).shapes[""]
    assert strided.output_size == (2, 5, 4, 4)
    positions = strided.positions
    assert (positions.inputs, positions.rows, positions.outputs) == (216, 2 * 9 * 4, 2 * 16)


def test_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_layers(model, torch.randn(4, 2, 3, 3))
    assert [module.training for module in model] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_name_their_layer(bad: float) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3))
    with torch.no_grad():
        model[1].weight[0, 0, 0, 0] = bad
    with pytest.raises(UserError, match="layer '1': its weight holds values that are not finite"):
        find_layers(model, torch.randn(1, 2, 5, 5))


def test_example_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="does not run on an input of 1 x 3 x 5 x 5: "):
        find_layers(nn.Conv2d(2, 2, 1), torch.randn(1, 3, 5, 5))


def test_image_without_a_batch() -> None:
    layers = find_layers(nn.Sequential(nn.Conv2d(2, 2, 1)), torch.randn(2, 5, 5))
    assert layers.left == {"0": "called without a batch dimension"}
