from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    Choice,
    Factors,
    LayerWeights,
    Pair,
    Scheme,
    find_layers,
    replace,
    schemes_for,
)
from brpnas.lowrank.staged import StagedNetwork

Choices = Mapping[str, Choice]


def _staged(model: nn.Module, x: Tensor) -> tuple[StagedNetwork, Factors]:
    layers = find_layers(model, x[:1])
    factors = Factors(model, layers, "plain")
    return StagedNetwork(model, layers, factors, x), factors


def _agree(model: nn.Module, x: Tensor, candidates: list[Choices], shares: bool = True) -> None:
    """Compare the scores of all candidates with those of what `replace` makes of the network."""
    staged, factors = _staged(model, x)
    assert staged.shares == shares
    found = list(staged.scores(candidates, x))
    assert len(found) == len(candidates)
    for choices, scores in zip(candidates, found, strict=True):
        with torch.no_grad():
            expected = replace(model, choices, factors)[0].eval()(x)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def _half(factors: Factors, name: str) -> Choice:
    """Return the first scheme of a layer with a third of its ranks."""
    shape = factors.layers.shapes[name]
    scheme = schemes_for(shape)[0]
    return Choice((Pair(scheme, max(1, len(scheme.ranks(shape)) // 3)),))


def _versions(model: nn.Module, x: Tensor) -> list[Choices]:
    """The network itself, one layer of each kind, all layers, beginnings in common; unordered."""
    factors = Factors(model, find_layers(model, x[:1]), "plain")
    names = list(factors.layers.shapes)
    halves = {name: _half(factors, name) for name in names}
    single: list[Choices] = [{name: halves[name]} for name in (names[-1], names[0], names[7])]
    return [{}, *single, halves, {**halves, names[-1]: Choice()}, {}, {names[0]: halves[names[0]]}]


def test_residual_network(resnet20: nn.Module, images: Tensor) -> None:
    more: list[Choices] = [
        {"layer2.0.conv1": Choice.parse(text)}
        for text in ("input:g4:r8", "output:g2:r5", "input:g1:r4+separable:r9", "separable:r9")
    ]
    _agree(resnet20, images[:9], _versions(resnet20, images) + more)


def test_transformer(vit: nn.Module, images: Tensor) -> None:
    more: list[Choices] = [{"b.3.a.q": Choice.parse("rows:g3:r60")}]
    _agree(vit, images[:9], _versions(vit, images) + more)


class _Many(nn.Module):
    """A layer that is called twice, two norms, a fork, and values that are changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        self.last = nn.Linear(4, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * x
        x += self.norms[0](self.same(x))
        y = self.same(x.relu_())
        x += self.norms[1](y) + y
        z: Tensor = self.last(x.sub_(1).mean((2, 3)))
        return z


def _trained(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
                norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
                norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                norm.weight.uniform_(0.5, 2)
                norm.bias.uniform_(-1, 1)
    return model.eval()


def test_layers_that_are_called_twice() -> None:
    versions: list[Choices] = [
        {"last": Choice.parse("plain:r2")},
        {"same": Choice.parse("input:g2:r2"), "last": Choice.parse("plain:r2")},
        {"same": Choice.parse("input:g2:r2")},
    ]
    _agree(_trained(_Many()), torch.randn(3, 4, 6, 6), versions)


def test_norms_of_vectors_and_of_tokens() -> None:
    """Batch norm after a linear layer takes its features, or of tokens, the tokens."""
    vectors = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Linear(8, 3))
    tokens = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(40, 3))
    for model, x in ((vectors, torch.randn(4, 6)), (tokens, torch.randn(4, 5, 6))):
        _agree(_trained(model), x, [{"0": Choice.parse("plain:r2")}, {}])


def test_networks_that_cannot_be_flattened(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Deciding(_Many):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if float(x.sum()) > 0 else super().forward(-x)

    versions: list[Choices] = [{}, {"same": Choice.parse("separable:r3")}]
    _agree(_trained(Deciding()), torch.randn(3, 4, 6, 6), versions, shares=False)
    assert "cannot be flattened, each of its versions runs from the beginning" in caplog.text
    assert "def forward" not in "".join(capfd.readouterr())  # torch prints the graph so far


def test_a_beginning_in_common_runs_once(resnet20: nn.Module, images: Tensor) -> None:
    staged, _ = _staged(resnet20, images[:2])
    first = Choice.parse("separable:r5")
    candidates: list[Choices] = [
        {"conv1": Choice.parse("separable:r3"), "linear": Choice.parse(f"plain:r{rank}")}
        for rank in (1, 2, 3)
    ] + [{"layer3.2.conv2": first}, {}]
    runs = []
    module = staged._module

    def counted(step: object, choice: Choice) -> nn.Module:
        runs.append(step.layer)  # type: ignore[attr-defined]
        return module(step, choice)  # type: ignore[arg-type]

    staged._module = counted  # type: ignore[method-assign,assignment]
    assert len(list(staged.scores(candidates, images[:2]))) == 5
    assert runs.count("conv1") == 2
    assert runs.count("layer3.2.conv1") == 2
    assert runs.count("layer3.2.conv2") == 3
    assert runs.count("linear") == 5


def test_weights_of_a_pair_are_asked_for_once(resnet20: nn.Module, images: Tensor) -> None:
    asked: list[str] = []

    class Source(Factors):
        def weights(self, name: str, choice: Choice) -> LayerWeights:
            asked.append(name)
            return super().weights(name, choice)

    layers = find_layers(resnet20, images[:1])
    staged = StagedNetwork(resnet20, layers, Source(resnet20, layers, "plain"), images[:2])
    candidate = {"layer1.0.conv1": Choice((Pair(Scheme("separable"), 3),))}
    for batch in (images[:2], images[2:4], images[4:7]):
        list(staged.scores([candidate, {}], batch))
    assert asked == ["layer1.0.conv1"]


def test_choices_that_cannot_be(resnet20: nn.Module, images: Tensor) -> None:
    staged, _ = _staged(resnet20, images[:2])
    for name, text in (("layer1.0.conv", "separable:r1"), ("conv1", "separable:r99")):
        with pytest.raises(UserError, match=r"Did you mean|greatest rank"):
            list(staged.scores([{name: Choice.parse(text)}], images[:2]))
