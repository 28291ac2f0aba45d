from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from brpnas.devices.fpga import evaluate_layers, read_platform
from brpnas.devices.fpga.export import describe_design
from brpnas.devices.fpga.foldings import RESOURCES, Foldings, Words
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.platform import Platform
from brpnas.devices.fpga.problem import Problem
from brpnas.errors import UserError
from brpnas.report.fpga_layers import layer_rows, sum_rows
from brpnas.report.fpga_opened import opened_layers, opened_part
from brpnas.report.fpga_page import summarise_design, write_fpga_report
from brpnas.report.fpga_roofline import point_of, roofline_plot, roofs_of

HOSTILE = "<script>alert(1)</script> $\\frac{ {{ 7 * 7 }} 精度\n\"'&"
Pick = Callable[[Foldings], int]
PageOf = Callable[..., Any]


def slow(_: Foldings) -> int:
    return 0  # everything one at a time, weights in block RAM


def fast(ways: Foldings) -> int:
    return int(np.argmin(ways.latency))


def convolution(name: str, before: str, channels: int = 4, filters: int = 8) -> Node:
    sizes = {"rows": 8, "cols": 8, "channels": channels, "filters": filters, "groups": 1}
    sizes |= dict.fromkeys(("kernel_rows", "kernel_cols"), 3) | {"has_bias": 1}
    sizes |= dict.fromkeys(("stride_rows", "stride_cols"), 1)
    sizes |= dict.fromkeys(("pad_top", "pad_right", "pad_bottom", "pad_left"), 1)
    return Node(name, "convolution", sizes, (before,), (8, 8, filters))


def two_layers(first: str = "first", second: str = "second", name: str = "net") -> Network:
    nodes = (convolution(first, INPUT), convolution(second, first, 8, 8))
    return Network(name, (8, 8, 4), nodes)


def build(problem: Problem, cuts: list[int], pick: Pick = slow, reloads: int = 1) -> Design:
    """A design with the parts between the cuts; weights of the last loaded several times."""
    segments = [
        Segment(problem, start, stop, reloads if stop == cuts[-1] else 1)
        for start, stop in itertools.pairwise(cuts)
    ]
    choices = [tuple(pick(ways) for ways in segment.ways) for segment in segments]
    return Design(problem, tuple(map(Part, segments, choices)))


def board(**changes: float) -> Platform:
    return dataclasses.replace(read_platform("zc706"), **changes)


@pytest.fixture
def page_of(read_page: Callable[[Path], Any]) -> PageOf:
    def page_of(design: Design, folder: Path, command: str = "") -> Any:
        write_fpga_report(dataclasses.replace(design, command=command), folder / "page.html")
        return read_page(folder / "page.html")

    return page_of


def number_of(text: object) -> float:
    return number(str(text))


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize("net", ["lenet", "resnet8"])
@pytest.mark.parametrize("pick", [slow, fast])
def test_every_layer_with_its_numbers(
    net: str, pick: Pick, shared: Path, tmp_path: Path, page_of: PageOf
) -> None:
    network = read_onnx(shared / "fpga" / "nets" / f"{net}.onnx")
    design = build(Problem(network, read_platform("zcu104")), [0, len(network.nodes)], pick)
    page = page_of(design, tmp_path)
    (part,) = design.parts
    start = next(at for at, row in enumerate(page.rows) if row[0] == "layer")
    rows = page.rows[start + 1 : start + 1 + len(network.nodes)]
    for node, ways, row, shown in zip(
        network.nodes, part.segment.ways, part.choice, rows, strict=True
    ):
        assert shown[:2] == [node.name, node.kind.replace("_", " ")]
        assert shown[3] == f"{ways.streams_in[row]:.0f} → {ways.streams_out[row]:.0f}"
        assert number(shown[4]) == ways.latency[row]
        share = 100 * ways.latency[row] / part.costs.interval
        assert float(shown[5].strip("<%")) == pytest.approx(share, abs=0.6)
        found = dict(zip(RESOURCES, map(number, shown[6:11]), strict=True))
        for name in ("DSP", "LUT", "FF", "URAM"):
            wanted = ways.resources[row, RESOURCES.index(name)]
            assert found[name] == pytest.approx(wanted, abs=0.51)
    total = next(row for row in page.rows if row[0] == "sum")
    assert [number(cell) for cell in total[6:11]] == pytest.approx(part.costs.resources, abs=0.51)


