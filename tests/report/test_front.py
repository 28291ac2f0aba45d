from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from brpnas.errors import UserError
from brpnas.report import write_front_report
from brpnas.report.canvas import LOOKS
from brpnas.report.front_history import read_front_history
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
            run.append(Step(place // 3, origin, arch, {objective: worth, **known}, error))
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
    return lambda folder: read_page(write_front_report(folder))


def test_page_tells_of_the_front(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path)
    page = page_of(tmp_path)
    rows = {name: cells for name, *cells in page.rows}
    assert rows["as it is"] == ["2,378,368", "93,546", "96", "100", ""]
    assert rows["1"][:4] == ["1,048,192 -55.9%", "36,714 -60.8%", "94.44 -1.56", "98.44"]
    assert [row[0] for row in page.rows[:5]] == ["version", "as it is", "0", "1", "2"]
    # The others of the front, by their numbers; the first is the network as it is.
    assert [row[0] for row in page.rows[5:]] == ["number", "5", "2"]
    assert page.rows[-1][1:] == ["1,780,000 -25.2%", "99.6", TRACE[1][1]]
    assert "Version 1, the middle one of 3. 7 versions were evaluated, in 1.25 s. " in page.text
    assert "no other one beats, has 5 of them; kept: 3." in page.text
    assert "1 of the evaluated versions failed; the first: it broke" in page.text
    assert "accuracy on test images" in page.text
    assert "brpnas search --space lowrank --cost macs" in page.text
    assert "ab" * 32 in page.text
    for name in ("front.png", "versions.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def spots_of(page: Any) -> list[dict[str, str]]:
    return [attributes for tag, attributes in page.tags if tag == "a" and "title" in attributes]


def test_points_of_the_front_lead_to_their_versions(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path)
    spots = spots_of(page_of(tmp_path))
    assert [spot["href"] for spot in spots] == [f"#version-{number}" for number in (0, 1, 2)] * 2
    said = "55.9% multiply-accumulates, 98.44% agreement, evaluated as number 3"
    for spot in (spots[1], spots[4]):
        assert spot["title"].startswith("Version 1: ")
        assert spot["title"].endswith(f"{said}: {tmp_path}/front/01.json")
    picture = imread(tmp_path / "front.png")
    for spot in spots[:3]:
        left, top = (float(share) / 100 for share in re.findall(r"[\d.]+", spot["style"]))
        pixel = picture[int(top * picture.shape[0]), int(left * picture.shape[1])]
        assert pixel[:3] == pytest.approx(to_rgb(LOOKS[0][0]), abs=0.01)


def test_points_below_the_picture_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_of: PageOf
) -> None:
    monkeypatch.setattr(f"{__name__}.FRONT", (0, 2, 3))
    make_run(tmp_path)
    spots = spots_of(page_of(tmp_path))
    assert [spot["href"][-1] for spot in spots] == ["0", "1", "0", "1", "2"]


def test_layer_by_layer(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = write_front_report(tmp_path).read_text(encoding="utf-8")
    details = re.findall(r"<details( open)?>(<summary>Version.*?)</details>", text, re.DOTALL)
    assert [opened for opened, _ in details] == ["", " open", ""]
    rows = re.findall(r"<li><bdi>(.*?)</bdi><(?:code|span[^>]*)>(.*?)<", details[1][1])
    assert rows == [
        ("features.0", "as it is"),
        ("features.3", "output:g1:r16"),
        ("features.6", "input:g16:r13"),
        ("features.9", "separable:r12"),
        ("linear", "as it is"),
    ]
    assert "1 layer replaced" in details[0][1]
    assert "2 layers replaced" in details[2][1]


def test_layers_are_in_the_order_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = ["stem=x b.10=x", "b.2=x a=x", "b.9=x", "stem=x b.2=x"]
    rows = [("random", arch, *TRACE[0][2:]) for arch in archs]
    monkeypatch.setattr(f"{__name__}.TRACE", rows)
    make_run(tmp_path, finish=False)
    # By name where no version tells.
    assert read_front_history(tmp_path).layers == ("b.9", "stem", "b.2", "a", "b.10")


def test_how_to_take_it_out(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, model="resnet20-cifar", weights="my weights.safetensors")
    (command,) = re.findall(r"brpnas compress.*", page_of(tmp_path).text)
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
    assert read_front_history(tmp_path).objective == "log_likelihood"
    assert "accuracy on calibration images" in page_of(tmp_path).text


def test_unfinished_run_shows_its_trace(tmp_path: Path, page_of: PageOf) -> None:
    make_run(tmp_path, finish=False)
    page = page_of(tmp_path)
    assert "not finished" in page.text
    assert f"--cost macs --out {tmp_path} --resume" in page.text
    numbers = re.findall(r"Number (\d): [\d,]+ multiply-accumulates, [\d.]+% agr", page.text)
    assert numbers == ["5", "1", "2", "3", "6"]  # 4 is beaten, 7 failed
    assert [spot["title"].split(":")[0][-1] for spot in spots_of(page)] == numbers
    assert page.rows == []
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
    assert "script" not in {tag for tag, _ in page.tags}
    places = {f"#version-{number}" for number in range(3)}
    assert set(page.links) >= places
    pictures = [link for link in page.links if link not in places]
    assert len(pictures) == 2
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    text = (tmp_path / "report.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_made_again_from_the_folder_alone(tmp_path: Path) -> None:
    make_run(tmp_path)
    first = write_front_report(tmp_path).read_bytes()
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert write_front_report(tmp_path).read_bytes() == first


def test_unbeaten(tmp_path: Path) -> None:
    make_run(tmp_path)
    history = read_front_history(tmp_path)
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
        write_front_report(tmp_path)


@pytest.mark.parametrize("archs", [["features.0"], ["a=plain:r1 b=plain:r1", "b=x a=x"]])
def test_damaged_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archs: list[str]) -> None:
    rows = [("random", arch, *TRACE[0][2:]) for arch in archs]
    monkeypatch.setattr(f"{__name__}.TRACE", rows)
    make_run(tmp_path, finish=False)
    with pytest.raises(UserError, match="not the run folder of a search with --space lowrank"):
        write_front_report(tmp_path)


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        write_front_report(tmp_path)
    make_run(tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        write_front_report(tmp_path)
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not the run folder of a search with --space lowrank"):
        write_front_report(tmp_path)
