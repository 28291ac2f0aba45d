from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    Cache,
    Choice,
    Factors,
    Moment,
    cached_moments,
    find_layers,
    gather_moments,
    schemes_for,
)

MOVES: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 3), "padding": (2, 1), "dilation": (1, 2)},
    {"kernel_size": (2, 4), "padding": "same", "padding_mode": "circular"},
    {"kernel_size": 3, "padding": "same", "dilation": 2, "padding_mode": "replicate"},
    {"kernel_size": 1, "stride": 2},
]


# Torch pads by one more behind where the whole is odd, and says that this is slow.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("moves", MOVES, ids=str)
def test_moments_say_what_the_outputs_are(moves: dict[str, Any]) -> None:
    layer = nn.Conv2d(3, 7, bias=False, **moves).double()
    x = torch.randn(5, 3, 8, 9, dtype=torch.float64) + 0.5
    moment = gather_moments(layer, find_layers(layer, x), [x])[""]
    weight, outputs = layer.weight.flatten(1), layer(x).transpose(0, 1).flatten(1)
    expected = outputs @ outputs.T / outputs.shape[1]
    torch.testing.assert_close(weight @ moment.second @ weight.T, expected)
    torch.testing.assert_close(weight @ moment.mean, outputs.mean(1))
    torch.testing.assert_close(weight @ moment.covariance @ weight.T, outputs.cov(correction=0))
    assert moment.count == outputs.shape[1]


def test_linear_layers_see_vectors() -> None:
    layer, x = nn.Linear(4, 3).double(), torch.randn(2, 5, 4, dtype=torch.float64)
    moment = gather_moments(layer, find_layers(layer, x), [x])[""]
    torch.testing.assert_close(moment.second, x.flatten(0, 1).T @ x.flatten(0, 1) / 10)


def test_batches_make_no_difference(resnet20: nn.Module, images: Tensor) -> None:
    layers = find_layers(resnet20, images[:1])
    whole = gather_moments(resnet20, layers, [images[:12]])
    parts = gather_moments(resnet20, layers, (batch for batch in images[:12].split(5)))
    for name, moment in whole.items():
        assert moment.count == parts[name].count
        scale = float(moment.second.abs().max())
        assert float((moment.second - parts[name].second).abs().max()) < 1e-5 * scale


def test_drawn_patches_tell_what_all_do(
    resnet20: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights found with a quarter of the patches change the outputs by hardly more."""
    images = images[:16]
    layers = find_layers(resnet20, images[:1])
    every = gather_moments(resnet20, layers, images.split(8))
    same = gather_moments(resnet20, layers, images.split(8), len(images))
    assert all(torch.equal(every[name].second, same[name].second) for name in every)
    monkeypatch.setattr("brpnas.lowrank.moments._DRAWN", 1 << 12)
    drawn = gather_moments(resnet20, layers, images.split(8), len(images), seed=1)
    again = gather_moments(resnet20, layers, images.split(8), len(images), seed=1)
    other = gather_moments(resnet20, layers, images.split(8), len(images), seed=2)
    name, choice = "layer1.0.conv1", Choice.parse("separable:r12")
    assert drawn[name].count == every[name].count == 16 * 32 * 32
    assert torch.equal(drawn[name].second, again[name].second)
    assert not torch.equal(drawn[name].second, other[name].second)
    assert torch.equal(drawn["layer3.1.conv1"].second, every["layer3.1.conv1"].second)
    errors = []
    for moments in (every, drawn):
        weights = Factors(resnet20, layers, "output", moments).weights(name, choice)
        first, (second,) = weights.pairs[0].first[:, :, 0], weights.pairs[0].second
        product = torch.einsum("rcw,orh->ochw", first, second[..., 0])
        lost = (resnet20.get_submodule(name).weight.detach() - product).flatten(1)
        errors.append(float((lost @ every[name].covariance * lost).sum()))
    assert errors[0] < errors[1] < 1.1 * errors[0]


def test_layers_called_on_several_sizes_weigh_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call on four times as many positions counts four times as much, drawn or not."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).sum() + self.layer(0 * x[:, :, ::2, ::2]).sum()

    model, x = Twice(), torch.ones(4, 1, 8, 8)
    monkeypatch.setattr("brpnas.lowrank.moments._DRAWN", 32)
    moment = gather_moments(model, find_layers(model, x), [x], 4)["layer"]
    assert float(moment.second) == pytest.approx(0.8)
    assert moment.count == 4 * 80


def test_images_that_cannot_be_used() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3))
    layers = find_layers(model, torch.randn(1, 2, 5, 5))
    with pytest.raises(UserError, match="no calibration images"):
        gather_moments(model, layers, [])
    with pytest.raises(UserError, match="calibration images of 1 x 3 x 5 x 5"):
        gather_moments(model, layers, [torch.randn(1, 3, 5, 5)])
    with pytest.raises(UserError, match="layer '0' saw values"):
        gather_moments(model, layers, [torch.full((1, 2, 5, 5), torch.nan)])
    assert not model[0]._forward_pre_hooks


def test_moments_are_kept_on_disk(tmp_path: Path) -> None:
    model, x = nn.Linear(4, 3), torch.randn(6, 4)
    calls = itertools.count()

    def gather() -> dict[str, Moment]:
        next(calls)
        return gather_moments(model, find_layers(model, x), [x])

    first = cached_moments(Cache(tmp_path), "key", gather)
    again = cached_moments(Cache(tmp_path), "key", gather)
    assert next(calls) == 1
    assert torch.equal(first[""].second, again[""].second)
    assert torch.equal(first[""].mean, again[""].mean)
    assert again[""].count == 6


def test_inputs_that_hardly_vary_have_variances_nonetheless() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 6, 1), torch.randn(64, 4, 20, 20)
    x[:, 0], x[:, 1] = 3.7, 5 + 1e-4 * x[:, 1]
    layers = find_layers(layer, x[:1])
    moment = gather_moments(layer, layers, x.split(16))[""]
    known = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(moment.covariance, known.cov(correction=0), rtol=1e-4, atol=1e-10)
    factors = Factors(layer, layers, "output", {"": moment})
    for scheme in schemes_for(layers.shapes[""]):  # one of its groups sees the first two alone
        assert factors.errors("", scheme).isfinite().all()
