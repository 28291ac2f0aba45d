"""kill -9 at random moments, then --resume: nothing is lost, done twice, or other than it was."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from jobs import JOBS, end, fresh, written
from zygote import Zygote

FEW, MANY = ("search, table", "measure"), 9
"""Jobs of which the slow tests kill one process each, and rounds of each job by hand."""


def _rounds(name: str, count: int, seed: int, zygote: Zygote, inputs: Path, folder: Path) -> int:
    """Kill the job so often, each time at another moment; return how often it still ran."""
    job, rng, killed = JOBS[name], random.Random(seed), 0  # noqa: S311 - no secret
    whole = fresh(inputs, folder / "whole")
    started = time.monotonic()
    assert zygote.run(whole, *job.arguments) == 0, (whole / "said.txt").read_text()
    seconds, wanted = time.monotonic() - started, job.found(whole)
    for number in range(count):
        here = fresh(inputs, folder / f"{number}")
        again: tuple[str, ...] = ()
        for _ in range(rng.choice((1, 1, 2))):  # some are killed a second time
            moment = rng.uniform(0, 0.6 * seconds)
            status = zygote.run(here, *job.arguments, *again, kill_after_s=moment)
            killed += status == -9
            assert status in (-9, 0, 2), (here / "said.txt").read_text()
            again = job.again
        before = written(here, job.kept)
        end(zygote, here, job)
        assert job.found(here) == wanted, f"seed {seed}, round {number}"
        assert written(here, job.kept).items() >= before.items()
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_kill_loses_nothing(name: str, zygote: Zygote, inputs: Path, tmp_path: Path) -> None:
    _rounds(name, 1, 0, zygote, inputs, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("name", JOBS)
def test_many_kills_lose_nothing(name: str, zygote: Zygote, inputs: Path, tmp_path: Path) -> None:
    killed = _rounds(name, MANY, time.time_ns(), zygote, inputs, tmp_path)
    assert killed  # none: this machine became faster since the undisturbed run
