"""``brpnas report``."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from brpnas.cli import app

SEARCH = ("search", "--table", "t.parquet", "--accuracy", "accuracy_pct", "--strategy", "random")
LIMITED = (*SEARCH, "--budget", 20, "--latency", "latency_ms", "--latency-limit", 6)
LOWRANK = ("search", "--space", "lowrank", "--cost", "macs", "--strategy", "random")
NETWORK = """
import torch
def small():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), torch.zeros(1, 3, 12, 12)
"""


@pytest.fixture
def table(write: Callable[..., Path], frame: pd.DataFrame) -> Path:
    return write(frame.drop(columns="nothing"))


@pytest.fixture
def design(brpnas: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A design of a small network."""
    Path("report_nets.py").write_text(NETWORK)
    monkeypatch.delitem(sys.modules, "report_nets", raising=False)
    made = ("--model", "report_nets:small", "--platform", "zc706", "--optimiser", "rule")
    brpnas("fpga", "map", *made, "--out", "d.json", "--report", "first.html")
    return Path("d.json")


@pytest.mark.usefixtures("table")
def test_page_of_a_search_is_written_again(brpnas: Any) -> None:
    brpnas(*LIMITED, "--out", "run")
    first = Path("run/report.html").read_bytes()
    Path("run/report.html").unlink()
    assert brpnas("report", "run").stderr == "report: run/report.html\n"
    assert Path("run/report.html").read_bytes() == first
    assert brpnas.json("report", "run", "--out", "p.html") == {"report": "p.html", "runs": ["run"]}
    assert Path("p.html").read_bytes() == first


def test_page_of_a_design_is_written_again(brpnas: Any, design: Path) -> None:
    brpnas("report", design)
    assert Path("d.html").read_text() == Path("first.html").read_text()
    (command,) = re.findall("<pre>(brpnas fpga map .*)</pre>", Path("d.html").read_text())
    made = {"--model", "report_nets:small", "--platform", "zc706", "--optimiser", "rule"}
    assert made <= {*shlex.split(command)}


def test_page_of_a_table(brpnas: Any, table: Path, frame: pd.DataFrame) -> None:
    brpnas("report", table)
    text = Path("t.html").read_text()
    least = frame.sort_values("latency_ms", kind="stable")
    assert "The 10 with the least latency_ms</h2>" in text
    shown = text.split("with the least latency_ms</h2>")[1].split("</table>")[0]
    for arch in least["arch"][:10]:
        assert f"<code>{arch}</code>" in shown
    assert f"<strong>{least['latency_ms'].median():.4g}</strong>median latency_ms" in text


def test_page_of_a_comparison_of_predictors_has_its_calibration(brpnas: Any, table: Path) -> None:
    asked = (
        "--table",
        table,
        "--column",
        "latency_ms",
        "--predictor",
        "gp",
        "--predictor",
        "flops",
    )
    sizes = ("--train", "20,40", "--valid", 5, "--seeds", 2, "--executor", "inline")
    brpnas("compare", *asked, *sizes, "--out", "fits")
    brpnas("report", "fits")
    text = Path("fits/report.html").read_text()
    figures = json.loads(text.split('id="figures">')[1].split("</script>")[0])
    calibration, learning = figures
    drawn = {trace["name"]: trace["y"] for trace in calibration["data"]}
    assert {*drawn} == {"gp", "as promised"}  # flops knows no intervals
    assert drawn["as promised"] == calibration["data"][0]["x"]
    coverage = drawn["gp"]
    medians = json.loads(Path("fits/run.json").read_text())["result"]["medians"]
    best = next(one for one in medians if one["predictor"] == "gp" and one["train"] == 40)
    assert coverage[8] == pytest.approx(100 * best["in_90pct"])
    assert {trace["name"] for trace in learning["data"]} == {"gp", "flops"}
    assert learning["data"][0]["x"] == [20, 40]


def test_several_side_by_side(brpnas: Any, table: Path, design: Path) -> None:
    for seed in (0, 1):
        brpnas(*LIMITED, "--seed", seed, "--out", f"run{seed}")
    brpnas(*LOWRANK, "--images", 64, "--budget", 5, "--keep", 2, "--out", "low")
    runs = ("run0", "run1", "low", table, design)
    assert brpnas("report", *runs).stderr == "report: comparison.html\n"
    text = Path("comparison.html").read_text()
    assert "<h1>5 runs side by side</h1>" in text
    asked = text.split("<h2>What was asked</h2>")[1].split("<h3>")[1]
    differing, same = asked.split("The same in all")
    assert '<tr class="differs"><td>Seed</td><td>0</td><td>1</td></tr>' in differing
    assert differing.count("<tr class") == 1
    assert "<td>Strategy</td><td>random</td><td>random</td>" in same
    for run in ("run0", "run1", "low"):
        command = json.loads(Path(run, "run.json").read_text())["arguments"]["command"]
        assert f"<pre>{command}</pre>" in text
    figures = json.loads(text.split('id="figures">')[1].split("</script>")[0])
    names = [[trace["name"] for trace in figure["data"][1::2]] for figure in figures]
    assert names[:2] == [["run0", "run1"]] * 2
    assert sorted(name for group in names[2:] for name in group) == [
        "d.json",
        "low",
        "low",
        "low",
        "t.parquet",
    ]
    found = pd.read_parquet("run1/trace.parquet")
    best = found[found["latency_ms"] <= 6]["accuracy_pct"].max()
    assert figures[1]["data"][3]["y"][-1] == best


