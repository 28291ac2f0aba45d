from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from brpnas.datasets import Table, catalogue, embedded_names, open_table, write_table
from brpnas.errors import UserError

LAB = Table(pd.DataFrame({"arch": ["a"], "m": [1.0]}))


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(catalogue, "_EMBEDDED", folder)
    return folder


def test_every_embedded_table_opens_and_is_intact() -> None:
    for name in embedded_names():
        assert open_table(name).intact() is True, name


def test_no_embedded_tables(embedded: Path) -> None:
    embedded.rmdir()
    assert embedded_names() == []
    with pytest.raises(UserError, match=r"Choices: \(none\); or give the path of a \.parquet or"):
        open_table("digits201")


def test_open_by_name(embedded: Path) -> None:
    write_table(LAB, embedded / "beta.parquet")
    write_table(LAB, embedded / "alpha.parquet")
    assert embedded_names() == ["alpha", "beta"]
    assert open_table("alpha").name == "alpha.parquet"
    with pytest.raises(UserError, match=r"Did you mean 'alpha'.*Choices: alpha, beta; or give"):
        open_table("alhpa")


def test_open_by_path(embedded: Path, tmp_path: Path) -> None:
    write_table(LAB, tmp_path / "mine.csv")
    assert open_table(tmp_path / "mine.csv").archs == ["a"]
    assert open_table(str(tmp_path / "mine.csv")).archs == ["a"]
    for wrong in (tmp_path / "mine.xlsx", tmp_path / "sub" / "mine", embedded):
        with pytest.raises(UserError, match=r"accepted: \.parquet, \.csv"):
            open_table(wrong)
    with pytest.raises(UserError, match=r"gone\.csv: no such file"):
        open_table("gone.csv")
