from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.predictors import (
    PREDICTORS,
    GCNRanker,
    GCNRegressor,
    GCNSize,
    Provenance,
    SavablePredictor,
    load_predictor,
    save_predictor,
)
from brpnas.predictors._training import Training
from brpnas.testing.predictors import networks

_FACTS = Provenance("latency_ms", "table.parquet", "abc", 18, 2, 7)


@pytest.fixture(params=[GCNRegressor, GCNRanker])
def fitted(request: pytest.FixtureRequest) -> SavablePredictor:
    graphs, values = networks(20)
    predictor: SavablePredictor = request.param(
        7, 0.1, GCNSize(hidden=8, layers=1, members=2), Training(epochs=2)
    )
    predictor.fit(graphs, values)
    return predictor


def test_what_is_loaded_predicts_the_same(fitted: SavablePredictor, tmp_path: Path) -> None:
    save_predictor(tmp_path / "new" / "folder", fitted, _FACTS)
    saved = load_predictor(tmp_path / "new" / "folder")
    graphs, _ = networks(30, seed=1)
    before, after = fitted.predict(graphs), saved.predictor.predict(graphs)
    np.testing.assert_array_equal(before.mean, after.mean)
    assert (before.std is None) == (after.std is None)
    if before.std is not None:
        np.testing.assert_array_equal(before.std, after.std)
    assert saved.provenance == _FACTS
    assert saved.predictor.settings() == fitted.settings()
    assert saved.predictor.schema == fitted.schema


def test_trees_of_another_version_are_said_to_be_fitted_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graphs, values = networks(20)
    facts = replace(_FACTS, versions={**_FACTS.versions, "scikit-learn": "0.1"})
    save_predictor(tmp_path, PREDICTORS["trees"].regressor(0, 0.0).fit(graphs, values), facts)
    load_predictor(tmp_path)
    assert "and were fitted by 0.1" in caplog.text


def test_an_unfitted_predictor_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not fitted"):
        save_predictor(tmp_path / "p", GCNRanker(), _FACTS)
    assert not (tmp_path / "p").exists()


def test_a_file_in_the_way_is_named(fitted: SavablePredictor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        save_predictor(tmp_path / "file", fitted, _FACTS)


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "predictor.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"kind": "gcn-regresor"}, "Did you mean 'gcn-regressor'"),
        ({"schema": {"space": "x"}}, "not the description"),
        ({"provenance": {}}, r"predictor\.json: 'metric' is missing in 'provenance'"),
        ({"provenance": "mine"}, r"predictor\.json: 'provenance' is not an object"),
        ({"settings": {"seed": 1}}, "damaged, or of another"),
        ({"schema": {"space": "x", "operations": ["a"], "numbers": []}}, "damaged, or of another"),
    ],
)
def test_edited_descriptions(
    fitted: SavablePredictor, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    save_predictor(tmp_path, fitted, _FACTS)
    _edit(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        load_predictor(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("metric", 5, "'metric' in 'provenance' is 5, not text"),
        ("table_sha256", None, "'table_sha256' in 'provenance' is null, not text"),
        ("train", "many", "'train' in 'provenance' is \"many\", not a whole number"),
        ("seed", True, "'seed' in 'provenance' is true, not a whole number"),
        ("versions", ["torch"], "'versions' in 'provenance' is [\"torch\"], not an object"),
        ("versions", {"scikit-learn": 1.9}, "version of 'scikit-learn' in 'provenance' is not"),
    ],
)
def test_edited_provenance(
    fitted: SavablePredictor, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    save_predictor(tmp_path, fitted, _FACTS)
    _edit(tmp_path, provenance={**asdict(_FACTS), name: value})
    with pytest.raises(UserError, match=rf"predictor\.json: .*{re.escape(message)}"):
        load_predictor(tmp_path)


def test_provenance_of_a_later_version_is_read(fitted: SavablePredictor, tmp_path: Path) -> None:
    save_predictor(tmp_path, fitted, _FACTS)
    _edit(tmp_path, provenance={**asdict(_FACTS), "author": "someone"})
    assert load_predictor(tmp_path).provenance == _FACTS


@pytest.mark.parametrize("name", ["predictor.json", "weights.safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 300])
def test_truncated_files_are_named(
    fitted: SavablePredictor, tmp_path: Path, name: str, keep: int
) -> None:
    save_predictor(tmp_path, fitted, _FACTS)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=name):
        load_predictor(tmp_path)


def test_one_changed_bit_is_noticed(fitted: SavablePredictor, tmp_path: Path) -> None:
    save_predictor(tmp_path, fitted, _FACTS)
    path = tmp_path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # in a number, which stays one
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors: damaged.*SHA-256"):
        load_predictor(tmp_path)


def test_deeply_nested_description(tmp_path: Path) -> None:
    (tmp_path / "predictor.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"predictor\.json: not readable as JSON"):
        load_predictor(tmp_path)


def test_an_empty_folder_holds_no_predictor(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no predictor here"):
        load_predictor(tmp_path)
