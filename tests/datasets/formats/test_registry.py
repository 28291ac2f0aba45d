from __future__ import annotations

from pathlib import Path

import pytest

import brpnas.datasets.formats
from brpnas.datasets import FORMATS, importer
from brpnas.errors import UserError


def test_every_file_is_registered_under_its_name() -> None:
    folder = Path(brpnas.datasets.formats.__file__).parent
    files = {file.stem for file in folder.glob("*.py") if not file.name.startswith("_")}
    assert set(FORMATS) == files
    for name in FORMATS:
        assert importer(name).__module__ == f"brpnas.datasets.formats.{name}"  # type: ignore[attr-defined]


def test_unknown_format_lists_the_choices() -> None:
    with pytest.raises(UserError, match="Did you mean 'latbench'.*nasbench201, natsbench"):  # noqa: RUF043
        importer("latbnch")


@pytest.mark.parametrize("name", FORMATS)
def test_missing_and_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone"):
        FORMATS[name](tmp_path / "gone.pt")
    noise = tmp_path / "noise.pt"
    noise.write_bytes(b"\x80\x04noise")
    with pytest.raises(UserError, match="noise"):
        FORMATS[name](noise)
