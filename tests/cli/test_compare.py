from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas.comparing import MEASURES

PROGRAM = [sys.executable, "-c", "from brpnas.cli import main; main()"]
QUICK = (
    *("--column", "latency_ms", "--predictor", "layerwise", "--predictor", "flops"),
    *("--train", "10,30", "--valid", 6, "--seeds", 2, "--executor", "inline"),
)
SECONDS = ["fit_s", "predict_s"]


def fits(folder: Path | str) -> pd.DataFrame:
    return pd.read_csv(Path(folder) / "fits.csv")


def test_same_figures_as_train(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame)
    result = brpnas.json("compare", "--table", table, *QUICK, "--out", "c")
    assert list(result) == ["medians", "columns", "fits", "failed", "run", "wall_s"]
    assert (result["fits"], result["failed"], result["run"]) == (8, 0, "c")
    assert result["columns"] == {"latency_ms": {"rows_missing": 0, "rows_empty": 0}}
    cases = [(row["train"], row["predictor"]) for row in result["medians"]]
    assert cases == [(10, "layerwise"), (10, "flops"), (30, "layerwise"), (30, "flops")]
    trained = ("--column", "latency_ms", "--train", 30, "--valid", 6, "--predictor", "layerwise")
    alone = [
        brpnas.json("train", "--table", table, *trained, "--seed", seed, "--out", f"p{seed}")
        for seed in range(2)
    ]
    (median,) = (
        row for row in result["medians"] if row["train"] == 30 and "lay" in row["predictor"]
    )
    assert (median["seeds"], median["n_test"], median["error"]) == (2, 84, None)
    assert median["in_90pct"] is None  # it does not say how far off it may be
    for measure in ("within_1pct", "within_10pct", "spearman", "kendall"):
        ours, theirs = median[measure], [one[measure] for one in alone]
        assert ours == pytest.approx(sum(theirs) / 2, abs=1e-12), measure
    assert list(fits("c")["seed"]) == [0, 1] * 4
    drawn = {path.name for path in Path("c").glob("*.png")}
    assert drawn == {f"column_1_{kind}.png" for kind in ("errors", "ranks", "learning")}


def test_table_for_people(brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]) -> None:
    asked = ("compare", "--table", write(frame), *QUICK, "--column", "accuracy_pct")
    result = brpnas(*asked, "--out", "c")
    for column in ("latency_ms", "accuracy_pct"):
        assert f"{column}: medians over the seeds; 0 rows without a value" in result.stdout
    assert "within_10pct" in result.stdout
    assert "error" not in result.stdout
    assert "learning curves of accuracy_pct: c/column_2_learning.png" in result.stderr
    assert result.stderr.endswith("report: c/report.html\n")


def test_page_is_that_of_report(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame)
    brpnas.json("compare", "--table", table, *QUICK, "--out", "c")
    page = Path("c/report.html")
    first = page.read_text()
    (command,) = re.findall("<pre>(.*)</pre>", first)
    assert shlex.split(command)[:2] == ["brpnas", "compare"]
    assert {"--table", str(table), "--train", "10,30"} <= {*shlex.split(command)}
    assert "--out" not in command
    page.unlink()
    brpnas("report", "c")
    assert page.read_text() == first
    page.unlink()
    brpnas("compare", "--table", table, *QUICK, "--out", "c", "--resume")
    assert page.read_text() == first


