"""What only a browser tells of the pages; skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from brpnas.cli import app
from brpnas.devices.fpga import network_of, read_platform
from brpnas.devices.fpga.export import describe_design
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.report import write_reports
from brpnas.run import Run, Step
from brpnas.testing import SyntheticEvaluator, synthetic_problem

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> <a href='javascript:alert(3)'>"
LONG = "network_" + "x" * 400
POINT = """(() => {{
    const plot = document.querySelectorAll('.plot')[{}];
    plot.scrollIntoView({{block: 'center'}});
    const box = plot.querySelectorAll('.point')[{}].getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}})()"""
OPEN = "document.getElementById('network').open"
SHOWN = "document.querySelector('#network pre').textContent"


def search(folder: Path, seed: int = 0, title: str = HOSTILE) -> list[Step]:
    """A finished search with a limit."""
    pool = synthetic_problem(30).pool
    order = np.random.default_rng(seed).permutation(len(pool))
    found = list(SyntheticEvaluator().evaluate([pool[at] for at in order]))
    arguments: dict[str, Any] = {
        "space": "nasbench201",
        "table": title,
        "accuracy": "accuracy_pct",
        "report": None,
        "latency": ["latency_ms"],
        "latency_limit": [8.0],
        "command": f"brpnas search --seed {seed}",
    }
    steps = [
        Step(
            place // 10,
            "random" if place < 10 else "top",
            str(pool[at]),
            dict(one.metrics),
            expected=np.nan if place < 10 else -float(place),
        )
        for place, (at, one) in enumerate(zip(order.tolist(), found, strict=True))
    ]
    with Run(folder, arguments, seed) as run:
        for step in steps:
            run.append(step)
        run.finish({"ranks": {}, "wall_s": 1.0})
    return steps


def lowrank(folder: Path, model: str = LONG) -> None:
    """A finished search for low-rank versions."""
    arguments = {"space": "lowrank", "model": model, "cost": "macs", "command": "brpnas search"}
    arguments |= dict.fromkeys(("target", "repair", "device"))
    archs = [f"{HOSTILE.replace(' ', '')}=plain:r{rank} {LONG}=plain:r{rank}" for rank in (9, 5, 2)]
    figures = [{"agreement_pct": 100.0 - 3 * at, "macs": 900.0 - 200 * at} for at in range(3)]
    with Run(folder, arguments, 0) as run:
        for at, (arch, known) in enumerate(zip(archs, figures, strict=True)):
            metrics = {"fidelity": -0.01 * 10**at, **known}
            run.append(Step(0, "top", arch, metrics, expected=-0.02 * 10**at))
        front = [{**one, "step": at, "recipe": f"{at}.json"} for at, one in enumerate(figures)]
        baseline = {"agreement_pct": 100.0, "macs": 1000.0}
        run.finish({"baseline": baseline, "front": front, "wall_s": 1.0})


def fits(folder: Path, table: Path) -> Path:
    """A comparison of predictors."""
    asked = ("--table", table, "--column", "params_m", "--predictor", "flops", "--predictor", "gp")
    sizes = ("--train", "10,20", "--valid", 0, "--seeds", 1, "--executor", "inline")
    arguments = ["compare", *map(str, (*asked, *sizes)), "--out", str(folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return folder


def design(path: Path) -> Path:
    """An FPGA design of three layers, each in a part of its own."""
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3), torch.nn.Conv2d(8, 64, 1)
    network = network_of(torch.nn.Sequential(*layers), torch.zeros(1, 3, 12, 12), HOSTILE)
    segments = [Segment(Problem(network, read_platform("zc706")), at, at + 1) for at in range(3)]
    parts = tuple(Part(one, (0,)) for one in segments)
    command = "brpnas fpga map --platform zc706"
    mapped = Design(segments[0].problem, parts, command=command)
    path.write_text(json.dumps(describe_design(mapped)))
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    search(folder / "one")
    search(folder / "other", 1, "t")
    lowrank(folder / "low")
    runs = [folder / "one", folder / "other", folder / "low"]
    table = Path(__file__).parents[2] / "datasets" / "embedded" / "digits201.parquet"
    return {
        "search": write_reports(runs[:1]),
        "lowrank": write_reports(runs[2:]),
        "table": write_reports([table], folder / "table.html"),
        "comparison": write_reports(runs, folder / "comparison.html"),
        "fits": write_reports([fits(folder / "fits", table)]),
        "design": write_reports([design(folder / "design.json")]),
    }


KINDS = ("search", "lowrank", "table", "comparison", "design")  # that open something
ALL = (*KINDS, "fits")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("kind", ALL)
def test_pages_fit_are_readable_and_complain_of_nothing(
    tab: Any, pages: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    tab.open(pages[kind], width, dark=dark)
    for details in (False, True):
        if details:
            tab.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
        assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run("document.querySelectorAll('.plot .main-svg').length") >= 1
    assert tab.run("document.querySelectorAll('.plot .point').length") >= 3
    for text in ("body", ".soft", "dt", "td", ".plot .xtick text", ".plot .legendtext"):
        for contrast in contrasts(tab, text):
            assert contrast >= 4.5, text  # WCAG 2.1, 1.4.3
    drawn = ".plot .point, .plot .js-line"
    for contrast in contrasts(tab, drawn, least=1):
        assert contrast >= 3  # 1.4.11
    assert tab.complaints == []


def contrasts(tab: Any, elements: str, least: int = 0) -> list[float]:
    """How much the colours of elements differ from the page's background, by WCAG 2.1."""
    found: list[float] = tab.run(
        """(() => {
            const light = (colour) => {
                const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((one) => {
                    const share = one / 255;
                    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const back = light(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll(ELEMENTS)].slice(0, 60).map((one) => {
                const style = getComputedStyle(one);
                const plotted = one instanceof SVGElement;
                const drawn = one.tagName === "path" ? style.stroke : style.fill;
                const own = light(plotted ? drawn : style.color);
                return Math.max(own, back) / Math.min(own, back);
            });
        })()""".replace("ELEMENTS", json.dumps(elements))
    )
    assert len(found) >= least
    return found


