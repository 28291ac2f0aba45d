from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brpnas.devices import MacCounter
from brpnas.errors import UserError


def macs(model: nn.Module, *shape: int) -> float:
    return MacCounter().measure(model, torch.zeros(shape)).median


@pytest.mark.parametrize(
    ("layer", "shape", "by_hand"),
    [
        # 8 outputs of 5 x 5, each of 3 inputs under a 3 x 3 kernel
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), (1, 3, 5, 5), 8 * 25 * 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1, bias=True), (1, 3, 5, 5), 8 * 25 * 3 * 9),
        (nn.Conv2d(3, 8, 3), (1, 3, 5, 5), 8 * 9 * 3 * 9),  # no padding: 3 x 3 outputs
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 5, 5), 8 * 9 * 3 * 9),
        (nn.Conv2d(3, 8, (1, 3)), (1, 3, 4, 4), 8 * 4 * 2 * 3 * 3),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), (1, 4, 5, 5), 8 * 25 * 2 * 9),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (1, 4, 5, 5), 4 * 25 * 9),  # depthwise
        (nn.Conv2d(3, 8, 3, padding=2, dilation=2), (1, 3, 5, 5), 8 * 25 * 3 * 9),
        (nn.Linear(7, 3), (1, 7), 21),
        (nn.Linear(7, 3), (2, 5, 7), 2 * 5 * 21),
        (nn.Conv2d(1, 1, 1), (6, 1, 2, 2), 6 * 4),  # the whole batch counts
        (nn.BatchNorm2d(3), (1, 3, 5, 5), 0),
        (nn.AvgPool2d(2), (1, 3, 4, 4), 0),
    ],
)
def test_layers_counted_by_hand(layer: nn.Module, shape: tuple[int, ...], by_hand: int) -> None:
    assert macs(layer, *shape) == by_hand


class _Net(nn.Module):
    """A layer that is run twice, one that is never run, and a functional product."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(2, 2, 3, padding=1)
        self.never = nn.Linear(1000, 1000)
        self.body = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.twice(self.twice(x)))
        scores: Tensor = self.head(x.flatten(1))
        return scores


def test_network_counted_by_hand() -> None:
    measurement = MacCounter().measure(_Net(), torch.zeros(1, 2, 4, 4))
    assert measurement.samples == (2 * (2 * 16 * 2 * 9) + 10,)
    assert measurement.unit == "macs"
    assert "1 x 2 x 4 x 4" in measurement.conditions


def test_model_is_left_as_it_was() -> None:
    network = _Net().train()
    network.body.eval()  # a mixture of modes, to be restored one by one
    network.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    macs(network, 3, 2, 4, 4)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())

    training = nn.Sequential(nn.BatchNorm2d(2)).train()
    MacCounter().measure(training, torch.ones(2, 2, 4, 4))
    assert training[0].running_mean.tolist() == [0, 0]  # type: ignore[operator]


def test_hooks_are_removed_when_the_model_fails() -> None:
    network = _Net()
    with pytest.raises(RuntimeError):
        macs(network, 1, 3, 4, 4)  # three channels, where two are expected
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


class _OwnConv(nn.Conv2d):
    pass


class _OwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(1, 1, 1), _OwnConv(1, 1, 1), _OwnParameter()])
def test_unknown_layer_with_parameters_is_an_error_that_names_it(layer: nn.Module) -> None:
    network = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU(), layer))
    with pytest.raises(UserError, match=rf"'1\.1', a {type(layer).__name__};.*Conv2d"):
        macs(network, 1, 1, 2, 2)
    with pytest.raises(UserError, match=r"'\(the model\)'"):
        macs(layer, 1, 1, 2, 2)
