from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brpnas.datasets import Card, Table, check_writable, read_table, write_table
from brpnas.errors import UserError

SUFFIXES = [".parquet", ".csv"]
FRAME = pd.DataFrame(
    {
        "arch": ["|a~0|+|b,c~1|", 'quo"ted', "µ"],
        "latency_ms": [0.1 + 0.2, np.nan, 1e-17],
        "macs": [1, 2, 3],
        "note": ["x", np.nan, "z"],
        "stable": [True, False, True],
    }
)
LAB = Table(FRAME, Card(title="Lab", columns={"macs": "note"}), "lab")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lab{suffix}"
    write_table(LAB, path)
    back = read_table(str(path))
    pd.testing.assert_frame_equal(back.frame, FRAME)
    assert (back.card.title, back.card.columns, back.name) == ("Lab", {"macs": "note"}, path.name)
    assert back.intact() is True
    beside = {"lab.csv", "lab.card.json"} if suffix == ".csv" else {"lab.parquet"}
    assert {file.name for file in tmp_path.iterdir()} == beside


def test_edited_csv_is_read_but_not_vouched_for(tmp_path: Path) -> None:
    path = tmp_path / "lab.csv"
    write_table(LAB, path)
    path.write_text(path.read_text().replace("1e-17", "2e-17"))
    assert read_table(path).intact() is False


def test_foreign_files_have_their_name_as_title(tmp_path: Path) -> None:
    FRAME.set_index("arch").to_parquet(tmp_path / "foreign.parquet")  # arch as pandas' index
    (tmp_path / "plain.CSV").write_text("arch,m\na,1\nb,\n")
    assert read_table(tmp_path / "foreign.parquet").archs == list(FRAME["arch"])
    plain = read_table(tmp_path / "plain.CSV")
    assert plain.card == Card(title="plain.CSV")
    assert plain.intact() is None
    np.testing.assert_array_equal(plain.metric("m"), [1, np.nan])


def test_arch_of_digits_stays_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arch,m\n007,1\n7,2\n")
    assert read_table(tmp_path / "t.csv").archs == ["007", "7"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("no.parquet", None, "no such file"),
        ("t.txt", b"arch", r"accepted: \.parquet, \.csv"),
        ("t.parquet", b"", "not a readable parquet file"),
        ("t.parquet", b"PAR1 and then something else PAR1", "not a readable parquet file"),
        ("t.csv", b"", "not a readable csv file"),
        ("t.csv", b"arch,m\na,1\nb,2,3,4\n", "not a readable csv file"),
        ("t.csv", b"arch,m\n\xff\xfe,1\n", "not a readable csv file"),
        ("t.csv", b"arch,m\n", "t.csv: the table has no rows"),
        ("t.csv", b"net,m\na,1\n", "t.csv: no column 'arch'"),
        ("t.csv", b"arch,m\na,1\nb,2\na,3\n", "'a' appears twice, in rows 1 and 3"),
        ("t.csv", b"arch,m\na,1\n,2\n", "'arch' of row 2"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(LAB, path)
    whole = path.read_bytes()
    for length in (3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"t\.parquet: not a readable parquet file"):
            read_table(path)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path / "t.csv")


def test_damaged_card_is_named(tmp_path: Path) -> None:
    write_table(LAB, tmp_path / "t.csv")
    (tmp_path / "t.card.json").write_text(json.dumps({"source": None}))
    with pytest.raises(UserError, match=r"t\.card\.json: 'source' of the card is not text"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_table(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"t{suffix}"
    write_table(LAB, path)
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=f"t{suffix}: cannot write .*Permission denied"):
        write_table(Table(FRAME[:1]), path)
    assert path.read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if file.suffix == ".tmp"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_write_needs_a_folder_and_a_suffix(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UserError, match="cannot write"):
        write_table(LAB, tmp_path / "nowhere" / f"t{suffix}")
    with pytest.raises(UserError, match="unknown kind of table"):
        write_table(LAB, tmp_path / "t.xlsx")


def test_check_before_the_work_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("folder.csv", "folder"):
        (tmp_path / folder).mkdir()
    check_writable(tmp_path / "t.csv")
    for name, reason in (
        ("t.xlsx", "unknown kind of table"),
        ("nowhere/t.csv", "cannot write .*No such file"),
        ("folder.csv", "is a folder"),
        ("folder", "is a folder, not a file; name a .parquet or .csv file in it"),
        ("", "is a folder"),
    ):
        with pytest.raises(UserError, match=f"{name}: {reason}"):
            check_writable(tmp_path / name)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(UserError, match=r"t\.csv: cannot write .*Permission denied"):
        check_writable(tmp_path / "t.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.csv"]


def test_parquet_cannot_hold_a_mixed_column(tmp_path: Path) -> None:
    mixed = Table(pd.DataFrame({"arch": ["a", "b"], "m": [1, "x"]}))
    with pytest.raises(UserError, match=r"t\.parquet: cannot write .*column m"):
        write_table(mixed, tmp_path / "t.parquet")
