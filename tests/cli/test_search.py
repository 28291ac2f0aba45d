from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brpnas.run import Run

FAST = ("--strategy", "evolution", "--budget", 30)
COLUMNS = ("--accuracy", "accuracy_pct", "--report", "test_acc_pct")
PROGRAM = [sys.executable, "-c", "from brpnas.cli import main; main()"]


def trace(folder: Path | str) -> pd.DataFrame:
    # Read once: pandas opens a path several times, and a running search replaces the file.
    return pd.read_parquet(io.BytesIO((Path(folder) / "trace.parquet").read_bytes()))


def test_result_trace_and_files(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], tmp_path: Path
) -> None:
    table = write(frame)
    limit = ("--latency", "latency_ms", "--latency-limit", 5, "--latency", "params")
    asked = ("search", "--table", table, *COLUMNS, *limit, "--latency-limit", 5, *FAST)
    result = brpnas.json(*asked, "--out", "run")
    assert list(result) == ["best", "evaluations", "wall_s", "run"]
    assert list(result["best"]) == ["arch", "accuracy_pct", "test_acc_pct", "latency_ms", "params"]
    assert (result["evaluations"], result["run"]) == (30, "run")
    rows = trace("run")
    metrics = ["accuracy_pct", "test_acc_pct", "latency_ms", "params"]
    assert list(rows) == ["step", "iteration", "origin", "arch", "expected", *metrics, "error"]
    best = rows[(rows.latency_ms <= 5) & (rows.params <= 5)].nlargest(1, "accuracy_pct").iloc[0]
    assert result["best"] == best[["arch", *metrics]].to_dict()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    plots = {"trace.png", "best_so_far.png", "limit_1.png", "limit_2.png"}
    assert names - {".lock"} == {"run.json", "trace.parquet", "report.html", *plots}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (
        "--latency params --latency-limit 5.0 --latency-limit 5.0"
        in (record["arguments"]["command"])
    )
    within = frame[(frame.latency_ms <= 5) & (frame.params <= 5)]
    better = int((within.accuracy_pct > best["accuracy_pct"]).sum())
    assert record["result"]["ranks"]["accuracy_pct"] == [better + 1, len(within)]


def test_brp_learns_with_the_predictor(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame)
    limit = ("--latency", "latency_ms", "--latency-limit", 6)
    brpnas(
        *("search", "--table", table, *COLUMNS, *limit, "--budget", 16, "--iterations", 2),
        *("--out", "run"),
    )
    assert list(dict.fromkeys(trace("run").origin)) == ["random", "top", "explore", "final"]


def test_tables_for_people(brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]) -> None:
    frame = frame.assign(accuracy_pct=frame["accuracy_pct"].where(frame.index > 4))
    result = brpnas("search", "--table", write(frame), *COLUMNS, *FAST)
    assert "rank by accuracy_pct" in result.stdout
    assert "of 115" in result.stdout
    assert "5 of 120 networks lack a value of accuracy_pct" in result.stderr
    (page,) = Path("runs").glob("search-*/report.html")
    assert f"report: {page}" in result.stderr


def test_a_search_without_an_answer_keeps_what_it_tried(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], tmp_path: Path
) -> None:
    smallest = float(frame["latency_ms"].min())
    limit = ("--latency", "latency_ms", "--latency-limit", smallest)
    asked = ("search", "--table", write(frame), *COLUMNS, *limit, "--strategy", "random")
    said = brpnas(*asked, "--budget", 3, "--out", "run", code=2).stderr
    assert "error: none of 3 networks keeps the limits" in said
    assert (tmp_path / "run" / "report.html").exists()
    assert len(trace("run")) == 3


