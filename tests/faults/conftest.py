"""What the tests that start processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from zygote import Zygote

from brpnas.datasets import Card, Table, write_table
from brpnas.lowrank import Choice, Factors, find_layers, replace, save_recipe
from brpnas.models import load_model
from brpnas.testing import SyntheticEvaluator, synthetic_problem


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote() as parent:
        yield parent


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the jobs read, not to be changed."""
    folder = tmp_path_factory.mktemp("inputs")
    archs = synthetic_problem(120).pool
    frame = pd.DataFrame([one.metrics for one in SyntheticEvaluator().evaluate(archs)])
    frame.insert(0, "arch", list(map(str, archs)))
    write_table(Table(frame, Card(space="nasbench201")), folder / "t.parquet")
    digits = load_digits()
    x = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
    np.savez(folder / "train.npz", x=x[:300], y=digits.target[:300])
    np.savez(folder / "test.npz", x=x[300:500], y=digits.target[300:500])
    model = load_model("digits-cnn").module
    layers = find_layers(model, torch.zeros(1, 1, 8, 8))
    choices = {"features.3": Choice.parse("separable:r9"), "linear": Choice.parse("plain:r5")}
    compressed, report = replace(model, choices, Factors(model, layers, "plain"))
    save_recipe(folder / "recipe.json", model, compressed, report, "plain", "digits-cnn")
    return folder
