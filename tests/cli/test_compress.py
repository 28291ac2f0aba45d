from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brpnas.evaluate.digits import distorted_digits
from brpnas.lowrank import Choice, Factors, find_layers, replace, save_recipe
from brpnas.models import load_model

CHOICES = {"features.3": "separable:r9", "linear": "plain:r5"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a recipe for digits-cnn, not to be changed."""
    model = load_model("digits-cnn")
    layers = find_layers(model.module, torch.zeros(1, 1, 8, 8))
    choices = {name: Choice.parse(text) for name, text in CHOICES.items()}
    compressed, report = replace(model.module, choices, Factors(model.module, layers, "plain"))
    path = tmp_path_factory.mktemp("made") / "recipe.json"
    save_recipe(path, model.module, compressed, report, "plain", "digits-cnn, its own weights")
    return path


@pytest.fixture
def recipe(made: Path, tmp_path: Path) -> Path:
    """The same in the test's folder."""
    for suffix in (".json", ".safetensors"):
        file = made.with_suffix(suffix)
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "recipe.json"


def arguments(recipe: Path, out: object = "out", model: str = "digits-cnn") -> list[Any]:
    return ["compress", "--recipe", recipe, "--model", model, "--out", out]


def test_json(brpnas: Any, made: Path) -> None:
    said = brpnas.json(*arguments(made), "--formats", "pt2,tflite")
    dense, smaller = 64 * 9 * 32 * 64, 9 * 3 * (32 + 64) * 64  # of features.3, by hand
    assert said["replaced"]["features.3"] == {
        "choice": "separable:r9",
        "macs": [dense, smaller],
        "params": [dense // 64, smaller // 64],
    }
    assert said["macs"][0] - said["macs"][1] == dense - smaller + 640 - 5 * 74
    assert said["params"][0] == 93_546
    assert said["left"]["features.6"] == "no pair was chosen"
    assert list(said["files"]) == ["recipe", "weights", "pt2", "tflite"]
    for kind, path in said["files"].items():
        assert Path(path).stat().st_size == said["bytes"][kind]
    assert list(said["checked"]) == ["pt2", "tflite"]
    assert said["checked"]["tflite"]["max_difference"] < 1e-4
    assert (said["out"], said["left_out"]) == ("out", {})


def test_tables(brpnas: Any, made: Path) -> None:
    result = brpnas(*arguments(made), "--formats", "tflite")
    for text in ("separable:r9", "1,179,648 -> 165,888", "-85.9", "model.tflite", "8 of 8"):
        assert text in result.stdout
    assert result.stderr == ""


def test_int8_with_images(brpnas: Any, made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", x=distorted_digits().valid.x)
    options = ("--formats", "tflite-int8", "--calibration", "digits.npz")
    said = brpnas.json(*arguments(made), *options)
    assert said["files"]["tflite-int8"] == "out/model-int8.tflite"
    checked = said["checked"]["tflite-int8"]
    assert checked["same_class"] >= 6
    assert 1e-3 < checked["max_difference"] < 0.3  # of scores up to 15
    options = (*options, "--normalisation", "0.5,0.5/0.5,0.5")
    assert "the normalisation is of 2 channels" in brpnas.error(*arguments(made, "2"), *options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_sha256": "0" * 64}, "it was made from digits-cnn, its own weights, 000000000000"),
        ({"choices": {**CHOICES, "features.99": "plain:r1"}}, "unknown layer 'features.99'"),
        ({"choices": {"linear": "plain:r5"}}, "the recipe's weights do not fit"),
        ({"choices": {**CHOICES, "linear": "plain:r" + "9" * 5000}}, "layer 'linear': "),
        ({"weights_sha256": "0"}, "recipe.safetensors: not the weights that recipe.json was"),
        ({"format": 7}, "format 7, but this is 1"),
    ],
)
def test_recipes_that_do_not_fit(
    brpnas: Any, recipe: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), **change}))
    before = sorted(tmp_path.iterdir())
    assert said in brpnas.error(*arguments(recipe))
    assert sorted(tmp_path.iterdir()) == before


def test_weights_that_do_not_fit(brpnas: Any, recipe: Path, tmp_path: Path) -> None:
    own = load_model("digits-cnn").module.state_dict()
    save_file({**own, "linear.bias": own["linear.bias"] + 1}, tmp_path / "other.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "none.safetensors")
    for name, said in (
        ("other.safetensors", "the recipe is of another network, or of other weights"),
        ("none.safetensors", "does not fit digits-cnn: missing"),
        ("missing.safetensors", "cannot read"),
    ):
        assert said in brpnas.error(*arguments(recipe), "--weights", tmp_path / name)
    assert not (tmp_path / "out").exists()
    compressed = load_file(recipe.with_suffix(".safetensors"))
    assert "features.3.0.weight" in compressed  # the compressed network's are no --weights
    wrong = brpnas.error(*arguments(recipe), "--weights", recipe.with_suffix(".safetensors"))
    assert "missing: features.3.weight, linear.weight" in wrong


@pytest.mark.parametrize(
    "content",
    [
        {"format": "brpnas-fpga-design", "platform": "zc706", "layers": []},
        {"arguments": {"space": "lowrank"}, "seed": 0, "result": None},
        {},
        [],
        5,
    ],
)
def test_json_that_is_no_recipe(brpnas: Any, tmp_path: Path, content: object) -> None:
    (tmp_path / "other.json").write_text(json.dumps(content))
    error = brpnas.error(*arguments(tmp_path / "other.json"))
    assert "other.json: not a recipe ('choices' is missing); accepted is a recipe" in error
    assert "front/NN.json in the folder of `brpnas search --space lowrank`" in error


def test_other_bad_input(brpnas: Any, made: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    before = sorted(tmp_path.rglob("*"))
    for given, said in (
        (
            arguments(tmp_path / "none.json"),
            "none.json: not a recipe (No such file or directory); accepted",
        ),
        (arguments(made, "full"), "--out full is not empty; accepted: a new or empty folder"),
        (arguments(made, "full/x"), "--out full/x is a file"),
        (arguments(made, "full/x/y"), "--out full/x/y cannot be written"),
        (arguments(made, model="digits"), "unknown model 'digits'"),
        ([*arguments(made), "--formats", "pt2,onxx"], "unknown format 'onxx'. Did you mean"),
        ([*arguments(made), "--formats", "tflite-int8"], "tflite-int8 needs --calibration"),
        ([*arguments(made), "--calibration", "x.npz"], "x.npz"),
        ([*arguments(made), "--normalisation", "cifar10"], "--normalisation goes with --calibra"),
    ):
        assert said in brpnas.error(*given)
    assert sorted(tmp_path.rglob("*")) == before
