from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import Choice, Factors, find_layers, gather_moments, replace
from brpnas.lowrank.sensitivity import find_damages

Options = Mapping[str, Sequence[Choice]]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Scores(nn.Module):
    """Means over all positions of a linear layer: where all before is linear, so are the scores."""

    def __init__(self, *before: nn.Module, width: int) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        x = x.movedim(1, -1) if x.ndim == 4 else x
        return self.head(x).flatten(1, -2).mean(1)  # type: ignore[no-any-return]


class Fused(nn.Module):
    """Queries, keys and values of one layer, used differently."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return q - 2 * k.flip(-1) + v.roll(1, -1)  # type: ignore[no-any-return]


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) - 2 * self.conv(x.flip(3))  # type: ignore[no-any-return]


class Windows(nn.Module):
    """A layer that sees several windows of each image as so many images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.view(-1, 3, 6)).view(x.shape)  # type: ignore[no-any-return]


def choices(text: str) -> list[Choice]:
    return [Choice.parse(one) for one in text.split()]


def factors_of(model: nn.Module, x: Tensor, method: str = "output") -> Factors:
    layers = find_layers(model, x[:1])
    return Factors(model, layers, method, gather_moments(model, layers, [x]))


def damages(model: nn.Module, factors: Factors, options: Options, x: Tensor, draws: int) -> Tensor:
    """Return the mean over so many draws of the signs, of all options in their order."""
    often = x.repeat(draws, *(1 for _ in x.shape[1:]))
    found = find_damages(model, factors, options, often, batch=500)
    return torch.cat([*found.values()])


def measured(model: nn.Module, factors: Factors, options: Options, x: Tensor) -> Tensor:
    """Return the same of networks that are built and run."""
    found = []
    with torch.no_grad():
        for name, known in options.items():
            for choice in known:
                change = (replace(model, {name: choice}, factors)[0](x) - model(x)).double()
                found.append((change - change.mean(1, keepdim=True)).square().sum(1).mean())
    return torch.stack(found)


