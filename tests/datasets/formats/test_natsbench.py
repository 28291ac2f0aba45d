from __future__ import annotations

import bz2
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.datasets.formats import natsbench
from brpnas.datasets.formats.natsbench import read
from brpnas.errors import UserError


def put(path: Path, content: object) -> None:
    path.write_bytes(bz2.compress(pickle.dumps(content, protocol=4)))


@pytest.fixture
def folder(tmp_path: Path, runs: Any) -> Path:
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    put(folder / "meta.pickle.pbz2", {"meta_archs": runs.CELLS, "evaluated_indexes": set()})
    put(folder / "000002.pickle.pbz2", {"12": runs.short(2), "200": runs.short(2, 200)})
    put(folder / "000001.pickle.pbz2", {"12": runs.short(1)})
    return folder


def test_values_units_and_missing(folder: Path, runs: Any) -> None:
    table = read(folder)
    assert table.name == folder.name
    assert table.archs == runs.CELLS[1:]  # number 0 has no file
    assert table.metric("cifar10_valid_acc_12ep_pct").tolist() == [51, 52]
    np.testing.assert_array_equal(table.metric("cifar10_valid_acc_200ep_pct"), [np.nan, 52])
    assert table.metric("latency_ms_cifar10").tolist() == pytest.approx([20, 20])
    assert table.card.space == "nasbench201"


class Call:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def test_hostile_file(folder: Path) -> None:
    put(folder / "000000.pickle.pbz2", {"12": Call()})
    with pytest.raises(UserError, match=r"000000\.pickle\.pbz2: refused '[a-z]*\.mkdir'"):
        read(folder)


def test_damaged_files_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "000000.pickle.pbz2"
    whole = (folder / "000001.pickle.pbz2").read_bytes()
    for content in (b"", b"noise", whole[:-5]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"000000\.pickle\.pbz2: "):
            read(folder)
    for value, reason in (
        ([], "expected a dict"),
        ({"12": {}}, "all_results"),
        ({"x": 1}, "not a"),
    ):
        put(file, value)
        with pytest.raises(UserError, match=rf"000000\.pickle\.pbz2: .*{reason}"):
            read(folder)
    monkeypatch.setattr(natsbench, "_LIMIT_BYTES", 100)
    with pytest.raises(UserError, match=r"meta\.pickle\.pbz2: unpacks to more than the 100 bytes"):
        read(folder)


def test_other_folders(folder: Path, tmp_path: Path) -> None:
    put(folder / "000003.pickle.pbz2", {})
    with pytest.raises(UserError, match=r"000003\.pickle\.pbz2: there are 3 architectures"):
        read(folder)
    with pytest.raises(UserError, match=r"meta\.pickle\.pbz2: no such file"):
        read(tmp_path)
    put(tmp_path / "meta.pickle.pbz2", {"meta_archs": ["8:16:24:32:64"]})  # the size space
    with pytest.raises(UserError, match="not a NAS-Bench-201 cell"):
        read(tmp_path)
