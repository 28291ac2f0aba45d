from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brpnas.errors import UserError
from brpnas.report import save_scatter, write_report
from brpnas.report.history import read_history
from brpnas.run import Run, Step
from brpnas.testing import SyntheticEvaluator, synthetic_problem

HOSTILE = "<script>alert(1)</script> $\\frac{ [red] 精度\n\"'&"
LIMIT = 5.0


def make_run(
    folder: Path, steps: int = 40, accuracy: str = "acc_pct", finish: bool = True
) -> list[Step]:
    """A run folder with failed networks, as ``brpnas search`` leaves it."""
    pool = synthetic_problem(steps).pool
    found = list(SyntheticEvaluator(failing=0.1).evaluate(pool))
    rows = [
        Step(
            place // 10,
            "random" if place < 10 else "top",
            str(cell),
            {
                accuracy: evaluation.metrics.get("accuracy_pct", np.nan),
                "test_pct": evaluation.metrics.get("accuracy_pct", np.nan) - 2,
                "latency_ms": evaluation.metrics.get("latency_ms", np.nan),
            },
            evaluation.error,
        )
        for place, (cell, evaluation) in enumerate(zip(pool, found, strict=True))
    ]
    arguments: dict[str, Any] = {
        "space": "nasbench201",
        "table": HOSTILE,
        "accuracy": accuracy,
        "report": "test_pct",
        "latency": ["latency_ms"],
        "latency_limit": [LIMIT],
        "budget": steps,
        "command": f"brpnas search --accuracy '{accuracy}'",
    }
    with Run(folder, arguments, seed=2**63 - 1) as run:
        for row in rows:
            run.append(row)
        if finish:
            run.finish({"ranks": {accuracy: [3, 30]}, "wall_s": 1.25})
    return rows


def test_the_trace_of_a_running_search_is_read_while_it_is_replaced(tmp_path: Path) -> None:
    sizes = (3, 200)
    for size in sizes:
        make_run(tmp_path / str(size), size)
    shutil.copytree(tmp_path / "3", tmp_path / "run")
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for size in sizes:
                content = (tmp_path / str(size) / "trace.parquet").read_bytes()
                aside = tmp_path / "aside"
                aside.write_bytes(content)
                aside.replace(tmp_path / "run" / "trace.parquet")

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        lengths = {len(read_history(tmp_path / "run").trace) for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert lengths <= {*sizes}


def test_page_tells_what_was_found(tmp_path: Path) -> None:
    rows = make_run(tmp_path)
    text = write_report(tmp_path).read_text()
    within = [row for row in rows if row.metrics["latency_ms"] <= LIMIT]
    best = max(within, key=lambda row: row.metrics["acc_pct"])
    assert f"<pre>{best.arch}</pre>" in text
    assert f"number {rows.index(best) + 1} of 40" in text
    assert "rank 3 of 30 within the limits" in text
    assert "latency_ms at most 5" in text
    assert "<dd>9,223,372,036,854,775,807</dd>" in text
    assert "brpnas search --accuracy" in text
    top = sorted((row.metrics["acc_pct"] for row in within), reverse=True)[:10]
    numbers = re.findall(r'<td class="number">([\d.]+)</td>', text)
    assert numbers[1::4] == [f"{value:,.4g}" for value in top]


def test_page_is_self_contained_and_names_are_escaped(
    tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    make_run(tmp_path, accuracy=HOSTILE)
    page = read_page(write_report(tmp_path))
    assert "script" not in {tag for tag, _ in page.tags}
    assert len(page.links) == 3
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"href", "onload", "onerror"} & {name for _, a in page.tags for name in a}
    text = (tmp_path / "report.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_made_again_from_the_folder_alone(tmp_path: Path) -> None:
    make_run(tmp_path)
    first = write_report(tmp_path).read_bytes()
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert write_report(tmp_path).read_bytes() == first


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_short_and_unfinished_runs(tmp_path: Path, steps: int) -> None:
    make_run(tmp_path, steps, finish=False)
    assert "not finished" in write_report(tmp_path).read_text()


def test_no_network_within_limits(tmp_path: Path) -> None:
    make_run(tmp_path, finish=False)
    record = json.loads((tmp_path / "run.json").read_text())
    record["arguments"]["latency_limit"] = [0.0]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "No network so far has a value of acc_pct and keeps" in (
        write_report(tmp_path).read_text()
    )


def test_paths_that_are_no_text(tmp_path: Path) -> None:
    make_run(tmp_path, 2)
    record = json.loads((tmp_path / "run.json").read_text())
    record["arguments"]["table"] = "\udcff.parquet"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "\\udcff.parquet" in write_report(tmp_path).read_text()


def test_best_so_far(tmp_path: Path) -> None:
    rows = make_run(tmp_path)
    best = read_history(tmp_path).best_so_far()
    for place in range(len(rows)):
        seen = [row for row in rows[: place + 1] if row.metrics["latency_ms"] <= LIMIT]
        if not seen:
            assert best[place] == -1
        else:
            assert rows[best[place]] is max(seen, key=lambda row: row.metrics["acc_pct"])


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_report(tmp_path)
    make_run(tmp_path)
    for name in ("report.html", "trace.png"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=rf"cannot write .*{name}"):
            write_report(tmp_path)
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_report(tmp_path)


def test_scatter(tmp_path: Path) -> None:
    truth = np.linspace(1, 2, 50)
    save_scatter(tmp_path / "s.png", truth, truth * 1.1, HOSTILE)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
