from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from brpnas.errors import UserError
from brpnas.evaluate.evaluator import Evaluation
from brpnas.run import Run
from brpnas.search import (
    BRPSchedule,
    BRPSearch,
    Evolution,
    Problem,
    RandomSearch,
    SearchResult,
    Strategy,
    search,
)
from brpnas.spaces import Cell
from brpnas.testing import LinearPredictor, SyntheticEvaluator, synthetic_problem

BUDGET = 40

# What the killed process runs; it has to agree with `strategies` below.
SCRIPT = """
import sys
from brpnas.run import Run
from brpnas.search import BRPSchedule, BRPSearch, Evolution, search
from brpnas.testing import LinearPredictor, SyntheticEvaluator, synthetic_problem
name, folder = sys.argv[1:]
problem = synthetic_problem(limit_ms=6.0)
linear = lambda seed: LinearPredictor()
strategy = {
    "brp": lambda: BRPSearch(problem, 3, linear, BRPSchedule(40), linear),
    "evolution": lambda: Evolution(problem, 3, population=10),
}[name]()
with Run(folder, {"strategy": name}, seed=3) as run:
    search(problem, strategy, SyntheticEvaluator(failing=0.1, seconds=0.15), 40, run)
"""


def strategies(name: str, problem: Problem[Cell]) -> Strategy[Cell]:
    if name == "evolution":
        return Evolution(problem, 3, population=10)

    def linear(_: int) -> LinearPredictor:
        return LinearPredictor()

    return BRPSearch(problem, 3, linear, BRPSchedule(BUDGET), linear)


def run_search(
    folder: Path, name: str = "evolution", resume: bool = False
) -> tuple[SearchResult[Cell], SyntheticEvaluator]:
    problem = synthetic_problem(limit_ms=6.0)
    evaluator = SyntheticEvaluator(failing=0.1)
    with Run(folder, {"strategy": name}, seed=3, resume=resume) as run:
        result = search(problem, strategies(name, problem), evaluator, BUDGET, run)
    return result, evaluator


def trace(folder: Path) -> pd.DataFrame:
    # Read once: pandas opens a path several times, and a running search replaces the file.
    return pd.read_parquet(io.BytesIO((folder / "trace.parquet").read_bytes()))


class Interrupted(SyntheticEvaluator):
    """Is interrupted after some networks."""

    def __init__(self, after: int) -> None:
        super().__init__(failing=0.1)
        self._after = after

    def evaluate(self, archs: Sequence[Cell]) -> Iterator[Evaluation]:
        for evaluation in super().evaluate(archs):
            if self.evaluated > self._after:
                raise KeyboardInterrupt
            yield evaluation


def test_trace_holds_every_metric_of_every_network_in_order(tmp_path: Path) -> None:
    result, _ = run_search(tmp_path)
    frame = trace(tmp_path)
    metrics = ["accuracy_pct", "latency_ms", "params"]
    assert list(frame) == ["step", "iteration", "origin", "arch", "expected", *metrics, "error"]
    assert list(frame.step) == list(range(BUDGET))
    assert frame.arch.is_unique
    failed = frame.accuracy_pct.isna()
    assert result.failed == failed.sum() > 0
    assert set(frame.error[failed]) == {"made to fail"}
    assert frame.error[~failed].isna().all()
    best = frame[frame.latency_ms <= 6].nlargest(1, "accuracy_pct").iloc[0]
    assert (result.step, str(result.best)) == (best["step"], best["arch"])
    assert result.metrics == best[metrics].to_dict()


