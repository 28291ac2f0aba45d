"""Long commands, and all that comes of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from zygote import Zygote

from brpnas.datasets import open_table


def _trace(folder: Path) -> Any:
    """All that a search found, but for when."""
    rows = pd.read_parquet(folder / "run" / "trace.parquet")
    record = json.loads((folder / "run" / "run.json").read_text())
    assert record["finished"]
    assert (folder / "run" / "report.html").stat().st_size > 0
    assert list(rows["step"]) == list(range(len(rows)))
    return rows.to_json(), _untimed(record["result"])


def _untimed(result: Any) -> Any:
    if isinstance(result, dict):
        return {name: _untimed(one) for name, one in result.items() if not name.endswith("_s")}
    return [_untimed(one) for one in result] if isinstance(result, list) else result


def _trained(folder: Path) -> Any:
    kept = {path.name: path.read_bytes() for path in (folder / "run" / "networks").iterdir()}
    return _trace(folder), kept


def _front(folder: Path) -> Any:
    recipes = {path.name: path.read_bytes() for path in (folder / "run" / "front").iterdir()}
    return _trace(folder), recipes


def _measured(folder: Path) -> Any:
    with sqlite3.connect(folder / "out.sqlite") as store:
        rounds = store.execute("SELECT key, round FROM rounds ORDER BY 1, 2").fetchall()
    store.close()
    return open_table(folder / "out.parquet").frame.to_json(), rounds


def _built(folder: Path) -> Any:
    kept = {path.name: path.read_bytes() for path in (folder / "work").glob("*.json")}
    return open_table(folder / "out.parquet").frame.to_json(), kept


def _exported(folder: Path) -> Any:
    # The program's archive holds times.
    return {
        path.name: path.read_bytes() if path.suffix in (".json", ".safetensors") else True
        for path in (folder / "out").iterdir()
    }


@dataclass(frozen=True)
class Job:
    """A long command.

    Attributes:
        arguments: of the command, in a folder of its own.
        found: all that came of it, in what runs alike have in common.
        again: what is added to continue it.
        kept: files in which single results are; none of them is written twice.
    """

    arguments: tuple[object, ...]
    found: Callable[[Path], Any]
    again: tuple[str, ...] = ("--resume",)
    kept: str | None = None


_SMALL = ("--channels", 4, "--cells-per-stage", 1, "--input-size", 8)
JOBS = {
    "search, table": Job(
        (
            *(
                "search",
                "--table",
                "t.parquet",
                "--accuracy",
                "accuracy_pct",
                "--strategy",
                "random",
            ),
            *("--latency", "latency_ms", "--latency-limit", 5, "--budget", 60, "--out", "run"),
        ),
        _trace,
    ),
    "search, training": Job(
        (
            *("search", "--train-on", "train.npz", "--test-on", "test.npz", "--epochs", 2),
            *("--channels", 2, "--crop", 0, "--no-flip", "--jobs", 1, "--strategy", "random"),
            *("--budget", 8, "--out", "run"),
        ),
        _trained,
        kept="run/networks/*.json",
    ),
    "search, low rank": Job(
        (
            *("search", "--space", "lowrank", "--cost", "macs", "--images", 64, "--budget", 6),
            *("--strategy", "knapsack", "--keep", 2, "--test", "test.npz", "--out", "run"),
        ),
        _front,
        kept="run/front/*.json",
    ),
    "measure": Job(
        (
            *(
                "measure",
                "--space",
                "nasbench201",
                "--sample",
                3,
                *_SMALL,
                "--device",
                "fpga:zc706",
            ),
            *("--executor", "inline", "--out", "out.parquet"),
        ),
        _measured,
    ),
    "datasets build": Job(
        (
            *("datasets", "build", "digits201", "--cells", 3, "--seeds", 1, "--jobs", 1),
            *("--work", "work", "--out", "out.parquet"),
        ),
        _built,
        again=(),
        kept="work/*.json",
    ),
    "compress": Job(
        (
            *("compress", "--recipe", "recipe.json", "--model", "digits-cnn", "--formats", "pt2"),
            *("--out", "out"),
        ),
        _exported,
        again=(),
    ),
}


def fresh(inputs: Path, folder: Path) -> Path:
    return Path(shutil.copytree(inputs, folder))


def written(folder: Path, pattern: str | None) -> dict[Path, int]:
    return {} if pattern is None else {p: p.stat().st_mtime_ns for p in folder.glob(pattern)}


def end(zygote: Zygote, folder: Path, job: Job) -> None:
    """Repeat the command; one that came to its end already may say that the result is there."""
    if zygote.run(folder, *job.arguments, *job.again):
        said = (folder / "said.txt").read_text()
        whole = job.arguments[0] == "compress" and "--out out is not empty" in said
        assert whole, said
