"""``brpnas search --latency-table``: costs from a table of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import Card, Table, embedded_names, open_table, write_table
from brpnas.spaces import NASBench201

SPACE = NASBench201()
ASKED = ("--strategy", "random", "--budget", 40, "--out", "run")
ACCURACY = ("search", "--table", "t.parquet", "--accuracy", "accuracy_pct")
LIMIT = ("--latency", "latency_ms", "--latency-limit", 5, "--latency-table", "costs.parquet")


@pytest.fixture(scope="module")
def deployed_of() -> dict[str, str]:
    """What runs of each cell of the space; working that out takes seconds."""
    return {str(cell): str(SPACE.deployed(cell)) for cell in SPACE}


@pytest.fixture
def costs(
    frame: pd.DataFrame, write: Callable[..., Path], deployed_of: dict[str, str]
) -> pd.Series[float]:
    """Writes the tables: accuracy of unusual writings with a wrong latency; costs of deployed ones.

    Returns the cost of each network of the first table.
    """
    deployed = frame["arch"].tolist()
    others = {text: writing for writing, text in deployed_of.items() if text != writing}
    written = [others.get(text, text) for text in deployed]
    assert sum(map(str.__ne__, written, deployed)) > 10
    known = frame["latency_ms"].where(frame.index >= 3)  # three networks have no row
    write(pd.DataFrame({"arch": deployed, "latency_ms": known}).dropna(), "costs.parquet")
    write(frame.assign(arch=written, latency_ms=1000.0))
    return pd.Series(known.to_numpy(), written)


def test_costs_come_from_their_table(brpnas: Any, costs: pd.Series[float]) -> None:
    params = ("--latency", "params", "--latency-limit", 100)  # only the first table has it
    done = brpnas(*ACCURACY, *LIMIT, *params, *ASKED)
    assert done.stderr.count("lack a value") == 1
    assert "3 of 120 networks lack a value of latency_ms in costs.parquet: they are left out" in (
        done.stderr
    )
    rows = pd.read_parquet("run/trace.parquet")
    assert set(rows) >= {"accuracy_pct", "latency_ms", "params"}
    assert rows["latency_ms"].to_numpy() == pytest.approx(costs[rows["arch"]], nan_ok=True)
    record = json.loads(Path("run/run.json").read_text())
    best = rows[rows.latency_ms <= 5].nlargest(1, "accuracy_pct").iloc[0]
    assert record["result"]["best"]["arch"] == best["arch"]
    assert "--latency-table costs.parquet" in record["arguments"]["command"]


@pytest.mark.usefixtures("costs")
def test_latency_is_the_column_that_a_limit_alone_means(brpnas: Any) -> None:
    limit = ("--latency-limit", 5, "--latency-table", "costs.parquet")
    assert brpnas.json(*ACCURACY, *limit, *ASKED)["best"]["latency_ms"] <= 5


@pytest.mark.usefixtures("costs")
def test_resume_needs_the_same_costs(brpnas: Any) -> None:
    first = brpnas.json(*ACCURACY, *LIMIT, *ASKED)
    moved = Path("costs.parquet").rename("moved.parquet")
    limit = (*LIMIT[:-1], moved)
    assert brpnas.json(*ACCURACY, *limit, *ASKED, "--resume") == first
    frame = open_table(moved).frame
    write_table(Table(frame.assign(latency_ms=frame["latency_ms"] + 1), Card()), moved)
    said = brpnas(*ACCURACY, *limit, *ASKED, "--resume", code=2).stderr
    assert "latency_table_sha256 was" in said


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (LIMIT[:2], "each metric needs its limit"),
        (LIMIT[4:], "--latency-table needs --latency"),
        ((*LIMIT[:5], "no.parquet"), "no.parquet: no such file"),
        ((*LIMIT[:3], 0.01, *LIMIT[4:]), "costs.parquet: no network has latency_ms of at most 0.0"),
        (("--latency", "params", *LIMIT[2:]), "has none of the columns that are limited (params)"),
        (("--latency", "latency", *LIMIT[2:]), "unknown column of costs.parquet and t.parquet"),
        ((*LIMIT, "--accuracy", "latency_ms"), "metric 'latency_ms' comes from two sources"),
    ],
)
@pytest.mark.usefixtures("costs")
def test_bad_input(brpnas: Any, limit: tuple[object, ...], message: str) -> None:
    assert message in brpnas.error(*ACCURACY, *ASKED[:4], *limit)


@pytest.mark.usefixtures("costs")
def test_no_budget_goes_to_networks_without_a_cost(brpnas: Any) -> None:
    measured = open_table("costs.parquet").frame.head(50)
    write_table(Table(measured, Card()), "costs.parquet")
    said = brpnas(*ACCURACY, *LIMIT, *ASKED).stderr
    assert "70 of 120 networks lack a value" in said
    rows = pd.read_parquet("run/trace.parquet")
    assert len(rows) == 40
    assert rows["latency_ms"].notna().all()


@pytest.mark.usefixtures("costs")
def test_columns_of_text_are_not_offered(brpnas: Any) -> None:
    frame = open_table("costs.parquet").frame
    write_table(Table(frame.assign(samples_ms="1 2;3 4"), Card()), "costs.parquet")
    said = brpnas.error(*ACCURACY, *ASKED[:4], "--latency", "latency", *LIMIT[2:])
    assert "latency_ms" in said
    assert "samples_ms" not in said
    said = brpnas.error(*ACCURACY, *ASKED[:4], "--latency", "samples_ms", *LIMIT[2:])
    assert "column 'samples_ms' is not numeric" in said


@pytest.mark.usefixtures("costs")
def test_costs_of_other_networks_only(brpnas: Any, write: Callable[..., Path]) -> None:
    other = pd.DataFrame({"arch": [str(next(iter(SPACE)))], "latency_ms": [1.0]})
    write(other, "costs.parquet")
    said = brpnas.error(*ACCURACY, *LIMIT, *ASKED)
    assert "costs.parquet: no network has a value of latency_ms" in said


def test_default_table_has_its_costs(
    brpnas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "digits201" in embedded_names()
    table = open_table("digits201")
    cells = table.archs
    folder = tmp_path / "embedded"
    folder.mkdir()
    write_table(table, folder / "digits201.parquet")
    latency = np.linspace(1, 9, len(cells))
    costs = pd.DataFrame({"arch": cells, "latency_ms": latency})
    write_table(Table(costs, Card()), folder / "litert201.parquet")
    monkeypatch.setattr("brpnas.datasets.catalogue._EMBEDDED", folder)
    best = brpnas.json("search", "--latency-limit", 3, *ASKED)["best"]
    assert list(best) == ["arch", "valid_acc_pct", "test_acc_pct", "latency_ms"]
    assert best["latency_ms"] == latency[cells.index(best["arch"])] <= 3


def test_training_with_costs_from_a_table(
    brpnas: Any, write: Callable[..., Path], tmp_path: Path, deployed_of: dict[str, str]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "train.npz", x=x, y=np.arange(40) % 2)
    cells = list(dict.fromkeys(deployed_of.values()))
    latency = np.arange(len(cells), dtype=float)
    write(pd.DataFrame({"arch": cells, "latency_ms": latency}), "costs.parquet")
    small = ("--epochs", 1, "--channels", 2, "--batch-size", 8, "--crop", 0, "--jobs", 1)
    limit = ("--latency-limit", 4000, "--latency-table", "costs.parquet")
    asked = ("search", "--train-on", "train.npz", *small, "--strategy", "random", "--budget", 3)
    best = brpnas.json(*asked, *limit)["best"]
    assert list(best) == ["arch", "valid_acc_pct", "latency_ms"]
    assert best["latency_ms"] == cells.index(best["arch"])
    other = ("--latency", "latency", *limit)
    assert "unknown column of costs.parquet and training" in brpnas.error(*asked, *other)