def test_pointing_names_and_clicking_opens_the_network(tab: Any, pages: dict[str, Path]) -> None:
    tab.open(pages["search"])
    place = tab.run(POINT.format(0, 2))
    tab.point_at(*place)
    tab.wait("document.querySelector('.hoverlayer text')")
    said = tab.run("document.querySelector('.hoverlayer').textContent")
    assert not tab.run(OPEN)
    tab.click(*place)
    tab.wait(OPEN)
    shown = tab.run(SHOWN)
    assert said.startswith(f"{shown}number: ")
    assert tab.run("document.querySelectorAll('#network svg .node').length") == 8
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")
    assert tab.complaints == []


@pytest.mark.parametrize("kind", KINDS)
def test_keyboard_reaches_and_opens_networks(tab: Any, pages: dict[str, Path], kind: str) -> None:
    tab.open(pages[kind], 360)
    reached = []
    for _ in range(60):
        tab.press("Tab", 9)
        reached.append(tab.run("document.activeElement.outerHTML.split('>')[0]"))
        outline = tab.run("getComputedStyle(document.activeElement).outlineStyle")
        assert "<body" in reached[-1] or outline != "none"
        if "data-open" in reached[-1] or "<body" in reached[-1]:
            break
        if "<summary" in reached[-1]:
            tab.press("Enter", 13)
    tab.press("Enter", 13)
    assert "data-open" in reached[-1]
    tab.wait(OPEN)
    assert tab.run(SHOWN)
    assert tab.run("document.getElementById('network').contains(document.activeElement)")
    assert tab.run("document.documentElement.scrollWidth") <= 360
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")
    assert "data-open" in tab.run("document.activeElement.outerHTML")  # back where it was


