from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotly.graph_objects import Figure

from brpnas.errors import UserError
from brpnas.report.lowrank_history import read_lowrank_history
from brpnas.report.lowrank_page import write_lowrank_report
from brpnas.run import Run, Step

HOSTILE = "<script>alert(1)</script> $\\frac{ [red] 精度\n\"'&"
DENSE = {"macs": 2378368.0, "params": 93546.0}
TRACE = [  # of a search for versions of digits-cnn
    ("knapsack", "features.9=output:g1:r31", -0.00012, 99.902, 2105984.0, 76586.0),
    ("knapsack", "features.3=output:g1:r22 features.9=output:g1:r31", -8e-4, 99.6, 1.78e6, 7e4),
    (
        *("knapsack", "features.3=output:g1:r16 features.6=input:g16:r13 features.9=separable:r12"),
        *(-0.0078, 98.44, 1048192.0, 36714.0),
    ),
    ("random", "features.0=separable:r2 features.6=input:g32:r12", -13.8, 9.375, 1.05e6, 65296.0),
    ("random", "dense", 0.0, 100.0, 2378368.0, 93546.0),
    ("top", "features.6=input:g64:r6 linear=plain:r8", -0.0213, 97.4, 904832.0, 31402.0),
    ("top", "features.0=input:g1:r2", np.nan, np.nan, np.nan, np.nan),
]
FRONT = (0, 2, 5)
PageOf = Callable[[Path], Any]


