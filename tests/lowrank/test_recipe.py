from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from brpnas.errors import UserError
from brpnas.lowrank import (
    Choice,
    Factors,
    Layers,
    Report,
    apply_recipe,
    find_layers,
    read_recipe,
    replace,
    save_recipe,
)

CHOICES = {
    "layer1.0.conv1": "separable:r9+output:g2:r2",
    "layer2.0.conv1": "input:g4:r5",
    "linear": "plain:r6",
}
Written = tuple[Path, nn.Module, nn.Module, Layers, Report]


@pytest.fixture
def written(resnet20: nn.Module, tmp_path: Path) -> Written:
    layers = find_layers(resnet20, torch.zeros(1, 3, 32, 32))
    choices = {name: Choice.parse(text) for name, text in CHOICES.items()}
    compressed, report = replace(resnet20, choices, Factors(resnet20, layers, "plain"))
    with torch.no_grad():
        compressed.bn1.running_mean += 0.1  # as repair may do
    path = tmp_path / "made" / "recipe.json"
    save_recipe(path, resnet20, compressed, report, "plain, batch-norm estimated again")
    return path, resnet20, compressed, layers, report


def test_recipe_is_the_compressed_network(written: Written, images: Tensor) -> None:
    path, model, compressed, layers, report = written
    recipe = read_recipe(path)
    assert {name: str(choice) for name, choice in recipe.choices.items()} == CHOICES
    assert recipe.method == "plain, batch-norm estimated again"
    again, said = apply_recipe(recipe, model, layers)
    assert said == report
    with torch.no_grad():
        assert torch.equal(again(images[:4]), compressed(images[:4]))
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"recipe.json", "recipe.safetensors"}


def test_a_recipe_says_what_it_was_made_from(written: Written) -> None:
    path, model, compressed, layers, report = written
    save_recipe(path, model, compressed, report, "plain", "resnet20-cifar, w.safetensors")
    assert read_recipe(path).source == "resnet20-cifar, w.safetensors"
    with pytest.raises(UserError, match=r"made from resnet20-cifar, w\.safetensors, \w{12}\.\.\."):
        apply_recipe(read_recipe(path), compressed, layers)
    _edit("source", None)(path)  # as early versions wrote it
    assert read_recipe(path).source == ""