@pytest.mark.parametrize("name", ["brp", "evolution"])
def test_killed_search_goes_on_to_the_undisturbed_trace(tmp_path: Path, name: str) -> None:
    whole, _ = run_search(tmp_path / "whole", name)
    killed = tmp_path / "killed"
    with subprocess.Popen([sys.executable, "-c", SCRIPT, name, str(killed)]) as process:
        try:
            deadline = time.monotonic() + 120
            while not (killed / "trace.parquet").exists() or len(trace(killed)) < 12:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
    kept = len(trace(killed))
    assert kept < BUDGET
    resumed, evaluator = run_search(killed, name, resume=True)
    assert evaluator.evaluated == BUDGET - kept  # nothing is done twice
    pd.testing.assert_frame_equal(trace(killed), trace(tmp_path / "whole"), check_exact=True)
    assert resumed == whole


def test_interrupted_search_keeps_all_that_was_finished(tmp_path: Path) -> None:
    problem = synthetic_problem(limit_ms=6.0)
    evaluator = Interrupted(17)
    with (
        pytest.raises(KeyboardInterrupt),
        Run(tmp_path, {"strategy": "evolution"}, seed=3) as run,
    ):
        search(problem, strategies("evolution", problem), evaluator, BUDGET, run)
    assert len(trace(tmp_path)) == 17
    _, again = run_search(tmp_path, resume=True)
    assert again.evaluated == BUDGET - 17


def test_finished_search_is_repeated_from_its_trace(tmp_path: Path) -> None:
    result, _ = run_search(tmp_path)
    again, evaluator = run_search(tmp_path, resume=True)
    assert again == result
    assert evaluator.evaluated == 0


def test_trace_of_other_code_or_inputs_is_refused(tmp_path: Path) -> None:
    run_search(tmp_path)
    before = (tmp_path / "trace.parquet").read_bytes()
    problem = synthetic_problem()
    for seed, budget, message in ((4, BUDGET, "is next"), (3, 5, "more than the 5")):
        strategy = Evolution(problem, seed, population=10)
        run = Run(tmp_path, {"strategy": "evolution"}, seed=3, resume=True)
        with run, pytest.raises(UserError, match=message):
            search(problem, strategy, SyntheticEvaluator(), budget, run)
    assert (tmp_path / "trace.parquet").read_bytes() == before


def test_no_feasible_network_is_an_error_after_the_trace_is_saved(tmp_path: Path) -> None:
    problem = synthetic_problem(limit_ms=0.01)
    with Run(tmp_path, {}, seed=0) as run:
        with pytest.raises(UserError, match=r"latency_ms must be at most 0.01, the smallest seen"):
            search(problem, RandomSearch(problem, 0), SyntheticEvaluator(), 20, run)
        assert len(trace(tmp_path)) == 20


def test_all_failed_is_an_error_that_tells_why() -> None:
    problem = synthetic_problem()
    with pytest.raises(
        UserError, match="none of 5 networks has a value of accuracy_pct: made to fail"
    ):
        search(problem, RandomSearch(problem, 0), SyntheticEvaluator(failing=1.0), 5)


@pytest.mark.parametrize("budget", [0, -1, 51])
def test_impossible_budget(budget: int) -> None:
    problem = synthetic_problem(50)
    with pytest.raises(UserError, match="there are 50 networks"):
        search(problem, RandomSearch(problem, 0), SyntheticEvaluator(), budget)


def test_unknown_metric_lists_the_choices() -> None:
    problem = Problem(synthetic_problem().space, synthetic_problem().pool, "acuracy_pct")
    with pytest.raises(UserError, match="Did you mean 'accuracy_pct'"):
        search(problem, RandomSearch(problem, 0), SyntheticEvaluator(), 5)


def test_progress_counts_every_network() -> None:
    calls: list[tuple[int, int]] = []
    problem = synthetic_problem()

    def progress(done: int, budget: int) -> None:
        calls.append((done, budget))

    search(problem, RandomSearch(problem, 0), SyntheticEvaluator(), 4, progress=progress)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    with Run(tmp_path, {"strategy": "brp"}, seed=3):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, "brp", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode != 0
    assert f"is in use by process {os.getpid()}" in done.stderr
    assert not (tmp_path / "trace.parquet").exists()
