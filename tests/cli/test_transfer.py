"""``brpnas train --transfer``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import read_table

MEASURES = [
    *("within_1pct", "within_5pct", "within_10pct", "spearman", "kendall", "n_test", "in_90pct")
]
KEYS = [*MEASURES, "fit_s", "predict_s", "rows_missing", "rows_empty", "chosen", "sources"]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def others(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of ``frame`` on four devices, which need the more the slower the first is."""
    rng = np.random.default_rng(0)
    cost = frame["latency_ms"].to_numpy()
    noisy = {
        name: unit * cost**power * rng.lognormal(0, 0.05, len(cost))
        for name, unit, power in (
            ("latency_ms_a", 3, 1.0),
            ("latency_us_b", 1e3, 1.2),
            ("energy_mj_b", 40, 0.8),
            ("latency_ms_c", 7, 1.1),
        )
    }
    gaps = pd.DataFrame(noisy)
    gaps.loc[:9, "latency_ms_a"] = np.nan
    return pd.concat([frame[["arch", "accuracy_pct"]], gaps], axis=1)


@pytest.fixture
def asked(frame: pd.DataFrame, others: pd.DataFrame, write: Write) -> list[object]:
    """A new device of which 100 cells are measured, one of them empty, 10 unknown to others."""
    new = frame.iloc[::-1].head(100)
    new = new.assign(latency_ms=new["latency_ms"].where(new.index != 50, 1e-4))
    table = write(new, "new.parquet")
    known = write(others.iloc[:110], "others.parquet")
    return ["train", "--table", table, "--column", "latency_ms", "--transfer", known, "--out", "p"]


def test_a_new_device_is_learnt_from_few_rows(
    brpnas: Any, asked: list[object], frame: pd.DataFrame
) -> None:
    result = brpnas.json(*asked, "--samples", 8, "--seed", 1)
    assert list(result) == KEYS
    assert result["sources"] == ["latency_ms_a", "latency_us_b", "energy_mj_b", "latency_ms_c"]
    assert len(set(result["chosen"])) == 8
    # 90 cells are common to both; one of them is empty.
    assert (result["n_test"], result["rows_missing"], result["rows_empty"]) == (81, 0, 1)
    assert result["spearman"] > 0.5
    predictions = read_table("p/predictions.parquet")
    assert list(predictions.frame.columns) == ["arch", "prediction", "std"]
    assert predictions.archs == list(frame["arch"][:110])
    assert predictions.metric("prediction", 110).min() > 0
    assert predictions.metric("std", 110).min() > 0
    assert "--samples 8 --seed 1" in predictions.card.rebuild
    assert predictions.card.space == "nasbench201"
    assert "latency_ms" in predictions.card.columns["prediction"]
    assert predictions.intact()
    assert Path("p/scatter.png").read_bytes().startswith(b"\x89PNG")
    # It is what was judged.
    truth = frame.set_index("arch")["latency_ms"].iloc[20:110]
    test = [arch for arch in truth.index if arch not in result["chosen"] and arch != frame.arch[50]]
    predicted = predictions.frame.set_index("arch")["prediction"]
    close = (predicted[test] / truth[test] - 1).abs() <= 0.1
    assert result["within_10pct"] == pytest.approx(close.mean())


def test_columns_of_the_same_device_are_left_out(brpnas: Any, asked: list[object]) -> None:
    asked = [*asked[:4], "latency_ms_a", "--transfer", asked[6], "--table", asked[6], *asked[7:]]
    text = brpnas(*asked, "--samples", 5)
    assert "not in others.parquet" not in text.stderr
    assert "learnt from 3 columns of others.parquet and 5 networks" in text.stdout
    assert Path("p/predictions.parquet").exists()
    error = brpnas.error(*asked[:-1], "q", "--exclude", "*_b")
    assert "others.parquet: 1 latency or energy columns to learn from (latency_ms_c)" in error
    assert "at least 3, better 5 or more" in error