def test_a_log_gets_lines_in_place_of_a_bar(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brpnas.cli._output._LOG_SECONDS", 0.0)
    said = brpnas("search", "--table", write(frame), *COLUMNS, *FAST).stderr
    assert "networks: 1 of 30\n" in said
    assert "networks: 30 of 30\n" in said


def test_resume_needs_the_same_question(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = write(frame)
    asked = ("search", "--table", table, *COLUMNS, *FAST, "--out", "run")
    first = brpnas.json(*asked)
    assert "holds a run already" in brpnas.error(*asked)
    other = brpnas.error(*asked, "--resume", "--seed", 1)
    assert "is a run folder of another run: seed was 0, now 1" in other
    moved = table.rename(table.with_name("moved.parquet"))
    again = ("search", "--table", moved, *COLUMNS, *FAST, "--out", "run", "--resume")
    with monkeypatch.context() as patch:
        patch.setattr("brpnas.search.search", lambda *_: pytest.fail("searched again"))
        assert brpnas.json(*again) == first
    Path("run/trace.parquet").unlink()
    assert brpnas.json(*again) == first
    assert Path("run/trace.parquet").exists()
    write(frame.assign(accuracy_pct=frame["accuracy_pct"] + 1), "moved.parquet")
    assert "table_sha256 was" in brpnas.error(*again)


BAD = [
    (["--table", "no.parquet"], "no.parquet: no such file"),
    (["--table", "digit201"], "Did you mean 'digits201'?"),
    (
        ["--table", "litert201"],
        "--accuracy is needed: which column of litert201 is to be maximised",
    ),
    (["--table", "litert201"], "? It has: latency_ms, "),
    (["--table", "no.parquet", *COLUMNS], "no.parquet: no such file"),
    (["--table", "digits2O1", *COLUMNS], "unknown embedded table 'digits2O1'"),
    (["--accuracy", "acuracy_pct"], "Did you mean 'accuracy_pct'?"),
    (["--report", "x"], "unknown column of t.parquet 'x'"),
    (["--accuracy", "nothing"], "column 'nothing' has values in 0 of 120 rows"),
    (["--accuracy", "arch"], "unknown column of t.parquet 'arch'"),
    (["--latency", "latency_ms"], "each metric needs its limit"),
    (
        ["--latency", "latency_ms", "--latency-limit", "0.01"],
        "t.parquet: no network has latency_ms of at most 0.01: the smallest is 3.1",
    ),
    (["--latency", "latency_ms", "--latency-limit", "nan"], "must be a number"),
    (["--budget", "121"], "--budget 121 is too large: t.parquet offers 120 networks"),
    (["--strategy", "evolutoin"], "Did you mean 'evolution'? Choices: brp, random"),
    (["--predictor", "gnc"], "Did you mean 'gcn'?"),
    (["--space", "nasbench202"], "Did you mean 'nasbench201'?"),
    (["--resume"], "--resume needs --out"),
    (["--test-on", "x.npz"], "--test-on goes with --train-on"),
    (["--epochs", "3"], "--epochs goes with --train-on"),
    (["--train-on", "x.npz"], "exclude each other"),
    (["--out", "t.parquet"], "cannot write to run folder t.parquet"),
    (["--out", "t.parquet/run"], "cannot write to run folder t.parquet/run"),
    (["--out", "."], "is not empty and holds no run"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    write(frame)
    before = sorted(tmp_path.iterdir())
    usual = ["--table", "t.parquet", "--accuracy", "accuracy_pct", "--strategy", "random"]
    asked = arguments if "--table" in arguments else [*usual, *arguments]
    assert message in brpnas.error("search", "--budget", 10, *asked)
    assert sorted(tmp_path.iterdir()) == before  # a mistake leaves nothing behind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"arch,accuracy_pct\n", "t.csv: the table has no rows"),
        (b"arch,accuracy_pct\n|x~0|+|x~0|x~1|+|x~0|x~1|x~2|,1\n", "row 1, column 'arch': unknown"),
        (b"arch,accuracy_pct\nnonsense,1\n", "row 1, column 'arch': malformed cell 'nonsense'"),
        (b"arch,accuracy_pct\na,1\nb,2,3,4\n", "t.csv: not a readable csv file"),
        (b"arch,accuracy_pct\na,b\n", "column 'accuracy_pct' is not numeric: row 1 holds 'b'"),
    ],
)
def test_bad_tables(brpnas: Any, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    asked = ("search", "--table", "t.csv", "--accuracy", "accuracy_pct", "--budget", 1)
    assert message in brpnas.error(*asked)


def test_truncated_and_foreign_tables(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path]
) -> None:
    table = write(frame, space="fbnet")
    asked = ("search", "--table", table, "--accuracy", "accuracy_pct")
    assert "space 'fbnet', not 'nasbench201'" in brpnas.error(*asked)
    table.write_bytes(table.read_bytes()[:-100])
    assert "not a readable parquet file" in brpnas.error(*asked)
    write(frame.rename(columns={"accuracy_pct": "step"}))
    asked = ("search", "--table", table, "--accuracy", "step")
    assert "'step' is a column of every trace" in brpnas.error(*asked)


def test_same_seed_same_trace_in_two_processes(
    brpnas: Any, frame: pd.DataFrame, write: Callable[..., Path], tmp_path: Path
) -> None:
    asked = ["search", "--table", write(frame), *COLUMNS, "--budget", 12, "--iterations", 2]
    brpnas(*asked, "--out", "here")
    there = subprocess.run(
        [*PROGRAM, *map(str, asked), "--out", "there", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert json.loads(there.stdout)["run"] == "there"
    pd.testing.assert_frame_equal(trace("here"), trace("there"), check_exact=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
    folder = tmp_path_factory.mktemp("images")
    np.savez(folder / "train.npz", x=x[:300], y=digits.target[:300])
    np.savez(folder / "test.npz", x=x[300:500], y=digits.target[300:500])
    return folder


TRAINING = (
    *("--epochs", 2, "--channels", 2, "--crop", 0, "--no-flip", "--jobs", 1),
    *("--strategy", "evolution"),
)


def test_kill_and_resume_a_search_that_trains(brpnas: Any, images: Path, tmp_path: Path) -> None:
    data = ("--train-on", images / "train.npz", "--test-on", images / "test.npz")
    asked = ("search", *data, *TRAINING, "--budget", 12)
    whole = brpnas.json(*asked, "--out", "whole")
    assert list(whole["best"]) == ["arch", "valid_acc_pct", "test_acc_pct"]
    assert len(list(Path("whole/networks").glob("*.safetensors"))) == 12
    command = [*PROGRAM, *map(str, asked), "--out", "killed"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not (tmp_path / "killed" / "trace.parquet").exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
    assert 0 < len(trace("killed")) < 12
    resumed = brpnas.json(*asked, "--out", "killed", "--resume")
    assert resumed["best"] == whole["best"]
    pd.testing.assert_frame_equal(trace("killed"), trace("whole"), check_exact=True)


def test_ctrl_c_draws_what_was_tried_and_says_how_to_go_on(
    brpnas: Any,
    frame: pd.DataFrame,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = write(frame)

    def interrupt(run: Run, _: object) -> None:
        if len(run.steps) == 7:
            raise KeyboardInterrupt
        run.steps.append(_)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", interrupt)
        result = brpnas("search", "--table", table, *COLUMNS, *FAST, "--out", "run", code=130)
    assert result.stderr == (
        "report: run/report.html\n"
        "interrupted after 7 networks; to continue, repeat the command with --out run --resume\n"
    )
    assert len(trace("run")) == 7
    assert "7 networks" in Path("run/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-on", "no.npz"], "no.npz: no such file"),
        (["--accuracy", "accuracy"], "unknown metric 'accuracy'. Did you mean 'valid_acc_pct'?"),
        (["--report", "test_acc_pct"], "unknown metric 'test_acc_pct'"),
        (["--valid-fraction", "0"], "a validation fraction of 0.0 leaves"),
        (["--budget", "5045"], "offers 5,044 networks"),
    ],
)
def test_bad_training_input(brpnas: Any, images: Path, arguments: list[str], message: str) -> None:
    data = [] if "--train-on" in arguments else ["--train-on", images / "train.npz"]
    message = message.removesuffix(". Did you mean 'valid_acc_pct'?")
    assert message in brpnas.error("search", *data, *TRAINING, *arguments)


def test_real_table(brpnas: Any, shared: Path) -> None:
    table = shared / "data" / "nasbench201.parquet"
    columns = ("--accuracy", "cifar100_valid_acc_200ep", "--report", "cifar100_test_acc_200ep")
    result = brpnas.json("search", "--table", table, *columns, *FAST, "--out", "run")
    assert result["best"]["cifar100_test_acc_200ep"] > 60