def make_run(
    folder: Path,
    *,
    finish: bool = True,
    accuracy: bool = True,
    objective: str = "fidelity",
    expects: bool = False,
    **changed: Any,
) -> None:
    """A run folder as ``brpnas search --space lowrank`` leaves it."""
    arguments: dict[str, Any] = {
        "space": "lowrank",
        "model": "digits-cnn",
        "weights": None,
        "cost": "macs",
        "strategy": "brp",
        "budget": len(TRACE),
        "target": None,
        "repair": "none",
        "labels": "none",
        "device": None,
        "tested": accuracy,
        "model_sha256": "ab" * 32,
        "command": "brpnas search --space lowrank --cost macs",
        **changed,
    }
    latency = 1e-6 if arguments["cost"] == "latency_ms" else None
    front: list[dict[str, Any]] = []
    with Run(folder, arguments, seed=7) as run:
        for place, (origin, arch, worth, agreement, macs, params) in enumerate(TRACE):
            known = {"agreement_pct": agreement, "macs": macs, "params": params}
            if latency:
                known["latency_ms"] = latency * macs
            error = "it broke" if np.isnan(worth) else None
            # Of the networks of the second round, half as much as was measured.
            expected = worth / 2 if place // 3 == 1 and expects else np.nan
            metrics = {objective: worth, **known}
            run.append(Step(place // 3, origin, arch, metrics, error, expected))
            if place in FRONT:
                known["accuracy_pct"] = agreement - 4 if accuracy else np.nan
                recipe = f"{folder}/front/{len(front):02d}.json"
                front.append({**known, "fidelity": worth, "step": place, "recipe": recipe})
        if finish:
            whole = {"agreement_pct": 100.0, "accuracy_pct": 96.0 if accuracy else np.nan, **DENSE}
            if latency:
                whole["latency_ms"] = latency * DENSE["macs"]
            front = front[:1] if arguments["target"] else front
            result = {"evaluations": len(TRACE), "wall_s": 1.25}
            run.finish({"baseline": whole, "front": front, **result})


@pytest.fixture
def page_of(read_page: Callable[[Path], Any]) -> PageOf:
    return lambda folder: read_page(write_lowrank_report(folder))


def test_page_tells_of_the_front(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path)
    page = page_of(tmp_path)
    rows = {name: cells for name, *cells in page.rows[:5]}
    assert rows["as it is"] == ["2,378,368", "93,546", "96", "100", ""]
    assert rows["1"][:4] == ["1,048,192 -55.9%", "36,714 -60.8%", "94.44 -1.56", "98.44"]
    assert [row[0] for row in page.rows[:5]] == ["version", "as it is", "0", "1", "2"]
    # The others of the front, by their numbers; the first is the network as it is.
    assert [row[0] for row in page.rows[5:8]] == ["number", "5", "2"]
    assert page.rows[7][1:] == ["1,780,000 -25.2%", "99.6", TRACE[1][1]]
    assert [row[0] for row in page.rows[9:]] == [str(number + 1) for number in range(len(TRACE))]
    assert "Version 1, the middle one of 3. 7 versions were evaluated, in 1.25 s. " in page.text
    assert "no other one beats, has 5 of them; kept: 3." in page.text
    assert "1 of the evaluated versions failed; the first: it broke" in page.text
    assert "accuracy on test images" in page.text
    assert "brpnas search --space lowrank --cost macs" in page.text
    assert "ab" * 32 in page.text
    for name in ("front.png", "versions.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_points_lead_to_their_versions(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path)
    page = page_of(tmp_path)
    front, versions = page.figures
    _, kept, whole = front["data"]
    assert kept["customdata"] == [str(step) for step in FRONT]
    assert kept["x"] == pytest.approx([100 * TRACE[step][4] / DENSE["macs"] for step in FRONT])
    assert kept["y"] == pytest.approx([TRACE[step][3] - 4 for step in FRONT])
    assert (whole["x"], whole["y"], whole["customdata"]) == ([100], [96], [None])
    said = kept["hovertext"][1]
    assert said.startswith("<b>Version 1: features.3=output:g1:r16")
    assert f"<br>recipe: {tmp_path}/front/01.json"[:40] in said
    tried = [key for trace in versions["data"][1:] for key in trace["customdata"]]
    templates = [a["id"] for tag, a in page.tags if tag == "template"]
    assert templates == [f"network-{step}" for step in range(len(TRACE))]
    assert sorted(tried) == [name.removeprefix("network-") for name in templates]
    buttons = [a["data-open"] for tag, a in page.tags if tag == "button" and "data-open" in a]
    assert buttons[:3] == [str(step) for step in FRONT]
    assert {*buttons} == {*tried}


def test_plots_are_figures_that_plotly_knows(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, target=0.9)
    for figure in page_of(tmp_path).figures:
        Figure(json.loads(re.sub(r'"var\(--[a-z0-9-]+\)"', '"black"', json.dumps(figure))))


def test_points_far_below_do_not_squeeze_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_of: PageOf
) -> None:
    monkeypatch.setattr(f"{__name__}.FRONT", (0, 2, 3))
    make_run(tmp_path)
    page = page_of(tmp_path)
    assert page.figures[0]["layout"]["yaxis"]["range"] == [96 - 25, 96 + 2.5]
    assert "1 lie below this picture (double-click: all)" in page.text


def test_layer_by_layer(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = write_lowrank_report(tmp_path).read_text(encoding="utf-8")
    shown = text.split("Layer by layer: version 1</h2>")[1].split("</ul>")[0]
    assert re.findall(r"<li><bdi>(.*?)</bdi><(?:code|span[^>]*)>(.*?)<", shown) == [
        ("features.0", "as it is"),
        ("features.3", "output:g1:r16"),
        ("features.6", "input:g16:r13"),
        ("features.9", "separable:r12"),
        ("linear", "as it is"),
    ]
    opened = text.split('<template id="network-5">')[1].split("</template>")[0]
    assert re.findall(r"<li><bdi>(.*?)</bdi><code>(.*?)<", opened) == [
        ("features.6", "input:g64:r6"),
        ("linear", "plain:r8"),
    ]
    assert f"brpnas compress --recipe {tmp_path}/front/02.json --model digits-cnn" in opened


def test_losses_are_drawn_against_what_was_expected(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path)
    assert "What the predictor expected" not in page_of(tmp_path).text
    make_run(tmp_path / "new", expects=True)
    page = page_of(tmp_path / "new")
    at = next(at for at, row in enumerate(page.rows) if row[0] == "round")
    assert page.rows[at + 1] == ["1", "3", "", "1e-06", "5"]  # three are too few to correlate
    line, drawn = page.figures[-1]["data"]
    assert drawn["x"] == pytest.approx([6.9, 1e-6, 0.01065])  # the least is what rounding is
    assert drawn["y"] == pytest.approx([13.8, 1e-6, 0.0213])
    assert drawn["customdata"] == ["3", "4", "5"]
    assert line["x"] == line["y"] == pytest.approx([1e-6, 13.8])
    assert "expected loss: 0.01065<br>loss: 0.0213" in drawn["hovertext"][2]


def test_layers_are_in_the_order_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = ["stem=x b.10=x", "b.2=x a=x", "b.9=x", "stem=x b.2=x"]
    rows = [("random", arch, *TRACE[0][2:]) for arch in archs]
    monkeypatch.setattr(f"{__name__}.TRACE", rows)
    make_run(tmp_path, finish=False)
    # By name where no version tells.
    assert read_lowrank_history(tmp_path).layers == ("b.9", "stem", "b.2", "a", "b.10")


def test_how_to_take_it_out(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, model="resnet20-cifar", weights="my weights.safetensors")
    shown = page_of(tmp_path).text.split("How to take one out")[1].split("How it went")[0]
    (command,) = re.findall(r"brpnas compress.*", shown)
    recipe = f"{tmp_path}/front/01.json"
    assert shlex.split(command)[2:] == [
        *("--recipe", recipe, "--model", "resnet20-cifar"),
        *("--weights", "my weights.safetensors", "--out", "compressed"),
    ]


def test_with_a_target_the_answer_is_shown(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, target=0.9, cost="latency_ms", device="local")
    page = page_of(tmp_path)
    assert "The best version found within the target" in page.text
    rows = {name: cells for name, *cells in page.rows}
    assert rows["0"][2] == "2.106 -11.5%"
    assert "2.378 → 2.106 ms" in page.text


def test_without_test_images_agreement_is_shown(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, accuracy=False)
    page = page_of(tmp_path)
    assert "The front: agreement with the original" in page.text
    assert "accuracy" not in page.text.split("What was asked")[0]
    assert page.rows[0] == ["version", "MACs", "parameters", "agreement, %", "recipe"]


def test_labels(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, objective="log_likelihood", tested=False, labels="calibration")
    assert read_lowrank_history(tmp_path).objective == "log_likelihood"
    assert "accuracy on calibration images" in page_of(tmp_path).text


def test_unfinished_run_shows_its_trace(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, finish=False)
    page = page_of(tmp_path)
    assert "not finished" in page.text
    assert f"--cost macs --out {tmp_path} --resume" in page.text
    (figure,) = page.figures
    assert figure["layout"]["xaxis"]["title"]["text"] == "multiply-accumulates"
    numbers = [row[0] for row in page.rows[1:6]]
    assert numbers == ["5", "1", "2", "3", "6"]  # 4 is beaten, 7 failed
    assert page.rows[6][0] == "number"
    assert not (tmp_path / "front.png").exists()


def test_nothing_that_works_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_of: PageOf
) -> None:
    monkeypatch.setattr(f"{__name__}.TRACE", TRACE[-1:])
    make_run(tmp_path, finish=False)
    assert "None of 1 versions so far has been found to work" in page_of(tmp_path).text


def test_page_is_self_contained_and_names_are_escaped(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, model=HOSTILE, device=HOSTILE, cost="latency_ms", command=HOSTILE)
    page = page_of(tmp_path)
    assert page.links == []
    page.check_scripts()
    for figure in page.figures:
        assert "<script" not in json.dumps(figure)
    text = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_made_again_from_the_folder_alone(tmp_path: Path) -> None:
    make_run(tmp_path)
    first = write_lowrank_report(tmp_path).read_bytes()
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert write_lowrank_report(tmp_path).read_bytes() == first


def test_unbeaten(tmp_path: Path) -> None:
    make_run(tmp_path)
    history = read_lowrank_history(tmp_path)
    costs, worths = history.values("macs"), history.values("fidelity")
    rows = history.unbeaten()
    assert (np.diff(costs[rows]) < 0).all()
    for row in np.flatnonzero(np.isfinite(worths)):
        beaten = ((costs <= costs[row]) & (worths >= worths[row])
                  & ((costs < costs[row]) | (worths > worths[row]))).any()  # fmt: skip
        assert (row in rows) != beaten


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("arguments",), []),
        (("arguments", "cost"), "watts"),
        (("result", "baseline"), None),
        (("result", "baseline", "macs"), 0),
        (("result", "front"), []),
        (("result", "front", 0, "step"), 99),
        (("result", "front", 0, "macs"), "few"),
    ],
)
def test_damaged_records(
    tmp_path: Path,
    where: tuple[str | int, ...],
    value: Any,
) -> None:
    make_run(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    inner = record
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="not the run folder of a search with --space lowrank"):
        write_lowrank_report(tmp_path)


@pytest.mark.parametrize("archs", [["features.0"], ["a=plain:r1 b=plain:r1", "b=x a=x"]])
def test_damaged_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archs: list[str]) -> None:
    rows = [("random", arch, *TRACE[0][2:]) for arch in archs]
    monkeypatch.setattr(f"{__name__}.TRACE", rows)
    make_run(tmp_path, finish=False)
    with pytest.raises(UserError, match="not the run folder of a search with --space lowrank"):
        write_lowrank_report(tmp_path)


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_lowrank_report(tmp_path)
    make_run(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        write_lowrank_report(tmp_path)
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not the run folder of a search with --space lowrank"):
        write_lowrank_report(tmp_path)