@pytest.mark.parametrize("kind", ALL)
def test_every_wide_table_is_reached_and_scrolled_by_keys(
    tab: Any, pages: dict[str, Path], kind: str
) -> None:
    tab.open(pages[kind], 360)
    tab.run("document.querySelectorAll('details').forEach((one) => one.open = true)")
    assert tab.run("document.querySelectorAll('.scroll').length") >= 1
    hidden = """[...document.querySelectorAll('.scroll')].filter((one) =>
        one.scrollWidth > one.clientWidth && !one.matches('[tabindex="0"][role][aria-label]')
        && !one.querySelector('button, a')).length"""
    assert tab.run(hidden) == 0


def test_arrow_keys_scroll_the_layers_of_a_design(tab: Any, pages: dict[str, Path]) -> None:
    tab.open(pages["design"], 360)
    for _ in range(20):
        tab.press("Tab", 9)
        if tab.run("document.activeElement.ariaLabel") == "Layers of part 1":
            break
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    tab.press("ArrowRight", 39)
    tab.wait("document.activeElement.scrollLeft > 0")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_points_and_rows_of_a_design(
    tab: Any, pages: dict[str, Path], width: int, dark: bool
) -> None:
    tab.open(pages["design"], width, dark=dark)
    place = tab.run(POINT.format(0, 1))
    tab.point_at(*place)
    tab.wait("document.querySelector('.hoverlayer text')")
    said = tab.run("document.querySelector('.hoverlayer').textContent")
    assert said.startswith("Part 2operations per byte: ")
    tab.click(*place)
    tab.wait(OPEN)
    assert tab.run("document.querySelector('#network h2').textContent") == "Part 2 of 3"
    assert ": in 1, out 1, fine 1" in tab.run(SHOWN)
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")

    row = "document.querySelectorAll('.pipeline button')[2]"
    tab.run(f"{row}.scrollIntoView({{block: 'center'}})")
    shown = "[...document.querySelectorAll('.tip')].filter((one) => one.offsetHeight)"
    assert tab.run(f"{shown}.length") == 0
    box = tab.run(f"(({{x, y}}) => [x + 5, y + 5])({row}.getBoundingClientRect())")
    tab.point_at(*box)
    tab.wait(f"{shown}.length === 1")
    assert "100% of the interval, bound by multipliers" in tab.run(f"{shown}[0].textContent")
    assert tab.run("document.documentElement.scrollWidth") <= width
    tab.click(*box)
    tab.wait(OPEN)
    assert '"coarse_in": 1' in tab.run(SHOWN)
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")
    assert tab.complaints == []


def test_focus_of_a_row_says_what_pointing_does(tab: Any, pages: dict[str, Path]) -> None:
    tab.open(pages["design"], 360)
    tab.point_at(1, 1)
    tip = "getComputedStyle(document.activeElement.parentElement.querySelector('.tip')).display"
    for _ in range(20):
        tab.press("Tab", 9)
        if tab.run("document.activeElement.closest('.pipeline') !== null"):
            break
    assert tab.run(tip) == "block"
    tab.press("Enter", 13)
    tab.wait(OPEN)
    assert '"coarse_in": 1' in tab.run(SHOWN)
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")


def test_a_design_among_others_opens_its_layers(
    tab: Any, tmp_path: Path, pages: dict[str, Path]
) -> None:
    designs = [pages["design"].with_suffix(".json"), design(tmp_path / "other.json")]
    tab.open(write_reports(designs, tmp_path / "c.html"))
    tab.click(*tab.run(POINT.format(0, 0)))
    tab.wait(OPEN)
    assert tab.run(SHOWN).startswith("part 1\n")
    assert tab.complaints == []


