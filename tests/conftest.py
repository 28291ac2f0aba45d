"""Fixtures that every room may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data that is not part of the repository: BRPNAS_DATA, else ../shared."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("BRPNAS_DATA", beside))
    if not (folder / "data" / "nasbench201.parquet").is_file():
        pytest.skip(f"real data: no data/nasbench201.parquet in {folder}; set BRPNAS_DATA")
    return folder
