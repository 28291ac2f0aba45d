from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from brpnas.devices.tflite import convert
from brpnas.errors import UserError
from brpnas.lowrank import (
    METHODS,
    Choice,
    Factors,
    Pair,
    Scheme,
    find_layers,
    gather_moments,
    greatest_rank,
    replace,
    schemes_for,
)

Apart = Callable[[nn.Module, nn.Module, Tensor], float]


def _all(factors: Factors, place: int) -> dict[str, Choice]:
    """Return the greatest rank of one of each layer's schemes, counted around."""
    choices = {}
    for name, shape in factors.layers.shapes.items():
        schemes = schemes_for(shape)
        scheme = schemes[place % len(schemes)]
        choices[name] = Choice((Pair(scheme, greatest_rank(shape, scheme)),))
    return choices


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", ["resnet20", "vit"])
def test_greatest_rank_computes_the_same(
    request: pytest.FixtureRequest, images: Tensor, apart: Apart, network: str, method: str
) -> None:
    model: nn.Module = request.getfixturevalue(network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = find_layers(model, images[:1])
    factors = Factors(model, layers, method, gather_moments(model, layers, [images]))
    for place in (0, 1, 3, 7, 8):
        compressed, report = replace(model, _all(factors, place), factors)
        assert set(report.replaced) == set(layers.shapes)
        assert apart(model, compressed, images[:8]) < 1e-5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class _Small(nn.Module):
    """Layers in a list, a module that is held and called twice, all that convolutions can do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=(2, 1), padding=(1, 2), padding_mode="reflect"),
            nn.ReLU(),
            nn.Conv2d(8, 8, (3, 5), padding="same", dilation=(2, 1), bias=False),
        )
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.kept = [self.shared]  # known by other than its name
        self.blocks = nn.ModuleList([self.shared, nn.Conv2d(8, 8, 1, groups=4)])
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in (*self.blocks, *self.kept):
            x = block(x)
        x = self.qkv(x.flatten(2).transpose(1, 2))
        queries, keys, values = x.chunk(3, -1)
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, values)


@pytest.fixture
def small() -> tuple[nn.Module, Tensor, Factors]:
    torch.manual_seed(1)
    model, x = _Small().eval(), torch.randn(2, 3, 12, 10)
    return model, x, Factors(model, find_layers(model, x), "plain")


def test_all_that_layers_can_do_is_kept(
    small: tuple[nn.Module, Tensor, Factors], apart: Apart
) -> None:
    model, x, factors = small
    for place in range(12):
        compressed, _ = replace(model, _all(factors, place), factors)
        assert apart(model, compressed, x) < 1e-5
    both = {"qkv": "plain:r2+rows:g3:r24", "stem.0": "separable:r1+input:g3:r8"}
    choices = {name: Choice.parse(text) for name, text in both.items()}
    assert apart(model, replace(model, choices, factors)[0], x) < 1e-5


def test_report_and_what_it_says_of_shared_modules(
    small: tuple[nn.Module, Tensor, Factors],
) -> None:
    model, _, factors = small
    choices = {
        "shared": Choice.parse("input:g2:r3"),
        "blocks.1": Choice.parse("plain:r1"),
        "qkv": Choice(),
    }
    compressed, report = replace(model, choices, factors)
    assert compressed.blocks[0] is compressed.shared is compressed.kept[0]
    assert isinstance(compressed.shared, nn.Sequential)
    done = report.replaced["shared"]
    assert done.params == (8 * 8 * 9 + 8, 3 * (8 * 9 + 2 * 8) + 8)
    assert done.macs == (2 * 2 * 6 * 12 * 8 * 8 * 9, 2 * 2 * 6 * 12 * 3 * (8 * 9 + 2 * 8))
    assert report.left == {
        "blocks.1": "a grouped convolution (4 groups)",
        "stem.0": "no pair was chosen",
        "stem.2": "no pair was chosen",
        "qkv": "no pair was chosen",
    }
    lines = str(report).splitlines()
    assert lines[0].startswith("shared: input:g2:r3, 165,888 -> 76,032 macs, 584 -> 272 param")
    assert "blocks.1: left, a grouped convolution (4 groups)" in lines


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("blocks.0", "plain:r1", "is the same module as 'shared'"),
        ("steem.0", "plain:r1", "Did you mean 'stem.0'"),
        ("stem.0", "plain:r1", "its schemes are separable, input:g1"),
        ("stem.0", "separable:r10", "the greatest rank of separable is 9"),
    ],
)
def test_choices_that_cannot_be(
    small: tuple[nn.Module, Tensor, Factors], name: str, text: str, said: str
) -> None:
    model, _, factors = small
    with pytest.raises(UserError, match=said):
        replace(model, {name: Choice.parse(text)}, factors)


def test_a_lone_layer_is_a_network_too(apart: Apart) -> None:
    layer, x = nn.Linear(5, 4).eval(), torch.randn(3, 5)
    factors = Factors(layer, find_layers(layer, x), "plain")
    compressed, _ = replace(layer, {"": Choice.parse("plain:r4")}, factors)
    assert isinstance(compressed, nn.Sequential)
    assert apart(layer, compressed, x) < 1e-5


def test_type_mode_and_frozen_weights_are_kept() -> None:
    layer, x = nn.Sequential(nn.Linear(5, 4)).double().eval(), torch.randn(3, 5).double()
    layer.requires_grad_(False)
    factors = Factors(layer, find_layers(layer, x), "plain")
    compressed, _ = replace(layer, {"0": Choice.parse("plain:r2")}, factors)
    assert {p.dtype for p in compressed.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in compressed.parameters())
    assert not any(module.training for module in compressed.modules())


def test_transformer_layers_of_torch(apart: Apart) -> None:
    """Their fast path reads weights of their own layers: it is off, in the copy alone."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    factors = Factors(model, find_layers(model, x), "plain")
    assert list(factors.layers.shapes) == ["linear1", "linear2"]
    compressed, report = replace(model, _all(factors, 0), factors)
    assert apart(model, compressed, x) < 1e-5
    assert "never called" in report.left["self_attn.out_proj"]
    assert model.activation_relu_or_gelu
    untouched, _ = replace(model, {}, factors)
    assert untouched.activation_relu_or_gelu


def test_exports_know_the_modules(small: tuple[nn.Module, Tensor, Factors]) -> None:
    model, x, factors = small
    choices = {
        "stem.0": Choice.parse("separable:r3+output:g2:r1"),
        "qkv": Choice.parse("rows:g3:r9+plain:r2"),
    }
    compressed, _ = replace(model, choices, factors)
    program = torch.export.export(compressed, (x,))
    torch.testing.assert_close(program.module()(x), compressed(x))


def test_own_tflite_writer_knows_the_modules() -> None:
    model = nn.Sequential(nn.Conv2d(4, 12, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 12))
    x = torch.randn(1, 4, 8, 8)
    factors = Factors(model, find_layers(model, x), "plain")
    choices = {
        "0": Choice.parse("output:g2:r2+separable:r3"),
        "3": Choice((Pair(Scheme("rows", 3), 6), Pair(Scheme("plain"), 2))),
    }
    compressed, _ = replace(model.eval(), choices, factors)
    assert convert(compressed, x, "compressed", converter="brpnas").content
