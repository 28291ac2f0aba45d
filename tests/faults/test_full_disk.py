"""A disk that fills up: files cannot grow beyond a limit (RLIMIT_FSIZE), as the kernel enforces.

Other than on a full disk, files below the limit are still written; what the program sees, a write
that fails in the middle of a file, is the same, with EFBIG in the place of ENOSPC. Folders that
cannot be written to are files here, or in /proc: permissions do not bind root.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jobs import JOBS, end, fresh
from zygote import Zygote

pytestmark = pytest.mark.slow

LIMITS = (4_000, 60_000, 400_000)
FEW = ("search, table", "measure", "compress")


def _fails_clearly(said: str) -> bool:
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "Traceback" not in said and len(lines[0]) < 2100


def _fill(name: str, zygote: Zygote, inputs: Path, folder: Path) -> None:
    job = JOBS[name]
    whole = fresh(inputs, folder / "whole")
    assert zygote.run(whole, *job.arguments) == 0, (whole / "said.txt").read_text()
    wanted = job.found(whole)
    here = fresh(inputs, folder / "here")
    statuses, again = [], ()
    for limit in LIMITS:
        status = zygote.run(here, *job.arguments, *again, limit_bytes=limit)
        said = (here / "said.txt").read_text()
        assert status == 0 or _fails_clearly(said), f"{limit}: {said}"
        statuses.append(status)
        again = job.again
        half = [path.name for path in here.rglob("*.tmp")]
        assert not half
    assert 2 in statuses
    end(zygote, here, job)
    assert job.found(here) == wanted


@pytest.mark.parametrize("name", FEW)
def test_a_full_disk_is_said_and_loses_nothing(
    name: str, zygote: Zygote, inputs: Path, tmp_path: Path
) -> None:
    _fill(name, zygote, inputs, tmp_path)


@pytest.mark.parametrize("name", [name for name in JOBS if name not in FEW])
def test_other_commands_on_a_full_disk(
    name: str, zygote: Zygote, inputs: Path, tmp_path: Path
) -> None:
    _fill(name, zygote, inputs, tmp_path)


@pytest.mark.parametrize("place", ["/proc", "a file"])
@pytest.mark.parametrize("name", JOBS)
def test_folders_that_cannot_be_written_to(
    name: str, place: str, zygote: Zygote, inputs: Path, tmp_path: Path
) -> None:
    here = fresh(inputs, tmp_path / "here")
    (here / "file").write_text("mine")
    base = Path("/proc") if place == "/proc" else here / "file"
    *arguments, out = JOBS[name].arguments
    assert zygote.run(here, *arguments, base / str(out)) == 2
    said = (here / "said.txt").read_text()
    assert re.fullmatch(r"(.*\n)*error: .*\n", said), said
    assert "Traceback" not in said
    assert (here / "file").read_text() == "mine"
