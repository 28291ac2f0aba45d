"""The layers of a part and who takes whose output, as lines beside a list of the layers."""

from __future__ import annotations

from collections.abc import Sequence

from brpnas.devices.fpga.partition import Segment

__all__ = ["ROW_HEIGHT", "Lanes", "pipeline_lanes", "pipeline_svg"]

ROW_HEIGHT = 28
"""Pixels from one line of the list to the next."""

_SPACING, _WIDEST = 16.0, 96.0  # between lanes; of all lanes, so that phones have room for names
_RADIUS = 5

Edge = tuple[int, int]
Lanes = tuple[list[int], dict[Edge, int]]
"""The lane of each line of the list, and of each edge between two lines."""


def pipeline_lanes(segment: Segment) -> Lanes:
    """Place layers and edges in lanes, so that no edge passes through another's layer.

    Line 0 is the memory that is read, line ``1 + i`` the layer ``i``, the last the memory that is
    written. The nearest layer that takes an output stays in its lane.
    """
    last = len(segment.nodes) + 1
    edges = [(0, at + 1) for at in segment.sources]
    edges += [(first + 1, second + 1) for first, second in segment.edges]
    edges += [(at + 1, last) for at in segment.sinks]
    edges = sorted(set(edges))
    places, lanes = [0], dict[Edge, int]()
    for line in range(last + 1):
        if line:
            places.append(min(lanes[edge] for edge in edges if edge[1] == line))
        busy = {lane for edge, lane in lanes.items() if edge[1] > line}
        for edge in edges:
            if edge[0] == line:
                nearest = places[line] not in busy
                lanes[edge] = places[line] if nearest else _first_free(busy)
                busy.add(lanes[edge])
    return places, lanes


def _first_free(busy: set[int]) -> int:
    return next(lane for lane in range(len(busy) + 1) if lane not in busy)


def pipeline_svg(placed: Lanes, looks: Sequence[str]) -> tuple[str, int]:
    """Draw lines and layers; lines of the list are ``ROW_HEIGHT`` high.

    Args:
        placed: where.
        looks: class of each line's dot.

    Returns:
        The picture and its width in pixels.
    """
    places, lanes = placed
    count = 1 + max([*places, *lanes.values()])
    spacing = min(_SPACING, _WIDEST / count)
    width = round(2 * _RADIUS + 2 + (count - 1) * spacing)

    def spot(lane: int, line: float) -> tuple[float, float]:
        return 1 + _RADIUS + lane * spacing, (line + 0.5) * ROW_HEIGHT

    parts = []
    for (start, end), lane in lanes.items():
        x, y = spot(places[start], start)
        path = f"M{x:.1f} {y:.1f}"
        stops = [spot(places[end], end)]
        if end > start + 1:  # leave the layer within a line's height, and join within another
            stops = [spot(lane, start + 1), spot(lane, end - 1), *stops]
        for to_x, to_y in stops:
            middle = (y + to_y) / 2
            path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
            x, y = to_x, to_y
        parts.append(f'<path d="{path}"/>')
    for line, (lane, look) in enumerate(zip(places, looks, strict=True)):
        x, y = spot(lane, line)
        parts.append(f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}"/>')
    height = len(places) * ROW_HEIGHT
    return (
        f'<svg class="lanes" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    ), width
