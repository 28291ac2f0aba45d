from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import FORMATS, embedded_names, read_table


def test_list(brpnas: Any) -> None:
    result = brpnas.json("datasets", "list")
    assert [table["name"] for table in result["tables"]] == embedded_names()
    assert result["formats"] == list(FORMATS)
    assert "latbench" in brpnas("datasets", "list").stderr


def test_describe(brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]) -> None:
    table = write(frame.rename(columns={"params": "[red]params\x1b[31m"}))
    result = brpnas.json("datasets", "describe", table)
    assert (result["rows"], result["intact"], result["card"]["title"]) == (120, True, "made up")
    assert result["metrics"]["nothing"]["median"] is None
    assert result["metrics"]["latency_ms"]["max"] == frame["latency_ms"].max()
    shown = brpnas("datasets", "describe", table).stdout
    assert "[red]params?[31m" in shown


def test_import(brpnas: Any, tmp_path: Path) -> None:
    (tmp_path / "phone.pickle").write_bytes(pickle.dumps({(3, 1, 2, 0, 4, 3): 0.0123}))
    result = brpnas.json("datasets", "import", "latbench", "phone.pickle", "--out", "t.parquet")
    assert result == {"out": "t.parquet", "rows": 1, "metrics": ["latency_ms"]}
    np.testing.assert_allclose(read_table("t.parquet").metric("latency_ms"), [12.3])


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_malicious_pickle_is_refused(brpnas: Any, tmp_path: Path) -> None:
    (tmp_path / "phone.pickle").write_bytes(pickle.dumps({"a": Malicious()}))
    error = brpnas.error("datasets", "import", "latbench", "phone.pickle", "--out", "t.csv")
    assert "phone.pickle" in error
    assert "mkdir" in error
    assert not Path("harm").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "latbemch", "x", "--out", "t.csv"], "Did you mean 'latbench'?"),
        (["import", "latbench", "no.pickle", "--out", "t.csv"], "no.pickle: no such file"),
        (["describe", "no.csv"], "no.csv: no such file"),
        (["build", "digits2", "--out", "t.csv", "--work", "w"], "Did you mean 'digits201'?"),
        (["build", "digits201", "--out", "t.csv", "--work", "file", "--jobs", "1"], "file"),
    ],
)
def test_bad_input(brpnas: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    assert message in brpnas.error("datasets", *arguments)


@pytest.mark.parametrize("out", ["nowhere/t.csv", "t.txt"])
def test_out_is_checked_before_the_work(
    brpnas: Any, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def work(*_: object) -> None:
        pytest.fail("worked in vain")

    monkeypatch.setattr("brpnas.evaluate.digits201.build_digits201", work)
    monkeypatch.setattr("brpnas.datasets.importer", lambda _: work)
    assert out in brpnas.error("datasets", "build", "digits201", "--work", "w", "--out", out)
    assert out in brpnas.error("datasets", "import", "latbench", "x.pickle", "--out", out)


def test_build_and_go_on(brpnas: Any) -> None:
    asked = ("datasets", "build", "digits201", "--work", "w", "--jobs", 1, "--seeds", 1)
    result = brpnas.json(*asked, "--cells", 2, "--out", "t.parquet")
    assert (result["rows"], result["metrics"][0]) == (2, "valid_acc_pct")
    files = {path: path.stat().st_mtime_ns for path in Path("w").glob("*.json")}
    brpnas(*asked, "--cells", 3, "--out", "t.parquet")
    assert len(read_table("t.parquet")) == 3
    assert all(path.stat().st_mtime_ns == before for path, before in files.items())
