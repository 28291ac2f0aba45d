"""train, predict and evaluate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.datasets import read_table

LEARN = ("--column", "latency_ms", "--train", 30, "--valid", 6)
MEASURES = [
    *("within_1pct", "within_5pct", "within_10pct", "spearman", "kendall", "n_test", "in_90pct")
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame) -> Path:
    """A folder with a table, from which a predictor in ``p`` learnt its latency."""
    from typer.testing import CliRunner

    from brpnas.cli import app

    folder = tmp_path_factory.mktemp("trained")
    # Two rows without a value, one of an empty network.
    values = frame["latency_ms"].where(frame.index > 1).where(frame.index != 2, 1e-3)
    frame.assign(latency_ms=values).to_parquet(folder / "t.parquet")
    asked = ("train", "--table", folder / "t.parquet", *LEARN, "--out", folder / "p", "--json")
    result = CliRunner().invoke(app, [str(word) for word in asked])
    assert result.exit_code == 0, result.output
    (folder / "result.json").write_text(result.stdout)
    return folder


def test_train_judges_on_all_other_rows(trained: Path) -> None:
    result = pd.read_json(trained / "result.json", typ="series")
    counts = ["rows_missing", "rows_empty"]
    assert list(result.index) == [*MEASURES, "fit_s", "predict_s", *counts]
    assert (result["n_test"], result["rows_missing"], result["rows_empty"]) == (120 - 3 - 36, 2, 1)
    assert result["spearman"] > 0.3
    assert (trained / "p" / "scatter.png").read_bytes().startswith(b"\x89PNG")


def test_predict_then_evaluate(brpnas: Any, trained: Path) -> None:
    table = trained / "t.parquet"
    asked = ("--predictor", trained / "p", "--table", table)
    result = brpnas.json("predict", *asked, "--out", "pred.parquet")
    assert result == {"out": "pred.parquet", "rows": 120, "metric": "latency_ms"}
    predicted = read_table("pred.parquet")
    pd.testing.assert_frame_equal(
        predicted.frame[["arch", "latency_ms"]], read_table(table).frame[["arch", "latency_ms"]]
    )
    assert predicted.metric("prediction", minimum_rows=120).min() > 0
    assert "latency_ms, predicted by p" in predicted.card.columns["prediction"]
    judged = brpnas("evaluate", *asked, "--column", "latency_ms")
    assert "30 + 6 of these rows are known to it" in judged.stderr
    assert "within_10pct" in judged.stdout
    result = brpnas.json("evaluate", *asked, "--column", "latency_ms")
    assert list(result) == [*MEASURES, "predict_s", "rows_missing", "rows_empty"]
    assert result["n_test"] == 117
    own = brpnas.error("predict", *asked, "--out", table)
    assert "is the table itself" in own
    again = brpnas.error("predict", *asked[:2], "--table", "pred.parquet", "--out", "x.parquet")
    assert "has a column 'prediction' already" in again


def test_nothing_to_correlate_is_null(
    brpnas: Any, trained: Path, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame.assign(latency_ms=3.0))
    asked = ("--predictor", trained / "p", "--table", table, "--column", "latency_ms")
    assert brpnas.json("evaluate", *asked)["spearman"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "latency"], "Did you mean 'latency_ms'?"),
        (["--column", "nothing"], "values in 0 of 120 rows"),
        (["--train", "115"], "has 120 rows to use; --train 115, --valid 6 and at least 2"),
        (["--out", "full"], "folder full is not empty"),
        (["--out", "t.parquet"], "cannot write to folder t.parquet"),
        (["--out", "t.parquet/p"], "cannot write to folder t.parquet/p"),
        (["--predictor", "gnn"], "Did you mean 'gcn'?"),
        (["--space", "darts"], "unknown space 'darts'"),
    ],
)
def test_bad_training(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    arguments: list[str],
    message: str,
) -> None:
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("precious")
    table = write(frame)
    error = brpnas.error("train", "--table", table, *LEARN, "--out", "p", *arguments)
    assert message in error
    assert not Path("p").exists()


@pytest.mark.parametrize(("column", "bad"), [("latency_ms", 0.0), ("energy_mj", -1.0)])
def test_costs_that_are_not_positive_are_refused(
    brpnas: Any,
    trained: Path,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    column: str,
    bad: float,
) -> None:
    values = frame["latency_ms"].where(~frame.index.isin([3, 9]), bad)
    table = write(frame.assign(**{column: values}))
    message = f"t.parquet: column '{column}' is not positive in 2 of 120 rows (row 4, 10)"
    sizes = ("--column", column, "--train", 30, "--valid", 6)
    assert message in brpnas.error("train", "--table", table, *sizes, "--out", "p")
    judged = ("--predictor", trained / "p", "--table", table, "--column", column)
    assert message in brpnas.error("evaluate", *judged)
    compared = ("--predictor", "flops", "--out", "p", "--test", 5)
    assert message in brpnas.error("compare", "--table", table, *sizes, *compared)
    assert not Path("p").exists()


def test_accuracies_may_be_anything(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame.assign(accuracy_pct=frame["accuracy_pct"] - 80))
    assert (frame["accuracy_pct"] < 80).sum() > 10
    asked = ("--column", "accuracy_pct", "--train", 30, "--valid", 6, "--predictor", "layerwise")
    assert brpnas.json("train", "--table", table, *asked, "--out", "p")["n_test"] == 84


def test_read_only_folder_is_refused_before_the_training(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    table = write(frame)
    Path("p").mkdir()
    monkeypatch.setattr("brpnas.predictors.GCNRegressor.fit", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("os.open", refuse)  # permissions do not stop root
    error = brpnas.error("train", "--table", table, *LEARN, "--out", "p")
    assert "cannot write to folder p: Permission denied" in error


def test_seed_that_torch_does_not_take(brpnas: Any) -> None:
    result = brpnas("train", *LEARN, "--out", "p", "--seed", 2**64, code=2)
    assert "--seed" in result.stderr


def test_bad_use(
    brpnas: Any, trained: Path, frame: pd.DataFrame, write: Callable[..., Path], tmp_path: Path
) -> None:
    table = write(frame)
    asked = ("--predictor", trained / "p", "--table", table)
    wrong = brpnas.error("evaluate", *asked, "--column", "accuracy_pct")
    assert "learnt 'latency_ms', not 'accuracy_pct'" in wrong
    none = brpnas.error("predict", "--predictor", tmp_path, "--table", table, "--out", "x.csv")
    assert "no predictor here" in none
    assert "unknown kind of table" in brpnas.error("predict", *asked, "--out", "x.txt")
    assert "cannot write" in brpnas.error("predict", *asked, "--out", table / "x.csv")
    other = write(frame, space="darts")
    assert "holds networks of space 'darts'" in brpnas.error("predict", *asked, "--out", "x.csv")
    (tmp_path / "p").mkdir()
    for file in (trained / "p").glob("*.*"):
        (tmp_path / "p" / file.name).write_bytes(file.read_bytes()[:100])
    damaged = ("--predictor", tmp_path / "p", "--table", other, "--out", "x.csv")
    assert "predictor.json: not readable as JSON" in brpnas.error("predict", *damaged)