CONV = "separable:r1 separable:r7 input:g1:r2 input:g3:r1 output:g2:r1 output:g1:r1+separable:r2"
LINEAR = {
    "stride": (
        Scores(nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), width=6), (3, 9, 8), CONV
    ),
    "dilation": (
        Scores(nn.Conv2d(3, 6, 3, padding=(4, 2), dilation=2), width=6), (3, 8, 8), CONV
    ),
    "same": (
        Scores(nn.Conv2d(3, 6, (3, 4), padding="same", padding_mode="reflect"), width=6),
        (3, 8, 8),
        "separable:r2 input:g1:r3 output:g3:r1",
    ),
    "1x1": (Scores(nn.Conv2d(6, 6, 1, stride=2), width=6), (6, 8, 8), "plain:r2 input:g3:r1"),
    "tokens": (Scores(nn.Linear(6, 8), width=8), (5, 6), "plain:r1 plain:r3"),
    "rows": (Scores(Fused(6), width=6), (5, 6), "plain:r2 rows:g3:r4 rows:g3:r9"),
    "twice": (Scores(Twice(), width=6), (3, 8, 8), CONV),
    "windows": (Scores(Windows(), width=6), (12, 6), "plain:r1 plain:r3"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("method", ["plain", "output"])  # the latter changes the bias too
def test_damages_are_what_linear_networks_change(kind: str, method: str) -> None:
    model, size, texts = LINEAR[kind]
    x = torch.randn(50, *size) + 0.5
    factors = factors_of(model, x, method)
    (name,) = (name for name in factors.layers.shapes if name != "head")
    options = {name: choices(texts), "head": choices("plain:r1 plain:r2")}
    expected = measured(model, factors, options, x)
    assert float(expected.min()) > 1e-6
    assert damages(model, factors, options, x, 30) == pytest.approx(expected, rel=0.2)


def test_signs_are_seeded_and_batches_add_up() -> None:
    model = Scores(nn.Conv2d(3, 6, 3), width=6)
    x = torch.randn(20, 3, 8, 8)
    factors, options = factors_of(model, x), {"before.0": choices(CONV)}
    said: list[tuple[int, int]] = []
    first = find_damages(
        model, factors, options, x, 3, 8, lambda done, total: said.append((done, total))
    )
    again = find_damages(model, factors, options, x, 3, 8)
    assert said == [(8, 20), (16, 20), (20, 20)]
    assert torch.equal(first["before.0"], again["before.0"])
    assert not torch.equal(
        first["before.0"], find_damages(model, factors, options, x, 4)["before.0"]
    )
    other = find_damages(model, factors, options, x, 3, 20)  # other signs for the same images
    assert other["before.0"].tolist() == pytest.approx(first["before.0"].tolist(), rel=2)


def test_full_rank_changes_nothing() -> None:
    model = Scores(nn.Conv2d(3, 6, 3), nn.ReLU(), width=6)
    x = torch.randn(8, 3, 8, 8)
    options = {"before.0": choices("separable:r9 input:g1:r6"), "head": choices("plain:r4")}
    found = find_damages(model, factors_of(model, x, "plain"), options, x)
    assert torch.cat([*found.values()]).max() < 1e-10


class Residual(nn.Module):
    """A sum with a shortcut, and a layer that the scores do not depend on."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.aside, self.head = nn.Linear(6, 6), nn.Linear(6, 4)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(x), self.in_place)
        y = self.two(x)
        if self.in_place:
            y += x
        else:
            y = y + x
        pooled = F.relu(y, self.in_place).mean((2, 3))
        self.aside(pooled)
        return self.head(pooled)  # type: ignore[no-any-return]


@pytest.mark.parametrize("frozen", [False, True])
def test_neither_changes_in_place_nor_frozen_weights_matter(frozen: bool) -> None:
    model, other = Residual(in_place=False), Residual(in_place=True)
    other.load_state_dict(model.state_dict())
    model.requires_grad_(not frozen)
    other.requires_grad_(False)
    x = torch.randn(16, 3, 8, 8)
    conv = choices("separable:r2 input:g1:r2")
    options = {"one": conv, "two": conv, "aside": choices("plain:r2"), "head": choices("plain:r2")}
    factors = factors_of(model, x)
    found = find_damages(model, factors, options, x)
    assert float(found["aside"]) == 0
    assert min(float(found[name].min()) for name in ("one", "two", "head")) > 0
    for name, same in find_damages(other, factors, options, x).items():
        assert same.tolist() == pytest.approx(found[name].tolist(), rel=1e-4)


def test_network_is_left_as_it_was() -> None:
    model = Residual(in_place=True).train()
    model.one.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(8, 3, 8, 8)
    kept = x.clone()
    find_damages(model, factors_of(model, x), {"one": choices("separable:r2")}, x)
    assert torch.equal(x, kept)
    assert model.training
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["one.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layers_without_options_have_no_damages() -> None:
    model = Scores(nn.Conv2d(3, 6, 3), width=6)
    x = torch.randn(4, 3, 8, 8)
    factors = factors_of(model, x)
    found = find_damages(model, factors, {"before.0": [], "head": choices("plain:r1")}, x)
    assert {name: len(of) for name, of in found.items()} == {"before.0": 0, "head": 1}
    assert len(find_damages(model, factors, {"head": []}, x)["head"]) == 0


def test_what_are_no_scores_is_the_users_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3))
    x = torch.randn(4, 3, 8, 8)
    with pytest.raises(
        UserError, match=r"\(images, classes\); of 4 images they are \(4, 6, 6, 6\)"
    ):
        find_damages(model, factors_of(model, x), {"0": choices("separable:r2")}, x)


def test_mild_choices_of_a_trained_network(resnet20: nn.Module, images: Tensor) -> None:
    images = images[:32]
    factors = factors_of(resnet20, images)
    options = {
        "layer1.0.conv2": choices("separable:r36"),
        "layer2.0.conv1": choices("output:g1:r15"),  # with a stride
        "layer3.1.conv2": choices("input:g2:r63"),
        "linear": choices("plain:r7"),
    }
    expected = measured(resnet20, factors, options, images)
    found = damages(resnet20, factors, options, images, 15)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=0.2)


class Undone(nn.Module):
    """Changes what a gradient would need."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x).sigmoid()
        return self.two(y.mul_(2) + self.one(x))  # type: ignore[no-any-return]


def test_network_without_gradients_is_the_users_error() -> None:
    model, x = Undone(), torch.randn(4, 6)
    with pytest.raises(UserError, match="the network has no gradients: one of the variables"):
        find_damages(model, factors_of(model, x), {"one": choices("plain:r2")}, x)
