"""Fixtures that every room may use."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# Tests run in one process for each core: threads of torch would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from emulated_phone import EmulatedPhone

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore Ctrl-C, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _the_same_draws() -> None:
    """Make what tests draw from torch without a seed of their own the same each time."""
    if "torch" in sys.modules:  # not for those that see whether it is imported
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data that is not part of the repository: BRPNAS_DATA, else ../shared."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("BRPNAS_DATA", beside))
    if not (folder / "data" / "nasbench201.parquet").is_file():
        pytest.skip(f"real data: no data/nasbench201.parquet in {folder}; set BRPNAS_DATA")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys for phones."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


@pytest.fixture
def emulated(home: Path, tmp_path: Path) -> Iterator[EmulatedPhone]:  # noqa: ARG001
    """An emulated phone, and a home in which the link to it may leave its key."""
    with contextlib.closing(EmulatedPhone(tmp_path / "phone")) as phone:
        yield phone