def test_networks_that_others_do_not_know_are_counted(brpnas: Any, asked: list[object]) -> None:
    noted = brpnas(*asked, "--samples", 3).stderr
    assert "new.parquet: 10 measured networks are not in others.parquet: left out" in noted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "2"], "--samples 2: a transfer needs at least 3"),
        (["--samples", "90"], "100 networks are also in others.parquet, 89 of them with a value"),
        (["--column", "latency"], "Did you mean 'latency_ms'?"),
        (["--column", "nothing"], "values in 0 of 100 rows"),
        (["--exclude", "*pi5*"], "--exclude *pi5*: no latency or energy column of others.parquet"),
        (["--exclude", "*_b"], "2 latency or energy columns"),
        (["--transfer", "none.parquet"], "none.parquet"),
        (["--transfer", "new.parquet"], "0 latency or energy columns to learn from (none)"),
        (["--train", "20"], "--train goes with training without --transfer"),
        (["--valid", "20"], "--valid goes with training without --transfer"),
        (["--predictor", "trees"], "--predictor goes with training without --transfer"),
        (["--space", "nasbench101"], "holds networks of space 'nasbench201'"),
    ],
)
def test_bad_transfers(
    brpnas: Any, asked: list[object], arguments: list[str], message: str
) -> None:
    assert message in brpnas.error(*asked, *arguments)
    assert not Path("p").exists()


def test_tables_that_do_not_go_together(
    brpnas: Any, asked: list[object], frame: pd.DataFrame, others: pd.DataFrame, write: Write
) -> None:
    name = "others.parquet"
    write(others.iloc[:15], name)
    error = brpnas.error(*asked)
    assert "0 of its 100 networks are also in others.parquet, 0 of them with a value" in error
    write(others, name)
    write(frame.assign(latency_ms=2.5), "new.parquet")
    assert "all values of column 'latency_ms' are equal" in brpnas.error(*asked)
    write(frame.assign(latency_ms=-frame["latency_ms"]), "new.parquet")
    assert "'latency_ms' is not positive in 120 of 120 rows" in brpnas.error(*asked)
    write(frame.assign(gain_ms=-frame["latency_ms"]), "new.parquet")
    error = brpnas.error(*asked, "--column", "gain_ms")
    assert "a transfer learns latencies and energies, which are positive" in error
    write(frame, "new.parquet")
    write(others.assign(energy_mj_b=others["energy_mj_b"].where(others.index != 2, 0)), name)
    assert f"{name}: column 'energy_mj_b' is not positive in 1 of 120" in brpnas.error(*asked)
    assert not Path("p").exists()


@pytest.mark.parametrize("arguments", [["--samples", "10"], ["--exclude", "*pi5*"]])
def test_options_that_do_nothing_without_others(brpnas: Any, arguments: list[str]) -> None:
    error = brpnas.error("train", "--column", "latency_ms", "--out", "p", *arguments)
    assert f"{arguments[0]} goes with --transfer" in error


def test_only_the_suggested_networks_are_measured(
    brpnas: Any, frame: pd.DataFrame, others: pd.DataFrame, write: Write
) -> None:
    known = write(others, "others.parquet")
    first = brpnas("measure", "--suggest", 5, "--transfer", known).stdout.splitlines()
    new = write(frame[frame["arch"].isin(first)], "new.parquet")
    asked = ["train", "--table", new, "--column", "latency_ms", "--transfer", known]
    result = brpnas(*asked, "--samples", 5, "--out", "p", "--json")
    found = json.loads(result.stdout)
    assert sorted(found["chosen"]) == sorted(first)
    assert found["spearman"] is None
    assert "0 networks are left to judge by, too few" in result.stderr
    predicted = read_table("p/predictions.parquet").frame
    assert predicted["prediction"].corr(frame["latency_ms"], method="spearman") > 0.8


def test_networks_to_measure_first_are_printed(
    brpnas: Any, others: pd.DataFrame, write: Write
) -> None:
    asked = ["measure", "--suggest", 5, "--transfer", write(others, "others.parquet")]
    printed = brpnas(*asked).stdout.splitlines()
    assert len(set(printed)) == 5
    assert set(printed) <= set(others["arch"])
    found = json.loads(brpnas(*asked, "--exclude", "energy*", "--json").stdout)
    assert found["sources"] == ["latency_ms_a", "latency_us_b", "latency_ms_c"]
    assert len(set(found["suggested"])) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suggest", 5], "--suggest needs --transfer"),
        (["--suggest", 2, "--transfer", "others.parquet"], "needs at least 3"),
        (["--suggest", 5, "--out", "t.parquet"], "--out goes with measuring"),
        (["--transfer", "others.parquet", "--out", "t.parquet"], "--transfer goes with --suggest"),
        ([], "--out is missing"),
    ],
)
def test_bad_suggestions(
    brpnas: Any, others: pd.DataFrame, write: Write, options: list[object], message: str
) -> None:
    write(others, "others.parquet")
    result = brpnas("measure", *options, code=2)
    assert message in result.stderr
