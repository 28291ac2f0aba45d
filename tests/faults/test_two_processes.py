"""Two processes on one folder: one is refused, or both come to the result of one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from jobs import JOBS, fresh, written
from zygote import Zygote

pytestmark = pytest.mark.slow

LOCKED = ("search, table", "search, training", "search, low rank")


@pytest.mark.parametrize("name", ["search, training"])
def test_a_second_process_is_refused_while_the_first_runs(
    name: str, zygote: Zygote, inputs: Path, tmp_path: Path
) -> None:
    job, here = JOBS[name], fresh(inputs, tmp_path / "here")
    whole = fresh(inputs, tmp_path / "whole")
    assert zygote.run(whole, *job.arguments) == 0
    first = zygote.start(here, *job.arguments, log="first.txt")
    deadline = time.monotonic() + 60
    while not written(here, job.kept):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(first, signal.SIGSTOP)  # so that it does not end before the other has looked
    status = zygote.run(here, *job.arguments, "--resume")
    os.kill(first, signal.SIGCONT)
    assert status == 2
    assert f"error: run folder run is in use by process {first}" in (here / "said.txt").read_text()
    assert zygote.wait(first) == 0
    assert job.found(here) == job.found(whole)


@pytest.mark.parametrize("name", JOBS)
def test_both_start_at_once(name: str, zygote: Zygote, inputs: Path, tmp_path: Path) -> None:
    job, here = JOBS[name], fresh(inputs, tmp_path / "here")
    whole = fresh(inputs, tmp_path / "whole")
    assert zygote.run(whole, *job.arguments) == 0
    logs = [f"{number}.txt" for number in range(2)]
    both = [zygote.start(here, *job.arguments, *job.again, log=log) for log in logs]
    ends = sorted(zygote.wait(one) for one in both)
    said = "\n".join((here / log).read_text() for log in logs)
    assert ends in ([0, 0], [0, 2]), said
    assert "Traceback" not in said
    if name in LOCKED and 2 in ends:  # none if the first has ended before the second looks
        assert "is in use by process" in said
    assert job.found(here) == job.found(whole)
