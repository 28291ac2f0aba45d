from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brpnas.models import BUILTIN


def test_networks_are_listed(brpnas: Any) -> None:
    table = brpnas("models", "list").stdout
    listed = json.loads(brpnas("models", "list", "--json").stdout)["models"]
    assert list(listed) == list(BUILTIN)
    assert all(name in table for name in BUILTIN)
    assert listed["digits-cnn"]["image_shape"] == [1, 8, 8]
    assert [name for name, one in listed.items() if one["weights"]] == ["digits-cnn"]


def test_cards(brpnas: Any) -> None:
    card = json.loads(brpnas("models", "describe", "digits-cnn", "--json").stdout)
    assert float(card["test_acc_pct"]) > 90
    assert "96.08" in brpnas("models", "describe", "digits-cnn").stdout
    weights = BUILTIN["digits-cnn"].weights
    assert json.loads(brpnas("models", "describe", str(weights), "--json").stdout) == card
    assert "comes without weights" in brpnas("models", "describe", "resnet20-cifar", code=2).stderr
    assert "not a safetensors" in brpnas("models", "describe", "x.safetensors", code=2).stderr


def test_only_what_can_be_built(brpnas: Any, tmp_path: Path) -> None:
    wrong = brpnas("models", "build", "resnet20-cifar", "--out", str(tmp_path / "w"), code=2)
    assert "unknown network to train 'resnet20-cifar'" in wrong.stderr
    wrong = brpnas("models", "build", "digits-cnn", "--out", str(tmp_path / "w"), code=2)
    assert "accepted is a .safetensors file" in wrong.stderr
