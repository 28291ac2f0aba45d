from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from brpnas.errors import UserError
from brpnas.report.expected import expected_facts, read_rounds
from brpnas.report.search_history import read_search_history
from brpnas.report.search_page import summarise_search, write_search_report
from brpnas.run import Run, Step
from brpnas.testing import SyntheticEvaluator, synthetic_problem

HOSTILE = "<script>alert(1)</script> $\\frac{ [red] 精度\n\"'&"
LIMIT = 5.0


def make_run(
    folder: Path,
    steps: int = 40,
    accuracy: str = "acc_pct",
    finish: bool = True,
    predicted: bool = False,
) -> list[Step]:
    """A run folder with failed networks, as ``brpnas search`` leaves it."""
    scores = np.random.default_rng(0).normal(size=steps).round(1).tolist()
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
            expected=scores[place] if predicted and place >= 10 else np.nan,
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
        lengths = {len(read_search_history(tmp_path / "run").trace) for _ in range(200)}
    finally:
        stop.set()
        writer.join()
    assert lengths <= {*sizes}


def test_page_tells_what_was_found(tmp_path: Path) -> None:
    rows = make_run(tmp_path)
    text = write_search_report(tmp_path).read_text()
    within = [row for row in rows if row.metrics["latency_ms"] <= LIMIT]
    best = max(within, key=lambda row: row.metrics["acc_pct"])
    assert f"<pre>{best.arch}</pre>" in text.split("<h2>The front</h2>")[0]
    assert f"number {rows.index(best) + 1} of 40" in text
    assert "rank 3 of 30 within the limits" in text
    assert "<dt>Limit of latency_ms</dt><dd>at most 5</dd>" in text
    assert "<dd>9,223,372,036,854,775,807</dd>" in text
    assert "brpnas search --accuracy" in text
    top = sorted((row.metrics["acc_pct"] for row in within), reverse=True)[:10]
    table = text.split("<h2>The best 10</h2>")[1].split("</table>")[0]
    numbers = re.findall(r'<td class="number">([\d.]+)</td>', table)
    assert numbers[::3] == [f"{value:,.4g}" for value in top]


def test_every_network_can_be_opened(tmp_path: Path, read_page: Callable[[Path], Any]) -> None:
    rows = make_run(tmp_path)
    page = read_page(write_search_report(tmp_path))
    templates = [a["id"] for tag, a in page.tags if tag == "template"]
    assert templates == [f"network-{row}" for row in range(40)]
    opened = {a["data-open"] for tag, a in page.tags if tag == "button" and "data-open" in a}
    assert opened == {str(row) for row in range(40)}
    front, course = page.figures[0], page.figures[1]
    for figure in (front, course):
        drawn = {key: text for trace in figure["data"] for key, text in named(trace)}
        finite = [row for row, one in enumerate(rows) if np.isfinite(one.metrics["acc_pct"])]
        assert {*map(str, finite)} <= {*drawn}
        for row in finite:
            shown = drawn[str(row)].replace("</b><br><b>", "")
            assert f"<b>{rows[row].arch}</b><br>number: {row + 1}<br>acc_pct: " in shown
    (line, *_) = front["data"]
    kept = [one for one in rows if np.isfinite(one.metrics["acc_pct"])]
    kept.sort(key=lambda one: (one.metrics["latency_ms"], -one.metrics["acc_pct"]))
    best, unbeaten = -np.inf, []
    for one in kept:
        if one.metrics["acc_pct"] > best:
            best = one.metrics["acc_pct"]
            unbeaten.append((one.metrics["latency_ms"], best))
    assert [*zip(line["x"], line["y"], strict=True)] == unbeaten
    assert len(course["data"][0]["x"]) == len(course["data"][0]["y"]) > 30


def named(trace: dict[str, Any]) -> list[tuple[str, str]]:
    return list(zip(trace.get("customdata", ()), trace.get("hovertext", ()), strict=True))