def test_the_same_run_twice(brpnas: Any, table: Path) -> None:
    said = f"error: {table}: given twice; name each run once\n"
    assert brpnas.error("report", table, table) == said
    Path("other").mkdir()
    Path("link.parquet").symlink_to(table.name)
    for spelling in ("other/../t.parquet", "link.parquet", Path("t.parquet").resolve()):
        said = brpnas.error("report", "t.parquet", spelling)
        assert f"{spelling}: given twice, also as t.parquet; name each run once" in said
    assert not Path("comparison.html").exists()


def test_copies_of_a_run_are_named_by_their_folders(brpnas: Any, table: Path) -> None:
    for folder in ("first", "second"):
        Path(folder).mkdir()
        shutil.copy(table, Path(folder, "t.parquet"))
    brpnas("report", "first/t.parquet", "second/t.parquet")
    text = Path("comparison.html").read_text()
    assert "<bdi>first/t.parquet</bdi>" in text
    assert "<bdi>second/t.parquet</bdi>" in text


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (("nothing",), "nothing: no such folder or file; accepted are run folders"),
        (("nothing\n\x1b[31m.json",), "no such folder or file"),
        (("empty",), "empty: not a run folder (run.json: No such file or directory); accepted"),
        (("object",), "object: not a run folder (run.json does not say what was asked); "),
        (("list",), "list: not a run folder (run.json does not say what was asked); "),
        (("words",), "words: not a run folder (run.json does not say what was asked); "),
        (("cut",), "cut: not a run folder (run.json is not JSON: "),
        (("broken",), "broken: not the run folder of a search"),
        (("odd",), "odd: "),
        (("low",), "low: not the run folder of a search with --space lowrank"),
        (("text.txt",), "text.txt: not a run; accepted are"),
        (("text.json",), "text.json: not JSON"),
        (("text.parquet",), "text.parquet: not a readable parquet file"),
        (("words.csv",), "words.csv: no column with numbers to show"),
        (("t.parquet", "empty"), "empty: not a run folder"),
        (("t.parquet", "--out", "t.parquet"), "--out t.parquet: is one of the runs"),
        (("t.parquet", "--out", "t.sqlite"), "--out t.sqlite: accepted is the name of a file that"),
        (("t.parquet", "--out", "."), "--out .: accepted is the name of a file that"),
        (("t.parquet", "--out", "no/page.html"), "cannot write no/page.html"),
        (("t.parquet", "--out", "empty"), "--out empty: accepted is the name of a file that"),
    ],
)
def test_what_is_no_run_is_one_line(
    brpnas: Any, table: Path, runs: tuple[str, ...], said: str
) -> None:
    Path("empty").mkdir()
    for name, arguments in (
        ("broken", {"space": "nasbench201"}),
        ("low", {"space": "lowrank"}),
        ("odd", {"columns": ["x"], "predictors": 5}),
    ):
        Path(name).mkdir()
        Path(name, "run.json").write_text(json.dumps({"arguments": arguments}))
    for name, content in (
        ("object", "{}"),
        ("list", "[]"),
        ("words", '{"arguments": "text"}'),
        ("cut", '{"argu'),
    ):
        Path(name).mkdir()
        Path(name, "run.json").write_text(content)
    for name in ("text.txt", "text.json", "text.parquet"):
        Path(name).write_text("text")
    Path("words.csv").write_text("arch,word\na,b\n")
    before = table.read_bytes()
    assert said in brpnas.error("report", *runs)
    assert table.read_bytes() == before
    assert not list(Path().rglob("*.html"))


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("name", ["started", "versions", "resumed", "result"])
def test_records_with_values_of_other_types_never_end_in_a_traceback(
    brpnas: Any, name: str
) -> None:
    brpnas(*SEARCH, "--budget", 3, "--out", "run")
    record = json.loads(Path("run/run.json").read_text())
    codes = []
    for value in (record[name], 5, "text", ["list"], {"ranks": []}, {"wall_s": "long"}):
        Path("run/run.json").write_text(json.dumps({**record, name: value}))
        done = CliRunner().invoke(app, ["report", "run"])
        codes.append(done.exit_code)
        assert done.exit_code == 0 or done.stderr.startswith("error: run: ")
    assert codes[0] == 0
    assert 2 in codes
