from __future__ import annotations

import os
from pathlib import Path

import pytest

from brpnas.errors import UserError
from brpnas.exporting.folder import whole_folder


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_files_are_there_at_the_end(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "empty" if there else tmp_path / "a" / "b"
    (tmp_path / "empty").mkdir()
    with whole_folder(out) as folder:
        (folder / "x").write_text("1")
        assert not (out / "x").exists()
    assert [file.name for file in out.iterdir()] == ["x"]
    assert {file.name for file in tmp_path.iterdir()} <= {"a", "empty"}


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path: Path, kind: type[BaseException]) -> None:
    def fail() -> None:
        with whole_folder(tmp_path / "a" / "b") as folder:
            (folder / "x").write_text("1")
            raise kind

    with pytest.raises(kind):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_of_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_folder(Path()) as folder:
        (folder / "x").touch()
    assert [file.name for file in Path.cwd().iterdir()] == ["x"]


def test_places_that_will_not_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, said in (
        (tmp_path / "file", "is a file"),
        (tmp_path, "is not empty"),
        (tmp_path / "file" / "a", "cannot be written"),
    ):
        with pytest.raises(UserError, match=f"--out {path} {said}"), whole_folder(path):
            pytest.fail("there is no such folder")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"), whole_folder(tmp_path / "a" / "b"):
        pytest.fail("it is not writable")
