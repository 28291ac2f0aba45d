from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from brpnas.report.drawing import graph_svg
from brpnas.spaces import Graph, GraphSchema, NASBench201

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("seed", range(5))
def test_cells(seed: int) -> None:
    space = NASBench201()
    (cell,) = space.sample(1, np.random.default_rng(seed))
    graph = space.graph(cell)
    svg = ElementTree.fromstring(graph_svg(graph))  # noqa: S314 - our own text
    names = [text.text for text in svg.iter(f"{NAMESPACE}text")]
    operations = [operation.removeprefix("nor_") for operation in cell.operations]
    assert sorted(map(str, names)) == sorted(["input", *operations, "output"])
    boxes = list(svg.iter(f"{NAMESPACE}rect"))
    assert sum("stroke-dasharray" in box.attrib for box in boxes) == int((~graph.live).sum())
    places = {(box.attrib["x"], box.attrib["y"]) for box in boxes}
    assert len(places) == len(boxes) == 8


def test_names_are_escaped() -> None:
    schema = GraphSchema("x", ("<b>&\"'",), ())
    graph = Graph(
        schema, np.array([0, 0]), np.zeros((2, 0), np.float32), np.array([(0, 1)]), np.array([1, 1])
    )
    assert "<b>" not in graph_svg(graph)
