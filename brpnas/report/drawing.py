"""A network's graph as a small SVG picture."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np

from brpnas.spaces import Graph

__all__ = ["graph_svg"]

_WIDTH, _HEIGHT = 104, 24  # of a node, pixels
_BETWEEN, _BELOW = 12, 34
_PASSAGE = 24  # width left free in each layer that an edge passes
_FAINT = ' stroke-dasharray="3 3" stroke-opacity="0.55"'


@dataclass(frozen=True)
class _Slot:
    """A place in a layer: of a node, or of the edges from a node that pass to lower layers."""

    node: int
    layer: int
    passing: bool

    @property
    def width(self) -> int:
        return _PASSAGE if self.passing else _WIDTH + _BETWEEN


def graph_svg(graph: Graph) -> str:
    """Draw a graph from top to bottom, each node below those that it reads.

    Nodes that do not take part in the result are dashed. Colours follow the page's text.

    Args:
        graph: without cycles.
    """
    depths = _depths(graph)
    layers = _layers(graph, depths)
    width = max(sum(slot.width for slot in layer) for layer in layers)
    height = len(layers) * (_HEIGHT + _BELOW)
    centres = _centres(layers, width)
    parts = [_edge(int(a), int(b), graph, depths, centres) for a, b in graph.edges]
    parts += [_node(centres[_Slot(n, depths[n], False)], graph, n) for n in range(len(depths))]
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        'aria-label="The network as a graph" xmlns="http://www.w3.org/2000/svg">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker>'
        f"</defs>{''.join(parts)}</svg>"
    )


def _depths(graph: Graph) -> list[int]:
    """Return the longest path from a source to each node."""
    depths = [0] * len(graph.operations)
    for _ in depths:
        for source, target in graph.edges:
            depths[target] = max(depths[target], depths[source] + 1)
    return depths


def _layers(graph: Graph, depths: list[int]) -> list[list[_Slot]]:
    layers: list[list[_Slot]] = [[] for _ in range(max(depths) + 1)]
    for node, depth in enumerate(depths):
        layers[depth].append(_Slot(node, depth, passing=False))
    for source in range(len(depths)):
        ends = [depths[target] for start, target in graph.edges if start == source]
        for depth in range(depths[source] + 1, max(ends, default=0)):
            layers[depth].append(_Slot(source, depth, passing=True))
    # Each under the middle of what it reads, so that few edges cross.
    order = {slot.node: float(place) for place, slot in enumerate(layers[0])}
    for layer in layers[1:]:
        for slot in layer:
            if not slot.passing:
                read = [order[int(a)] for a, b in graph.edges if b == slot.node]
                order[slot.node] = float(np.mean(read)) + 0.01 * slot.node
        layer.sort(key=lambda slot: order[slot.node])
        order |= {slot.node: place - len(layer) / 2 for place, slot in enumerate(layer)}
    return layers


def _centres(layers: list[list[_Slot]], width: int) -> dict[_Slot, tuple[float, float]]:
    centres = {}
    for depth, layer in enumerate(layers):
        x = (width - sum(slot.width for slot in layer)) / 2
        for slot in layer:
            y = depth * (_HEIGHT + _BELOW) + (_HEIGHT + _BELOW) / 2
            centres[slot] = (x + slot.width / 2, y)
            x += slot.width
    return centres


def _edge(
    source: int,
    target: int,
    graph: Graph,
    depths: list[int],
    centres: dict[_Slot, tuple[float, float]],
) -> str:
    passed = range(depths[source] + 1, depths[target])
    slots = [
        _Slot(source, depths[source], passing=False),
        *(_Slot(source, depth, passing=True) for depth in passed),
        _Slot(target, depths[target], passing=False),
    ]
    x, y = centres[slots[0]]
    y += _HEIGHT / 2
    path = f"M{x:.1f} {y:.1f}"
    for slot in slots[1:]:
        to_x, to_y = centres[slot]
        to_y -= _HEIGHT / 2
        bend = (to_y - y) / 2
        path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
        if slot.passing:
            y += _HEIGHT
            path += f"V{y:.1f}"
    look = "" if graph.live[source] and graph.live[target] else _FAINT
    return f'<path d="{path}" fill="none" stroke="currentColor" marker-end="url(#tip)"{look}/>'


def _node(centre: tuple[float, float], graph: Graph, node: int) -> str:
    x, y = centre
    name = html.escape(graph.schema.operations[graph.operations[node]].removeprefix("nor_"))
    look = "" if graph.live[node] else _FAINT
    return (
        f'<rect x="{x - _WIDTH / 2:.1f}" y="{y - _HEIGHT / 2:.1f}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="5" class="node" stroke="currentColor"{look}/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="12" '
        f'fill="currentColor">{name}</text>'
    )
