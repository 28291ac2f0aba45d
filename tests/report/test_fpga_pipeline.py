from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from brpnas.devices.fpga import read_platform
from brpnas.devices.fpga.from_onnx import read_onnx
from brpnas.devices.fpga.network import INPUT, Network, Node
from brpnas.devices.fpga.partition import Segment
from brpnas.devices.fpga.problem import Problem
from brpnas.report.fpga_pipeline import Lanes, pipeline_lanes, pipeline_svg


def node(name: str, *before: str) -> Node:
    sizes = {"rows": 8, "cols": 8, "channels": 4}
    if len(before) > 1:
        ports = {"ports_in": len(before), "op_type": "add", "broadcast": 0}
        return Node(name, "eltwise", {**sizes, **ports}, before, (8, 8, 4))
    if name.startswith("split"):
        return Node(name, "split", {**sizes, "ports_out": 2}, before, (8, 8, 4))
    return Node(name, "relu", sizes, before, (8, 8, 4))


def segment(*nodes: Node, start: int = 0, stop: int | None = None) -> Segment:
    network = Network("net", (8, 8, 4), nodes)
    return Segment(Problem(network, read_platform("zc706")), start, stop or len(nodes))


def check(placed: Lanes) -> None:
    """No edge passes through a layer, and no two run in one lane at the same line."""
    places, lanes = placed
    assert {start for start, _ in lanes} | {end for _, end in lanes} == set(range(len(places)))
    for line, place in enumerate(places):
        passing = [lane for (start, end), lane in lanes.items() if start < line < end]
        assert len({place, *passing}) == len(passing) + 1


def test_a_chain_is_a_line() -> None:
    places, lanes = pipeline_lanes(segment(node("a", INPUT), node("b", "a"), node("c", "b")))
    assert places == [0] * 5
    assert lanes == {(0, 1): 0, (1, 2): 0, (2, 3): 0, (3, 4): 0}


def test_branches_lie_beside_each_other() -> None:
    nodes = (
        *(node("split", INPUT), node("a", "split"), node("b", "split"), node("c", "split")),
        node("sum", "a", "b", "c"),
    )
    placed = pipeline_lanes(segment(*nodes))
    check(placed)
    assert placed[0][2:5] == [0, 1, 2]
    assert placed[0][5] == 0


def test_a_cut_within_a_branch() -> None:
    nodes = (
        *(node("split", INPUT), node("a", "split"), node("b", "a"), node("sum", "b", "split")),
        node("last", "sum"),
    )
    places, lanes = first = pipeline_lanes(segment(*nodes, stop=2))
    check(first)
    assert (1, 3) in lanes  # what the next part will need is written
    assert places == [0] * 4
    second = pipeline_lanes(segment(*nodes, start=2))
    check(second)
    assert {(0, 1), (0, 2)} <= second[1].keys()  # and read there


def test_an_output_taken_twice_is_one_line() -> None:
    _, lanes = pipeline_lanes(segment(node("a", INPUT), node("twice", "a", "a")))
    assert list(lanes) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("cut", [0, 6, 13])
def test_resnet(cut: int, shared: Path) -> None:
    network = read_onnx(shared / "fpga" / "nets" / "resnet8.onnx")
    problem = Problem(network, read_platform("zc706"))
    part = Segment(problem, cut, len(network.nodes))
    placed = pipeline_lanes(part)
    check(placed)
    svg, width = pipeline_svg(placed, ["light"] * (len(part.nodes) + 2))
    drawn = ElementTree.fromstring(svg)  # noqa: S314 - our own text
    assert len(drawn.findall("circle")) == len(part.nodes) + 2
    assert len(drawn.findall("path")) == len(placed[1])
    assert all(0 < float(dot.attrib["cx"]) < width for dot in drawn.iter("circle"))


def test_many_lanes_stay_narrow() -> None:
    names = [f"n{at}" for at in range(40)]
    nodes = [node("split", INPUT), *(node(name, "split") for name in names), node("sum", *names)]
    placed = pipeline_lanes(segment(*nodes))
    check(placed)
    assert pipeline_svg(placed, ["light"] * 44)[1] < 120