def test_case_that_cannot_be_learnt_is_a_row(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    asked = ("compare", "--table", write(frame), *QUICK, "--train", "1,30", "--valid", 0)
    result = brpnas.json(*asked, "--out", "c")
    assert (result["fits"], result["failed"]) == (8, 4)
    few, enough = result["medians"][0], result["medians"][2]
    assert few["seeds"] == 0
    assert few["within_10pct"] is None
    assert "network" in few["error"]
    assert (enough["seeds"], enough["error"]) == (2, None)
    assert few["error"][:20] in brpnas(*asked, "--out", "again").stdout


def test_nothing_learnt_is_an_error(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    asked = ("compare", "--table", write(frame), *QUICK, "--train", "1", "--valid", 0)
    result = brpnas(*asked, "--out", "c", code=2)
    assert "none of 4 fits succeeded; the first says: " in result.stderr
    assert Path("c/fits.csv").exists()


def test_killed_comparison_goes_on_in_other_processes(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], tmp_path: Path
) -> None:
    asked = ("compare", "--table", write(frame), *QUICK, "--predictor", "trees", "--train", 30)
    whole = brpnas.json(*asked, "--out", "whole")
    command = [*PROGRAM, *map(str, asked), "--out", "killed"]
    kept = tmp_path / "killed" / "fits"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while len(list(kept.glob("*.json"))) < 4:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    assert len(before) < whole["fits"]
    assert "holds a run already" in brpnas.error(*asked, "--out", "killed")
    other = brpnas.error(*asked, "--seeds", 3, "--out", "killed", "--resume")
    assert "seeds was 2, now 3" in other
    elsewhere = ("--executor", "processes", "--jobs", 2)
    resumed = brpnas.json(*asked, *elsewhere, "--out", "killed", "--resume")
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing is done twice
    assert resumed["fits"] == whole["fits"]
    pd.testing.assert_frame_equal(
        fits("killed").drop(columns=SECONDS), fits("whole").drop(columns=SECONDS)
    )
    path = next(iter(before))
    path.write_text("{}")
    assert f"{path.name}: damaged" in brpnas.error(*asked, "--out", "killed", "--resume")


def test_ctrl_c_says_how_to_go_on(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    table = write(frame)
    with monkeypatch.context() as patch:
        patch.setattr("brpnas.predictors.FlopsPredictor.fit", interrupt)
        result = brpnas("compare", "--table", table, *QUICK, "--out", "c", code=130)
    assert "repeat the command with --out c --resume" in result.stderr
    resumed = brpnas.json("compare", "--table", table, *QUICK, "--out", "c", "--resume")
    assert (resumed["fits"], resumed["failed"]) == (8, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "latency"], "Did you mean 'latency_ms'?"),
        (["--column", "nothing"], "values in 0 of 120 rows"),
        (["--column", "constant"], "all values of column 'constant' are equal"),
        (["--predictor", "gnn"], "Did you mean 'gcn'?"),
        (["--train", "10,115"], "--train 115, --valid 6 and at least 2 to judge by are 123"),
        (["--test", "100"], "--train 30, --valid 6 and --test 100 are 136"),
        (["--train", "ten"], "--train 'ten' must be whole numbers"),
        (["--train", "0,10"], "--train must be at least 1, not 0"),
        (["--train", ""], "an empty text after --train"),
        (["--space", "darts"], "unknown space 'darts'"),
        (["--executor", "cloud"], "unknown executor 'cloud'"),
        (["--ray-address", "auto"], "--ray-address goes with --executor ray"),
        (["--jobs", "4"], "--jobs goes with --executor processes and ray"),
        (["--out", "full"], "folder full is not empty"),
        (["--table", "nosuch.parquet"], "nosuch.parquet"),
    ],
)
def test_bad_input_ends_before_any_fit(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("brpnas.comparing.try_out", lambda *_: pytest.fail("fitted"))
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("precious")
    table = write(frame.assign(constant=3.0))
    error = brpnas.error("compare", "--table", table, *QUICK, "--out", "c", *arguments)
    assert message in error
    assert not Path("c").exists()


def test_column_with_a_hostile_name(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    column = "../$\\frac{ [red] a/b"
    table = write(frame.rename(columns={"latency_ms": column}))
    asked = ("--column", column, *QUICK[2:], "--test", 50)
    result = brpnas.json("compare", "--table", table, *asked, "--out", "c")
    assert {(row["column"], row["n_test"]) for row in result["medians"]} == {(column, 50)}
    record = json.loads((Path("c") / "run.json").read_text())
    assert set(MEASURES) < set(record["result"]["medians"][0])