class _Counts(nn.Linear):
    """Keeps something else than tensors with its weights."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 7}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"calls": 7}


def test_what_is_no_tensor_stays_with_the_network(tmp_path: Path) -> None:
    model, x = nn.Sequential(_Counts(8, 8), nn.Linear(8, 24)), torch.randn(3, 8)
    layers = find_layers(model, x)
    choices = {"1": Choice.parse("plain:r2")}
    compressed, report = replace(model, choices, Factors(model, layers, "plain"))
    path = tmp_path / "recipe.json"
    save_recipe(path, model, compressed, report, "plain")
    again, _ = apply_recipe(read_recipe(path), model, layers)
    with torch.no_grad():
        assert torch.equal(again(x), compressed(x))


def test_parts_of_different_ranks(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Linear(8, 24)), torch.randn(3, 8)
    with torch.no_grad():
        model[0].weight[8:16] = 0
    layers = find_layers(model, x)
    choices = {"0": Choice.parse("rows:g3:r11+plain:r2")}
    compressed, report = replace(model, choices, Factors(model, layers, "plain"))
    save_recipe(tmp_path / "r.json", model, compressed, report, "plain")
    again, _ = apply_recipe(read_recipe(tmp_path / "r.json"), model, layers)
    assert torch.equal(again(x), compressed(x))


def test_other_weights_are_told(written: Written) -> None:
    path, model, compressed, layers, _ = written
    with pytest.raises(UserError, match="of another network, or of other weights"):
        apply_recipe(read_recipe(path), compressed, layers)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["conv1.weight"][0, 0, 0, 0] += 1
    other = deepcopy(model)
    other.load_state_dict(state)
    with pytest.raises(UserError, match="SHA-256 of all weights"):
        apply_recipe(read_recipe(path), other, layers)


def _flip(path: Path) -> None:
    content = bytearray(path.with_suffix(".safetensors").read_bytes())
    content[-1] ^= 1
    path.with_suffix(".safetensors").write_bytes(content)


def _edit(name: str, value: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        description = json.loads(path.read_text())
        description[name] = value
        path.write_text(json.dumps({k: v for k, v in description.items() if v is not None}))

    return edit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, "recipe.safetensors: not the weights that recipe.json was written with"),
        (lambda path: path.with_suffix(".safetensors").unlink(), "safetensors: not readable"),
        (
            lambda path: path.unlink(),
            "recipe.json: not a recipe .No such file or directory.; accepted",
        ),
        (lambda path: path.write_bytes(b"\xff{"), "recipe.json: not a recipe .not JSON: "),
        (lambda path: path.write_text("[]"), "recipe.json: not a recipe"),
        (_edit("format", 2), "format 2, but this is 1"),
        (_edit("choices", None), "'choices' is missing"),
        (_edit("choices", {"linear": "plain:x"}), "recipe.json: .*is no choice"),
        (_edit("choices", {"linear": "plain:r" + "9" * 5000}), "recipe.json: layer 'linear'"),
        (_edit("choices", ["linear"]), "recipe.json: not a recipe"),
    ],
)
def test_damaged_recipes_are_told(
    written: Written, damage: Callable[[Path], None], said: str
) -> None:
    damage(written[0])
    with pytest.raises(UserError, match=said):
        read_recipe(written[0])


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({**CHOICES, "layer3.0.conv1": "separable:r3"}, "no weights"),
        ({**CHOICES, "linear": "dense"}, "do not fit"),
        ({**CHOICES, "bn1": "plain:r1"}, "unknown layer 'bn1'"),
        ({**CHOICES, "linear": "plain:r5"}, "'linear' are of rank 6, not of plain:r5"),
    ],
)
def test_choices_that_the_weights_do_not_fit(
    written: Written, choices: dict[str, str], said: str
) -> None:
    path, model, _, layers, _ = written
    _edit("choices", choices)(path)
    with pytest.raises(UserError, match=said):
        apply_recipe(read_recipe(path), model, layers)


def _replaced(name: str, tensor: Tensor) -> Callable[[Path], None]:
    """Change a tensor, and its file's hash with it, as only a person or a program would."""

    def replaced(path: Path) -> None:
        weights = path.with_suffix(".safetensors")
        weights.write_bytes(save({**load(weights.read_bytes()), name: tensor}))
        _edit("weights_sha256", hashlib.sha256(weights.read_bytes()).hexdigest())(path)

    return replaced


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("linear.0.weight", (6, 63), "do not fit"),
        ("linear.0.weight", (6,), "do not fit"),
        ("linear.1.weight", (9, 6), "do not fit"),
        ("linear.1.bias", (), "do not fit"),
        ("layer2.0.conv1.0.weight", (20, 4, 1, 3), "layer 'layer2.0.conv1' returns"),
        ("layer2.0.conv1.1.weight", (32, 19, 1, 1), "do not fit"),
        ("bn1.weight", (17,), "do not fit"),
    ],
)
def test_weights_of_another_shape(
    written: Written, name: str, shape: tuple[int, ...], said: str
) -> None:
    path, model, _, layers, _ = written
    _replaced(name, torch.zeros(shape))(path)
    with pytest.raises(UserError, match=said):
        apply_recipe(read_recipe(path), model, layers)


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_damage_of_any_kind_is_told(written: Written, kind: str) -> None:
    """Bytes that are changed, lost or doubled: what is read is whole, or the user's error."""
    path, model, _, layers, _ = written
    file = path.with_suffix(f".{kind}")
    whole, rng, told = file.read_bytes(), random.Random(0), 0  # noqa: S311 - no secret
    for _ in range(60):
        damaged, place = bytearray(whole), rng.randrange(min(len(whole), 2000))
        size = rng.randrange(1, 20)
        damaged[place : place + size] = rng.choice((b"", b"[", b"9" * 5000, damaged[place:]))
        file.write_bytes(damaged)
        if kind == "safetensors":  # or its hash alone would tell
            _edit("weights_sha256", hashlib.sha256(damaged).hexdigest())(path)
        with contextlib.suppress(UserError):
            apply_recipe(read_recipe(path), model, layers)
            continue
        told += 1
    assert told > 40


def test_only_json_files(written: Written, tmp_path: Path) -> None:
    """The weights' file would have the same name."""
    _, model, compressed, _, report = written
    with pytest.raises(UserError, match=r"a recipe is a \.json file"):
        save_recipe(tmp_path / "r.safetensors", model, compressed, report, "plain")


def test_nothing_is_half_written(written: Written, tmp_path: Path) -> None:
    _, model, compressed, _, report = written
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the recipe cannot be written here"):
        save_recipe(tmp_path / "file" / "r.json", model, compressed, report, "plain")
