from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brpnas.devices.tflite.writer import write

Operators = Callable[[bytes], list[str]]


class _Function(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


def _norm(channels: int, scale: float = 2.0, shift: float = 1.0) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=0)
    nn.init.constant_(norm.weight, scale)
    nn.init.constant_(norm.bias, shift)
    return norm


CONV, NORM = nn.Conv2d(3, 3, 1), _norm(3)

CASES = {
    "folded": (_Function(lambda m, x: m[1](m[0](x)), CONV, NORM), ["CONV_2D"]),
    "folded, activated": (nn.Sequential(CONV, NORM, NORM, nn.ReLU()), ["CONV_2D+RELU"]),
    "activated first": (nn.Sequential(CONV, nn.ReLU(), NORM), ["CONV_2D+RELU", "MUL", "ADD"]),
    "no shift": (nn.Sequential(_norm(3, shift=0)), ["MUL"]),
    "no scale": (nn.Sequential(_norm(3, scale=1), nn.ReLU()), ["ADD+RELU"]),
    "no effect": (nn.Sequential(CONV, nn.ReLU(), _norm(3, 1, 0)), ["CONV_2D+RELU"]),
    "nothing, then activated": (nn.Sequential(_norm(3, 1, 0), CONV, nn.ReLU()), ["CONV_2D+RELU"]),
    "two readers of the convolution": (
        _Function(lambda m, x: (y := m[0](x)) + m[1](y), CONV, NORM),
        ["CONV_2D", "MUL", "ADD", "ADD"],
    ),
    "two readers of the norm": (
        _Function(lambda m, x: (y := m[1](m[0](x))) * torch.relu(y), CONV, NORM),
        ["CONV_2D", "RELU", "MUL"],
    ),
    "two readers through a norm without effect": (
        _Function(lambda m, x: (y := torch.add(x, x)) * torch.relu(m[0](y)), _norm(3, 1, 0)),
        ["ADD", "RELU", "MUL"],
    ),
    "relu twice": (nn.Sequential(CONV, nn.ReLU(), nn.ReLU6()), ["CONV_2D+RELU", "RELU6"]),
    "pool": (nn.Sequential(nn.AvgPool2d(2), nn.ReLU()), ["AVERAGE_POOL_2D+RELU"]),
    "sigmoid": (nn.Sequential(nn.Sigmoid(), nn.ReLU()), ["LOGISTIC", "RELU"]),
    "activated in part": (
        _Function(lambda m, x: torch.relu(m[0](x)[:, :2]), CONV),
        ["CONV_2D", "SLICE", "RELU"],
    ),
    "the same part twice": (
        _Function(lambda m, x: (y := m[0](x))[:, :2] * y.narrow(1, 0, 2), CONV),
        ["CONV_2D", "SLICE", "MUL"],
    ),
    "dead": (_Function(lambda m, x: (m[0](x), x * 2)[1], CONV), ["MUL"]),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_that_are_left(
    name: str, operators: Operators, error: Callable[[nn.Module, Tensor], float]
) -> None:
    module, expected = CASES[name]
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = operators(write(module.eval(), x, name).content)
    assert [one for one in found if one != "TRANSPOSE"] == expected
    assert error(module, x) < 1e-6


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda _, x: x.mean((2, 3), keepdim=True).flatten(1) * 3, ["MEAN", "MUL"]),
        (lambda _, x: (y := x.mean((2, 3), keepdim=True)).flatten(1) * y.mean(), None),
        (
            lambda _, x: (y := x.mean((2, 3), keepdim=True)).flatten(1) * (y * 2).view(1, -1),
            ["MEAN", "MUL", "RESHAPE", "RESHAPE", "MUL"],
        ),
    ],
)
def test_a_mean_drops_its_axes_if_nobody_needs_them(
    function: Callable[[nn.Module, Tensor], Tensor],
    expected: list[str] | None,
    operators: Operators,
    error: Callable[[nn.Module, Tensor], float],
) -> None:
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    module = _Function(function)
    assert error(module, x) < 1e-6
    if expected:
        found = operators(write(module, x, "m").content)
        assert sorted(one for one in found if one != "TRANSPOSE") == sorted(expected)