@pytest.mark.parametrize("kind", ["search", "lowrank"])
def test_what_was_expected_opens_its_networks(tab: Any, pages: dict[str, Path], kind: str) -> None:
    tab.open(pages[kind])
    last = tab.run("document.querySelectorAll('.plot').length") - 1
    place = tab.run(POINT.format(last, 1))
    tab.point_at(*place)
    beside = f"document.querySelectorAll('.hoverlayer')[{last}].textContent"
    tab.wait(beside)
    said = tab.run(beside)
    tab.click(*place)
    tab.wait(OPEN)
    assert said.startswith(tab.run(SHOWN)[:30])
    assert "expected" in said
    tab.press("Escape", 27)
    tab.wait(f"!{OPEN}")
    assert tab.complaints == []


@pytest.mark.parametrize("kind", ["search", "design"])
def test_copying(tab: Any, pages: dict[str, Path], kind: str) -> None:
    tab.open(pages[kind])
    tab.run("document.querySelector('button.copy').scrollIntoView({block: 'center'})")
    tab.click(
        *tab.run(
            """(() => {
            const box = document.querySelector('button.copy').getBoundingClientRect();
            return [box.x + 5, box.y + 5];
        })()"""
        )
    )
    tab.wait("document.querySelector('button.copy').textContent === 'Copied'")
    wanted = tab.run("document.querySelector('.copied pre').textContent")
    tab.run("document.body.insertAdjacentHTML('beforeend', '<textarea id=paste></textarea>')")
    tab.run("document.getElementById('paste').focus()")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="v", commands=["paste"])
    assert tab.run("document.getElementById('paste').value") == wanted


def test_colours_follow_while_the_page_is_open(tab: Any, pages: dict[str, Path]) -> None:
    tab.open(pages["search"])
    colour = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    light = tab.run(colour)
    tab.look(dark=True)
    tab.wait(f"{colour} !== '{light}'")


def test_texts_from_outside_are_shown_and_never_run(
    tab: Any, tmp_path: Path, pages: dict[str, Path]
) -> None:
    lowrank(tmp_path, HOSTILE)
    for page in (write_reports([tmp_path]), pages["search"], pages["comparison"]):
        tab.open(page)
        assert "alert(1)" in tab.run("document.body.textContent")
        assert tab.run("document.querySelectorAll('img, a, [onerror]').length") == 0
        assert tab.complaints == []
    tab.open(write_reports([tmp_path]))
    tab.point_at(*tab.run(POINT.format(0, 1)))
    tab.wait("document.querySelector('.hoverlayer text')")
    assert "<script>alert(1)" in tab.run("document.querySelector('.hoverlayer').textContent")
    assert tab.run("document.querySelectorAll('img, a, [onerror]').length") == 0


def test_no_other_script_may_run(tab: Any, tmp_path: Path, pages: dict[str, Path]) -> None:
    page = tmp_path / "page.html"
    text = pages["search"].read_text()
    added = "<script>document.title = 'ran'</script><b onclick=\"document.title = 'ran'\">b</b>"
    page.write_text(text.replace("</h1>", f"</h1>{added}", 1))
    tab.open(page)
    tab.run("document.querySelector('b').click()")
    assert tab.run("document.title") == "Search report"
    assert len(tab.complaints) == 2
    assert all("Content Security Policy" in one for one in tab.complaints)


def test_without_its_script_a_page_shows_where_pictures_are(
    tab: Any, pages: dict[str, Path]
) -> None:
    shown = "[...document.querySelectorAll('noscript p')].map((one) => one.innerText)"
    need, run = "Plots need JavaScript", "; the run folder has this one as"
    saved = [f"{need}{run} {name}.png." for name in ("front", "versions")]
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        for kind, said in (
            ("lowrank", [*saved, f"{need}."]),
            ("fits", [f"{need}."] * 2),
            ("design", [f"{need}."]),
        ):
            tab.call("Page.navigate", url=pages[kind].as_uri())
            tab.wait("document.readyState === 'complete' && document.querySelector('noscript p')")
            assert tab.run(shown) == said
            assert tab.run("document.querySelector('noscript p').getClientRects().length") == 1
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
