from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from brpnas.lowrank import Choice, Factors, find_layers, gather_moments, replace
from brpnas.lowrank.repair.job import Job, distance, outputs
from brpnas.lowrank.repair.lsq import LeastSquares

FAMILIES = [
    *("separable:r6", "input:g1:r5", "input:g4:r3", "output:g1:r5", "output:g4:r4"),
    *("output:g16:r2", "separable:r3+output:g8:r2", "input:g2:r3+output:g1:r2"),
]
LAYERS = ("layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1")
SETTINGS = LeastSquares(ridge=1e-6)


def _compressed(model: nn.Module, images: Tensor, choices: dict[str, Choice]) -> nn.Module:
    layers = find_layers(model, images[:1])
    moments = gather_moments(model, layers, [images])
    return replace(model, choices, Factors(model, layers, "output", moments))[0]


def _layer_output(model: nn.Module, name: str, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    note = model.get_submodule(name).register_forward_hook(lambda _, __, y: seen.append(y))
    outputs(model, images)
    note.remove()
    return seen[0].double()


@pytest.mark.parametrize("text", FAMILIES)
def test_outputs_come_nearer_in_every_family(
    resnet20: nn.Module, images: Tensor, text: str
) -> None:
    """Of the last of three layers, and their mean is that of the original layer's outputs."""
    choices = {name: Choice.parse(text) for name in LAYERS}
    smaller = _compressed(resnet20, images, choices)
    repaired = SETTINGS.fit(Job(resnet20, smaller, choices), images)
    wanted, before, after = (
        _layer_output(model, LAYERS[-1], images) for model in (resnet20, smaller, repaired)
    )
    assert (after - wanted).square().mean() < 0.99 * (before - wanted).square().mean()
    torch.testing.assert_close(after.mean((0, 2, 3)), wanted.mean((0, 2, 3)), atol=2e-2, rtol=0)


def test_linear_layers_and_rows(vit: nn.Module, images: Tensor) -> None:
    choices = {
        name: Choice.parse(text)
        for block in range(6)
        for name, text in ((f"b.{block}.a.q", "rows:g3:r60"), (f"b.{block}.f1", "plain:r30"))
    }
    smaller = _compressed(vit, images, choices)
    repaired = SETTINGS.fit(Job(vit, smaller, choices), images)
    wanted = outputs(vit, images)
    before, after = (distance(wanted, outputs(m, images)) for m in (smaller, repaired))
    assert after < 0.95 * before


def test_full_rank_makes_good_what_came_before() -> None:
    """A layer that can, undoes what its inputs suffered: here they are scaled and shifted."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 8, 3, 2), nn.Flatten()).eval()
    x = torch.randn(32, 4, 9, 9)
    choices = {"1": Choice.parse("output:g1:r6")}
    smaller = _compressed(model, x, choices)
    with torch.no_grad():
        smaller[0].weight.mul_(1.5)
    repaired = LeastSquares(ridge=1e-9).fit(Job(model, smaller, choices), x)
    wanted = outputs(model, x)
    assert (outputs(smaller, x) - wanted).abs().max() > 0.1
    torch.testing.assert_close(outputs(repaired, x), wanted, atol=1e-4, rtol=0)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(8, 8), nn.Linear(8, 4)
        self.kept = [self.last]  # called by another than its name

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.kept[0](self.shared(self.shared(x).relu()).relu())
        return scores


def test_a_layer_that_is_called_twice_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model, x = _Twice().eval(), torch.randn(64, 8)
    choices = {name: Choice.parse("plain:r3") for name in ("shared", "last")}
    smaller = _compressed(model, x, choices)
    repaired = SETTINGS.fit(Job(model, smaller, choices), x)
    for name, value in smaller.state_dict().items():
        same = torch.equal(repaired.state_dict()[name], value)
        assert same == name.startswith("shared")
    assert repaired.kept[0] is repaired.last
    wanted = outputs(model, x)
    before, after = ((outputs(m, x) - wanted).square().mean() for m in (smaller, repaired))
    assert after < before