def test_plots_are_figures_that_plotly_knows(
    tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    make_run(tmp_path)
    for figure in read_page(write_search_report(tmp_path)).figures:
        plain = json.loads(re.sub(r'"var\(--[a-z0-9-]+\)"', '"black"', json.dumps(figure)))
        Figure(plain)  # raises for what plotly does not know


def test_of_very_many_networks_the_best_can_be_opened(
    tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    make_run(tmp_path, 400)
    page = read_page(write_search_report(tmp_path))
    templates = {a["id"] for tag, a in page.tags if tag == "template"}
    assert 300 <= len(templates) < 330
    keys = [key for trace in page.figures[1]["data"][1:] for key in trace["customdata"]]
    assert len(keys) == 400
    assert {f"network-{key}" for key in keys if key is not None} == templates
    assert "of 400 networks, in order: the best, and those of the fronts" in page.text


def test_page_is_self_contained_and_names_are_escaped(
    tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    make_run(tmp_path, accuracy=HOSTILE)
    page = read_page(write_search_report(tmp_path))
    assert page.links == []
    assert not {"href", "onload", "onerror"} & {name for _, a in page.tags for name in a}
    page.check_scripts()
    text = page.path.read_text()
    assert text.count("alert(1)") > 3
    assert "<script>alert" not in text
    for figure in page.figures:  # plotly reads tags in texts
        assert "<script" not in json.dumps(figure)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_what_was_expected(tmp_path: Path, read_page: Callable[[Path], Any]) -> None:
    rows = make_run(tmp_path, predicted=True)
    page = read_page(write_search_report(tmp_path))
    at = next(at for at, row in enumerate(page.rows) if row[0] == "round")
    trace = pd.DataFrame(
        {"round": one.iteration, "expected": one.expected, **one.metrics} for one in rows
    )
    for place, (number, own) in enumerate(trace[trace["round"] > 0].groupby("round")):
        worth = own["acc_pct"].where(own["latency_ms"] <= LIMIT)
        spearman = own["expected"].corr(own["acc_pct"], method="spearman")
        assert page.rows[at + 1 + place] == [
            str(number),
            "10",
            f"{spearman:.2f}",
            f"{worth.max():.4g}",
            str(worth.idxmax() + 1),
        ]
        drawn = page.figures[-1]["data"][place]
        assert drawn["name"] == f"round {number}"
        assert (
            np.round(drawn["x"]).tolist()
            == own["expected"].rank(ascending=False, method="min").tolist()
        )
        assert drawn["y"] == [None if np.isnan(y) else y for y in own["acc_pct"]]
        assert drawn["customdata"] == [str(row) for row in own.index]
    assert page.rows[at + 4][0] != "4"
    told = dict(summarise_search(tmp_path).found)
    known = [float(row[2]) for row in page.rows[at + 1 : at + 4]]
    title = "Rank correlation of expected and measured, median of rounds"
    assert told[title] == pytest.approx(np.median(known), abs=0.01)


@pytest.mark.parametrize("old", [True, False])
def test_where_nothing_was_expected_nothing_is_said_of_it(tmp_path: Path, old: bool) -> None:
    make_run(tmp_path)
    if old:
        path = tmp_path / "trace.parquet"
        pd.read_parquet(path).drop(columns="expected").to_parquet(path)
    assert "What the predictor expected" not in write_search_report(tmp_path).read_text()


def test_correlations_that_say_nothing_are_left_out() -> None:
    expected = [np.nan, 1.0, 2, 3, 1, 2, 3, np.inf, 1, 1, 1, 1, 4, 3, 2, 1]
    trace = pd.DataFrame({"iteration": np.repeat(range(4), 4), "expected": expected})
    accuracy = np.array([9.0, 1, 2, 3, 1, 2, 3, np.nan, 1, 2, 3, 4, 1, 2, 3, 4])
    few, failed, constant, reverse = read_rounds(trace, accuracy, accuracy < 3.5)
    assert [one.correlation for one in (few, failed, constant)] == [None] * 3
    assert reverse.correlation == pytest.approx(-1)
    assert (few.best, failed.best, constant.best, reverse.best) == (3, 6, 10, 14)
    assert few.places.tolist() == [3, 2, 1]
    assert constant.places.tolist() == [1, 1, 1, 1]
    ((_, median),) = expected_facts([few, failed, reverse])
    assert median == pytest.approx(-1)
    assert expected_facts([few]) == []


def test_made_again_from_the_folder_alone(tmp_path: Path) -> None:
    make_run(tmp_path)
    first = write_search_report(tmp_path).read_bytes()
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert write_search_report(tmp_path).read_bytes() == first


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_short_and_unfinished_runs(tmp_path: Path, steps: int) -> None:
    make_run(tmp_path, steps, finish=False)
    assert "not finished" in write_search_report(tmp_path).read_text()


def test_no_network_within_limits(tmp_path: Path) -> None:
    make_run(tmp_path, finish=False)
    record = json.loads((tmp_path / "run.json").read_text())
    record["arguments"]["latency_limit"] = [0.0]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "No network so far has a value of acc_pct and keeps" in (
        write_search_report(tmp_path).read_text()
    )


def test_paths_that_are_no_text(tmp_path: Path) -> None:
    make_run(tmp_path, 2)
    record = json.loads((tmp_path / "run.json").read_text())
    record["arguments"]["table"] = "\udcff.parquet"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "\\udcff.parquet" in write_search_report(tmp_path).read_text()


def test_best_so_far(tmp_path: Path) -> None:
    rows = make_run(tmp_path)
    best = read_search_history(tmp_path).best_so_far()
    for place in range(len(rows)):
        seen = [row for row in rows[: place + 1] if row.metrics["latency_ms"] <= LIMIT]
        if not seen:
            assert best[place] == -1
        else:
            assert rows[best[place]] is max(seen, key=lambda row: row.metrics["acc_pct"])


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_search_report(tmp_path)
    make_run(tmp_path)
    for name in ("report.html", "trace.png"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=rf"cannot write .*{name}"):
            write_search_report(tmp_path)
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_search_report(tmp_path)
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not the run folder of a search"):
        write_search_report(tmp_path)