@pytest.mark.parametrize("pick", [slow, fast])
def test_layers_add_up_to_the_part(pick: Pick, shared: Path) -> None:
    network = read_onnx(shared / "fpga" / "nets" / "resnet8.onnx")
    (part,) = build(Problem(network, board()), [0, len(network.nodes)], pick).parts
    *others, whole = [*layer_rows(part), *sum_rows(part)]
    for name in RESOURCES:
        taken = sum(row.resources[name] for row in others)
        assert taken == pytest.approx(whole.resources[name])


def test_parts_and_times(tmp_path: Path, page_of: PageOf) -> None:
    design = build(Problem(two_layers(), board(), batch=64), [0, 1, 2])
    page = page_of(design, tmp_path)
    for part, shown in zip(design.parts, page.rows[1:3], strict=True):
        assert number(shown[2]) == part.costs.interval
        assert number(shown[3]) == pytest.approx(64 / (part.costs.cycles / 200e6), rel=1e-3)
        assert shown[6] == part.costs.bound_by
    computing = sum(part.costs.cycles for part in design.parts) / 200e6
    assert page.rows[3][4] == "82.55 ms"
    assert f"{design.seconds * 1e3:.4g} ms" in page.text
    assert design.seconds == pytest.approx(computing + 0.08255)
    assert f"{design.frames_per_second:.4g}images per second" in page.text


def test_bars_show_what_has_to_be_free(tmp_path: Path, page_of: PageOf) -> None:
    small = board(resources={"DSP": 900, "BRAM": 3, "LUT": 50_000, "FF": 437_200, "URAM": 0})
    design = build(Problem(two_layers(), small, margin=0.1), [0, 2])
    (part,) = design.parts
    needs = dict(zip(RESOURCES, design.problem.needs(part.costs.resources), strict=True))
    text = page_of(design, tmp_path).text
    for name in ("DSP", "LUT", "FF"):
        count = f"{np.ceil(needs[name]):,.0f}"
        assert f"{name}{count} of {small.resources[name]:,}" in text
    short = part.costs.resources[1] - needs["BRAM"]
    assert short > 0
    assert f"{short:g} blocks of memory more than there are" in text
    assert "DSP 810, BRAM 2.7, LUT 45,000, FF 393,480" in text
    assert "URAM" not in text


@pytest.mark.parametrize(
    ("changes", "pick", "said"),
    [
        ({}, slow, "set by second."),
        ({"memory_gbit_per_s": 0.01}, slow, "set by the bandwidth of the board's memory."),
        ({"port_width": 16}, fast, "set by the port that words enter through."),
    ],
)
def test_what_sets_the_interval(
    changes: dict[str, float],
    pick: Pick,
    said: str,
    tmp_path: Path,
    page_of: PageOf,
) -> None:
    network = Network("net", (8, 8, 8), (convolution("memory", INPUT, 8, 4),))
    if not changes:
        network = two_layers("memory")
    problem = Problem(network, board(**changes))
    design = build(problem, [0, len(network.nodes)], pick)
    page = page_of(design, tmp_path)
    assert said in page.text
    hot = [attributes for tag, attributes in page.tags if attributes.get("class") == "hot"]
    assert len(hot) == 2  # its dot and its bar


def test_layers_that_are_as_slow_as_the_slowest(tmp_path: Path, page_of: PageOf) -> None:
    nodes = (convolution("a", INPUT, 8), convolution("b", "a", 8), convolution("c", "b", 8, 4))
    design = build(Problem(Network("net", (8, 8, 8), nodes), board()), [0, 3])
    assert "set by a and 1 other layer that is as slow" in page_of(design, tmp_path).text


def test_weights_that_are_loaded_several_times(tmp_path: Path, page_of: PageOf) -> None:
    network = Network("net", (8, 8, 4), (convolution("only", INPUT),))
    design = build(Problem(network, board()), [0, 1], reloads=4)
    once = build(design.problem, [0, 1])
    assert "each image passes 4 times, with another part of the filters of only" in (
        page_of(design, tmp_path).text
    )
    # What is computed stays the same, and is not counted once for each pass.
    operations = [
        point.operations_per_s * part.costs.cycles
        for (part,) in (design.parts, once.parts)
        if (point := point_of(part))
    ]
    assert operations[0] == pytest.approx(operations[1])


