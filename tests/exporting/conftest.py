from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from brpnas.lowrank import Choice, Factors, find_layers, replace, save_recipe
from brpnas.models import LoadedModel, load_model

Recipes = Callable[[LoadedModel, Mapping[str, str]], Path]


@pytest.fixture(scope="session")
def digits() -> LoadedModel:
    return load_model("digits-cnn")


@pytest.fixture
def written(tmp_path: Path) -> Recipes:
    """Compress a network, and write the recipe into the test's folder."""

    def written(model: LoadedModel, choices: Mapping[str, str]) -> Path:
        assert model.image_shape is not None
        layers = find_layers(model.module, torch.zeros(1, *model.image_shape))
        parsed = {name: Choice.parse(text) for name, text in choices.items()}
        factors = Factors(model.module, layers, "plain")
        compressed, report = replace(model.module, parsed, factors)
        path = tmp_path / "made" / "recipe.json"
        save_recipe(path, model.module, compressed, report, "plain", model.name)
        return path

    return written
