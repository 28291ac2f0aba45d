from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from brpnas.errors import UserError
from brpnas.exporting import export_compressed
from brpnas.exporting.compressed import DEFAULT_FORMATS
from brpnas.lowrank import Choice, apply_recipe, find_layers, read_recipe
from brpnas.models import BUILTIN, LoadedModel

CHOICES = {"features.3": "input:g4:r3+output:g2:r5", "linear": "plain:r5"}
Recipes = Callable[..., Path]


def test_costs_and_files(digits: LoadedModel, written: Recipes, tmp_path: Path) -> None:
    recipe = read_recipe(written(digits, CHOICES))
    done = export_compressed(digits, recipe, tmp_path / "out", ["pt2"])
    example = torch.zeros(1, 1, 8, 8)
    layers = find_layers(digits.module, example)
    compressed, report = apply_recipe(recipe, digits.module, layers)
    chosen = {name: Choice.parse(CHOICES.get(name, "dense")) for name in layers.shapes}
    macs = sum(chosen[name].macs(shape) for name, shape in layers.shapes.items())
    assert done.macs == (sum(shape.macs for shape in layers.shapes.values()), macs)
    for module, params in zip((digits.module, compressed), done.params, strict=True):
        assert params == sum(weights.numel() for weights in module.parameters())
    assert done.report == report
    names = {"recipe": "recipe.json", "weights": "recipe.safetensors", "pt2": "model.pt2"}
    assert done.files == {kind: tmp_path / "out" / name for kind, name in names.items()}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*names.values()}


def test_what_comes_out_goes_in(digits: LoadedModel, written: Recipes, tmp_path: Path) -> None:
    recipe = read_recipe(written(digits, CHOICES))
    done = export_compressed(digits, recipe, tmp_path / "out", [])
    again = read_recipe(done.files["recipe"])
    assert (again.choices, again.method, again.source) == (recipe.choices, "plain", "digits-cnn")
    assert again.state.keys() == recipe.state.keys()
    assert all(torch.equal(again.state[name], recipe.state[name]) for name in again.state)


def test_every_multiplication_of_a_transformer_counts(tmp_path: Path, written: Recipes) -> None:
    """By hand: 64 patches, then 65 tokens through six blocks of 128 x (384 + 128 + 2 x 256)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = BUILTIN["vit6x128-cifar"].build().eval()
    model = LoadedModel("vit", module, (3, 32, 32), 10)
    recipe = read_recipe(written(model, {"b.0.a.q": "rows:g3:r90"}))
    done = export_compressed(model, recipe, tmp_path / "out", [])
    before = 64 * 48 * 128 + 6 * 65 * 128 * (384 + 128 + 512) + 128 * 10
    assert done.macs == (before, before - 65 * (128 * 384 - 90 * (128 + 128)))


class _Mirror(nn.Module):
    """Its output has as many rows as its input, and NaN where a pixel is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4, bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)).sqrt()  # type: ignore[no-any-return]


def test_networks_that_do_not_say_their_images(tmp_path: Path, written: Recipes) -> None:
    known = LoadedModel("mine:net", _Mirror(), (1, 2, 2))
    recipe = read_recipe(written(known, {"linear": "plain:r4"}))
    unknown = LoadedModel("mine:net", known.module)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"mine:net.*give --calibration IMAGES"):
        export_compressed(unknown, recipe, out)
    with pytest.raises(UserError, match="does not run on an input of 1 x 1 x 2 x 3"):
        export_compressed(unknown, recipe, out, images=torch.ones(3, 1, 2, 3))
    with pytest.raises(UserError, match="compressed, returns NaN or infinity"):
        export_compressed(unknown, recipe, out, images=-torch.ones(3, 1, 2, 2))
    assert not out.exists()
    done = export_compressed(unknown, recipe, out, ["pt2"], torch.ones(3, 1, 2, 2))
    assert done.checked["pt2"].inputs == 3


class _Fickle(nn.Module):
    """What it computes depends on the values of its input: no format can say that."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.linear(x.flatten(1))
        return scores if scores.sum() > 0 else -scores


def test_formats_that_cannot_be_made(tmp_path: Path, written: Recipes) -> None:
    model, out = LoadedModel("mine:net", _Fickle(), (1, 2, 2)), tmp_path / "out"
    recipe = read_recipe(written(model, {"linear": "plain:r2"}))
    with pytest.raises(UserError, match=r"unknown format 'pt3'\. Did you mean 'pt2'\?"):
        export_compressed(model, recipe, out, ["pt3"])
    with pytest.raises(UserError, match="mine:net': torch cannot export it"):
        export_compressed(model, recipe, out, ["pt2"])
    assert not out.exists()
    done = export_compressed(model, recipe, out)
    assert done.left_out["pt2"].startswith("model 'mine:net': torch cannot export it")
    assert list(done.left_out) == list(DEFAULT_FORMATS)
    assert list(done.files) == ["recipe", "weights"]