@pytest.mark.parametrize(
    ("column", "channels", "said"),
    [
        ("", 64, "block RAM"),
        ("", 1, "LUTs"),
        ("uram", 64, "UltraRAM"),
        ("off_chip", 64, "25% streamed"),
    ],
)
def test_where_weights_lie(column: str, channels: int, said: str) -> None:
    network = Network("net", (8, 8, channels), (convolution("a", INPUT, channels, channels),))
    problem = Problem(network, read_platform("zcu104"))

    def pick(ways: Foldings) -> int:
        return int(np.argmax(ways.columns[column] > 0)) if column else 0

    (part,) = build(problem, [0, 1], pick).parts
    (row,) = layer_rows(part)
    assert row.weights == said


def test_names_are_escaped_and_nothing_is_loaded(tmp_path: Path, page_of: PageOf) -> None:
    plain = page_of(build(Problem(two_layers(), board()), [0, 1, 2]), tmp_path)
    design = build(Problem(two_layers(HOSTILE, "<b>", HOSTILE), board(title=HOSTILE)), [0, 1, 2])
    page = page_of(design, tmp_path)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert {HOSTILE, "<b>"} <= {row[0] for row in page.rows}
    assert page.links == ["#part-1", "#part-2"]
    page.check_scripts()
    text = (tmp_path / "page.html").read_text()
    assert text.count("alert(1)") > 5
    assert "<script>alert" not in text
    (figure,) = page.figures  # plotly reads tags in texts
    assert not re.search(r"<script|<b>(?!Part)", json.dumps(figure))
    assert not re.search(r"url\(|@import", text.split('id="plotly"')[0])
    assert "prefers-color-scheme: dark" in text
    assert "default-src 'none'" in text


def test_command(tmp_path: Path, page_of: PageOf) -> None:
    design = build(Problem(two_layers(), board()), [0, 2])
    command = "brpnas fpga map --model '<i>\udcff.onnx'"
    assert "brpnas fpga map --model '<i>\\udcff.onnx'" in page_of(design, tmp_path, command).text
    assert "brpnas fpga map" not in page_of(design, tmp_path).text


def test_too_large(tmp_path: Path, page_of: PageOf) -> None:
    small = board(resources={"DSP": 1, "BRAM": 1, "LUT": 1, "FF": 1, "URAM": 0})
    page = page_of(build(Problem(two_layers(), small), [0, 2]), tmp_path)
    assert "Part 1 does not fit" in page.text


