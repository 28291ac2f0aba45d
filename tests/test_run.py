from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brpnas import run as run_module
from brpnas.errors import UserError
from brpnas.run import Run, Step

ARGUMENTS: dict[str, Any] = {"budget": 10, "limits": [("latency_ms", 3.5)], "workers": 1}


def step(number: int, error: str | None = None) -> Step:
    value = math.nan if error else number / 3
    return Step(0, "random", f"arch {number}", {"accuracy_pct": value, "latency_ms": 2.0}, error)


def make(folder: Path, rows: int = 3) -> None:
    with Run(folder, ARGUMENTS, seed=7) as run:
        for number in range(rows):
            run.append(step(number))


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return loaded


def test_record_says_how_to_do_it_again(tmp_path: Path) -> None:
    with Run(tmp_path / "new" / "folder", ARGUMENTS, seed=7) as run:
        assert record(run.folder)["finished"] is None
        run.append(step(0))
        run.finish({"best": "arch 0", "latency_ms": math.nan, "deep": [{"x": -math.inf}]})
    found = record(run.folder)
    assert found["arguments"] == {
        "budget": 10,
        "limits": [["latency_ms", 3.5]],
        "workers": 1,
        "seed": 7,
    }
    assert found["seed"] == 7
    assert set(found["versions"]) == {"brpnas", "torch", "numpy", "python"}
    assert found["started"] <= found["finished"]
    assert found["result"] == {"best": "arch 0", "latency_ms": None, "deep": [{"x": None}]}
    assert "git" in found


def test_trace_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    steps = [step(0), step(1, "ValueError: no"), step(2)]
    with Run(tmp_path, ARGUMENTS, seed=7) as run:
        for each in steps:
            run.append(each)
    frame = pd.read_parquet(tmp_path / "trace.parquet")
    assert list(frame) == [
        "step",
        "iteration",
        "origin",
        "arch",
        "expected",
        "accuracy_pct",
        "latency_ms",
        "error",
    ]
    assert frame.error.isna().tolist() == [True, False, True]
    with Run(tmp_path, ARGUMENTS, seed=7, resume=True) as run:
        assert str(run.steps) == str(steps)  # as text, because NaN differs from itself


def test_rows_reach_the_disk_without_another_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_SAVE_SECONDS", 0.02)
    with Run(tmp_path, ARGUMENTS, seed=7) as run:
        run.append(step(0))
        deadline = time.monotonic() + 20
        while not (tmp_path / "trace.parquet").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_failure_to_write_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_module, "_SAVE_SECONDS", 0.02)
    run = Run(tmp_path, ARGUMENTS, seed=7)
    monkeypatch.setattr(run_module, "replace_file", full)
    run.append(step(0))
    time.sleep(0.3)
    with pytest.raises(UserError, match=r"cannot write to run folder .*: No space left"):
        run.append(step(1))
    with pytest.raises(UserError, match="No space left"):
        run.close()
    monkeypatch.undo()
    Run(tmp_path, ARGUMENTS, seed=7, resume=True).close()  # the lock was released


def test_existing_run_needs_resume(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match="holds a run already: resume it or choose another"):
        Run(tmp_path, ARGUMENTS, seed=7)


@pytest.mark.parametrize("resume", [False, True])
def test_foreign_folder_is_left_alone(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        Run(tmp_path, ARGUMENTS, seed=7, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_resuming_what_never_began_begins_it(tmp_path: Path) -> None:
    with Run(tmp_path / "new", ARGUMENTS, seed=7, resume=True) as run:
        assert run.steps == []
    (tmp_path / "new" / "run.json").unlink()  # killed after the lock, before the record
    make(tmp_path / "new")


@pytest.mark.parametrize("left", [[".lock", "run.json.tmp"], ["run.json.tmp"]])
def test_kill_during_the_first_record(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).write_text("{")
    with Run(tmp_path, ARGUMENTS, seed=7, resume=True):
        assert record(tmp_path)["finished"] is None
    assert not (tmp_path / "run.json.tmp").exists()


def test_other_arguments_are_named(tmp_path: Path) -> None:
    make(tmp_path)
    other = {"budget": 20, "limits": [("latency_ms", 3.5)], "workers": 4, "pool": "all"}
    with pytest.raises(UserError, match="run folder of another run") as error:
        Run(tmp_path, other, seed=8, resume=True, free=["workers"])
    assert str(error.value).endswith(
        "budget was 10, now 20; seed was 7, now 8; pool was None, now 'all'"
    )
    Run(tmp_path, {**ARGUMENTS, "workers": 4}, 7, resume=True, free=["workers"]).close()


def test_resumed_run_records_the_session_and_a_finished_one_stays(tmp_path: Path) -> None:
    make(tmp_path)
    with Run(tmp_path, ARGUMENTS, seed=7, resume=True) as run:
        run.finish({"best": 1})
    finished = record(tmp_path)
    assert len(finished["resumed"]) == 1
    assert "versions" in finished["resumed"][0]
    with Run(tmp_path, ARGUMENTS, seed=7, resume=True) as run:
        run.finish({"best": 2})
    assert record(tmp_path) == finished


@pytest.mark.parametrize("name", ["run.json", "trace.parquet"])
@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"\xff\xfe{", b"[]", b"{}", b"[" * 100_000, None]
)
def test_damaged_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    make(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        Run(tmp_path, ARGUMENTS, seed=7, resume=True)
    assert not path.with_name("trace.parquet.tmp").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": [0, 2, 1]}, "steps are not 0, 1, 2"),
        ({"arch": [1, 2, 3]}, "columns are not those of a trace"),
        ({"arch": ["a", None, "c"]}, "column 'arch' has empty cells"),
    ],
)
def test_changed_trace_is_damaged(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    make(tmp_path)
    path = tmp_path / "trace.parquet"
    frame = pd.read_parquet(path, dtype_backend="pyarrow").assign(**change)
    frame["error"] = frame["error"].astype("string[pyarrow]")
    frame.to_parquet(path)
    with pytest.raises(UserError, match="columns are not|" + message):
        Run(tmp_path, ARGUMENTS, seed=7, resume=True)


def test_rests_of_a_killed_write_do_not_matter(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "trace.parquet.tmp").write_bytes(b"half")
    with Run(tmp_path, ARGUMENTS, seed=7, resume=True) as run:
        run.append(step(3))
    assert len(pd.read_parquet(tmp_path / "trace.parquet")) == 4
    assert not (tmp_path / "trace.parquet.tmp").exists()


def test_one_user_at_a_time(tmp_path: Path) -> None:
    with Run(tmp_path, ARGUMENTS, seed=7):
        for resume in (False, True):
            with pytest.raises(UserError, match=r"in use by process \d+"):
                Run(tmp_path, ARGUMENTS, seed=7, resume=resume)
    Run(tmp_path, ARGUMENTS, seed=7, resume=True).close()


def test_impossible_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write to run folder .*file"):
        Run(tmp_path / "file", ARGUMENTS, seed=7)
    with pytest.raises(UserError, match=r"cannot write to run folder .*: Not a directory"):
        Run(tmp_path / "file" / "run", ARGUMENTS, seed=7)
    with pytest.raises(UserError, match="cannot write to run folder"):
        Run("/proc/run", ARGUMENTS, seed=7)