def test_unwritable(tmp_path: Path) -> None:
    design = build(Problem(two_layers(), board()), [0, 2])
    with pytest.raises(UserError, match=r"cannot write .*nowhere"):
        write_fpga_report(design, tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize(("bits", "products"), [(16, 1), (8, 2), (4, 4)])
def test_roofs(bits: int, products: int) -> None:
    roofs = roofs_of(Problem(two_layers(), board(), Words(bits, bits)))
    assert roofs.operations_per_s == 2 * products * 900 * 200e6
    assert roofs.bytes_per_s == 12.8e9
    assert roofs.at(1.0) == 12.8e9


@pytest.mark.parametrize("pick", [slow, fast])
@pytest.mark.parametrize("batch", [1, 256])
def test_points_lie_under_the_roofs(pick: Pick, batch: int) -> None:
    design = build(Problem(two_layers(), board(), batch=batch), [0, 1, 2], pick)
    roofs = roofs_of(design.problem)
    for part in design.parts:
        point = point_of(part)
        assert point is not None
        macs = sum(node.macs for node in part.segment.nodes)
        moved = 2 * 8 * 8 * sum(part.segment.nodes[0].sizes[n] for n in ("channels", "filters"))
        assert point.operations_per_byte == pytest.approx(2 * macs / moved)
        seconds = part.costs.cycles / 200e6
        assert point.operations_per_s == pytest.approx(2 * macs * batch / seconds)
        assert point.operations_per_s <= roofs.at(point.operations_per_byte)
    figure = roofline_plot(design, ["one", "other"]).figure
    memory, slices, ways, parts = figure["data"]
    assert parts["customdata"] == ["one", "other"]
    for axis, values in (("x", parts["x"]), ("y", parts["y"])):
        low, high = figure["layout"][f"{axis}axis"]["range"]
        assert all(low < np.log10(value) < high for value in values)
    ridge = roofs.operations_per_s / roofs.bytes_per_s
    assert (memory["x"][1], slices["x"][0]) == (ridge, ridge)
    assert slices["y"] == [roofs.operations_per_s] * 2
    assert memory["y"] == pytest.approx([roofs.bytes_per_s * x for x in memory["x"]])
    for at, (x, y) in enumerate(zip(parts["x"], parts["y"], strict=True)):  # each way is dotted up
        assert ways["x"][3 * at : 3 * at + 2] == [x, x]
        assert ways["y"][3 * at : 3 * at + 3] == [y, roofs.at(x), None]


def test_roofline_is_a_figure_that_plotly_knows(tmp_path: Path, page_of: PageOf) -> None:
    for cuts in ([0, 2], [0, 1, 2]):
        (figure,) = page_of(build(Problem(two_layers(), board()), cuts), tmp_path).figures
        plain = json.loads(re.sub(r'"var\(--[a-z0-9-]+\)"', '"black"', json.dumps(figure)))
        Figure(plain)  # raises for what plotly does not know


def test_points_say_what_they_are(tmp_path: Path, page_of: PageOf) -> None:
    design = build(Problem(two_layers(), board()), [0, 1, 2], fast)
    roofs = roofs_of(design.problem)
    page = page_of(design, tmp_path)
    (*_, parts) = page.figures[0]["data"]
    for number, (part, text) in enumerate(zip(design.parts, parts["hovertext"], strict=True), 1):
        point = point_of(part)
        assert point is not None
        reached = point.operations_per_s / roofs.at(point.operations_per_byte)
        name, per_byte, per_second, attainable, share, setter = text.split("<br>")
        assert name == f"<b>Part {number}</b>"
        assert per_byte == f"operations per byte: {point.operations_per_byte:.4g}"
        assert per_second == f"operations per second: {point.operations_per_s / 1e9:.4g} Gop/s"
        assert attainable.startswith("attainable: ")
        assert float(share.removeprefix("reached: ").strip("<%")) == pytest.approx(
            100 * reached, abs=0.6
        )
        assert setter == f"set by: {part.costs.bound_by}"


def test_numbers_of_points_that_lie_on_each_other_stand_below_each_other() -> None:
    nodes = [convolution("n0", INPUT, 8)]
    nodes += [convolution(f"n{at}", f"n{at - 1}", 8) for at in (1, 2)]
    nodes.append(convolution("last", "n2", 8, 64))
    design = build(Problem(Network("net", (8, 8, 8), tuple(nodes)), board()), [0, 1, 2, 3, 4])
    (*_, parts) = roofline_plot(design, ["a", "b", "c", "d"]).data
    assert parts["text"] == ["1<br>2<br>3", "", "", "4"]
    (*_, single) = roofline_plot(build(design.problem, [0, 4]), ["a"]).data
    assert "text" not in single


def templates(page: Any) -> set[str]:
    return {a["id"] for tag, a in page.tags if tag == "template"}


def test_all_that_can_be_opened_is_there(tmp_path: Path, page_of: PageOf) -> None:
    page = page_of(build(Problem(two_layers(), board()), [0, 1, 2]), tmp_path)
    (*_, parts) = page.figures[0]["data"]
    buttons = [a["data-open"] for tag, a in page.tags if tag == "button" and "data-open" in a]
    wanted = ["part-1", "part-2", "layer-1-0", "layer-2-0", "part-1", "part-2"]
    assert buttons == wanted  # the list of parts, two pipelines, the roofline's table
    assert templates(page) == {f"network-{key}" for key in (*wanted, *parts["customdata"])}


@pytest.mark.parametrize("net", ["resnet8", "mobilenetv1", "cnv"])
def test_opened_parts_and_layers(net: str, shared: Path) -> None:
    """The copied text of a layer is a row from which its figures are computed again."""
    network = read_onnx(shared / "fpga" / "nets" / f"{net}.onnx")
    middle = len(network.nodes) // 2
    cuts = [0, middle, len(network.nodes)] if net != "resnet8" else [0, len(network.nodes)]
    design = build(Problem(network, board(), Words(8, 8)), cuts, fast)
    roofs = roofs_of(design.problem)
    for number, part in enumerate(design.parts, 1):
        rows = layer_rows(part)
        whole = opened_part(number, design, rows, roofs)
        assert whole.text.splitlines() == [f"{row.name}: {row.built}" for row in rows]
        known = dict(whole.figures)
        assert number_of(known["cycles from image to image"]) == part.costs.interval
        assert known["slowest layer"].split(":")[0] in {row.name for row in rows if row.slowest}
        assert ("share of the time" in known) == (len(cuts) > 2)
        for row, opened in zip(rows, opened_layers(number, rows), strict=True):
            found = evaluate_layers(
                row.kind, pd.DataFrame([json.loads(opened.text)]), reference_exact=False
            )
            assert found["latency"][0] == row.latency
            assert found["DSP"][0] == row.resources["DSP"]
            known = dict(opened.figures)
            assert number_of(known["cycles"]) == row.latency
            assert known["folding"] == row.folding
            assert known["bound by"] == row.bound_by
            assert ("weights in" in known) == bool(row.weights)


def test_rows_of_the_pipeline_say_how_layers_are_built(tmp_path: Path, page_of: PageOf) -> None:
    design = build(Problem(two_layers(), board()), [0, 2])
    text = page_of(design, tmp_path).text
    for row in layer_rows(design.parts[0]):
        assert f"{row.name}: {row.built}; {row.latency:,.0f} cycles, " in text


def test_a_design_among_others_opens_its_layers(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    for cuts in ([0, 1, 2], [0, 2]):
        design = build(Problem(two_layers(), board()), cuts)
        path.write_text(json.dumps(describe_design(design)))
        told = summarise_design(path)
        (opened,) = told.networks
        assert [curve.keys for curve in told.curves] == [[opened.key]]
        lines = [f"{row.name}: {row.built}" for part in design.parts for row in layer_rows(part)]
        assert [line for line in opened.text.splitlines() if ":" in line] == lines
        assert ("part 2\n" in opened.text) == (len(cuts) > 2)


def test_a_part_that_multiplies_nothing(tmp_path: Path, page_of: PageOf) -> None:
    sizes = {"rows": 8, "cols": 8, "channels": 4}
    nodes = (Node("relu", "relu", sizes, (INPUT,), (8, 8, 4)), convolution("conv", "relu"))
    design = build(Problem(Network("net", (8, 8, 4), nodes), board()), [0, 1, 2])
    page = page_of(design, tmp_path)
    assert ["part 1", "multiplies nothing"] in page.rows
    assert page.figures[0]["data"][-1]["customdata"] == ["part-2"]
    alone = build(Problem(Network("net", (8, 8, 4), nodes[:1]), board()), [0, 1])
    assert page_of(alone, tmp_path).figures[0]["data"][-1]["x"] == []  # only the roofs


def test_shares_of_nothing_and_of_all_are_not_rounded_to(tmp_path: Path, page_of: PageOf) -> None:
    slow_memory = Problem(two_layers(), board(memory_gbit_per_s=0.001))
    rows = page_of(build(slow_memory, [0, 2], fast), tmp_path).rows
    assert [row[5] for row in rows if row[0] in ("first", "second")] == ["<0.1%"] * 2
    assert "Gbit/s100%" in page_of(build(slow_memory, [0, 2]), tmp_path).text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_fits_phones_and_complains_of_nothing(tab: Any, tmp_path: Path, dark: bool) -> None:
    network = two_layers(HOSTILE, "x" * 300, "<b>net</b>")
    design = build(Problem(network, board(), batch=64), [0, 1, 2])
    design = dataclasses.replace(design, command=f"brpnas fpga map --model '{HOSTILE}'")
    write_fpga_report(design, tmp_path / "page.html")
    for width in (360, 1200):
        tab.open(tmp_path / "page.html", width, dark=dark)
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run("document.querySelectorAll('body b').length") == 0
        tab.run("document.querySelectorAll('.tip').forEach((one) => one.style.display = 'block')")
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.complaints == []
