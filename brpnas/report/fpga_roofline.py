"""Roofline: what the parts of a design compute per second, and what the board would allow.

After Williams, Waterman & Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brpnas.devices.fpga import evaluate_layers
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.problem import Problem
from brpnas.report.fpga_words import percent, prefixed, set_by
from brpnas.report.interactive import Plot, axis, hover, line, points
from brpnas.report.summary import Facts

__all__ = ["Point", "Roofs", "point_facts", "point_of", "roofline_plot", "roofs_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Roofs:
    """What a board can do.

    Attributes:
        operations_per_s: of all DSP slices; a multiplication and an addition are two.
        bytes_per_s: of the board's memory.
    """

    operations_per_s: float
    bytes_per_s: float

    def at(self, operations_per_byte: float) -> float:
        """Return the operations per second that the board allows at most."""
        return min(self.operations_per_s, self.bytes_per_s * operations_per_byte)


@dataclass(frozen=True)
class Point:
    """What a part does.

    Attributes:
        operations_per_byte: that it reads or writes in the board's memory.
        operations_per_s: over a whole batch, without the time of loading the board.
    """

    operations_per_byte: float
    operations_per_s: float


def roofs_of(problem: Problem) -> Roofs:
    """Return the board's peaks at the design's words, whatever its margin."""
    words, platform = problem.words, problem.platform
    # As many slices as the model counts: at few bits, several products share one.
    four = {"rows": 1, "cols": 1, "channels": 4, "filters": 1, "has_bias": 0}
    four |= {"coarse_in": 4, "coarse_out": 1, "acc_width": words.acc}
    four |= {"data_width": words.data, "weight_width": words.weight}
    slices = float(evaluate_layers("inner_product", pd.DataFrame([four]))["DSP"].iloc[0]) / 4
    products = platform.resources["DSP"] / slices * platform.clock_mhz * 1e6
    return Roofs(2 * products, platform.memory_gbit_per_s * 1e9 / 8)


def point_of(part: Part) -> Point | None:
    """Return what a part does; nothing for one that multiplies nothing."""
    segment, costs = part.segment, part.costs
    problem = segment.problem
    clock_hz = problem.platform.clock_mhz * 1e6
    operations = 2 * sum(node.macs for node in segment.nodes)
    if not operations:
        return None
    seconds = costs.interval / clock_hz
    batch_s = costs.cycles / clock_hz
    return Point(
        operations / (costs.gbit_per_s * 1e9 / 8 * seconds),
        operations * segment.reloads * problem.batch / batch_s,
    )


def point_facts(point: Point, roofs: Roofs) -> Facts:
    """Return what is said of a part's place under the roofs."""
    attainable = roofs.at(point.operations_per_byte)
    return [
        ("operations per byte", point.operations_per_byte),
        ("operations per second", f"{prefixed(point.operations_per_s)}op/s"),
        ("attainable", f"{prefixed(attainable)}op/s"),
        ("reached", percent(point.operations_per_s / attainable)),
    ]


def roofline_plot(design: Design, keys: Sequence[str]) -> Plot:
    """Draw roofs and parts, both axes logarithmic.

    Args:
        design: whose parts are points, but those that multiply nothing.
        keys: by which the points open the parts, one for each part.
    """
    roofs, several = roofs_of(design.problem), len(design.parts) > 1
    found = [
        (f"Part {number}" if several else "The design", part, point, key)
        for number, (part, key) in enumerate(zip(design.parts, keys, strict=True), 1)
        if (point := point_of(part))
    ]
    across = np.array([point.operations_per_byte for *_, point, _ in found])
    up = np.array([point.operations_per_s for *_, point, _ in found])
    texts = [
        hover(name, [*point_facts(point, roofs), ("set by", set_by(part))])
        for name, part, point, _ in found
    ]
    named = "parts" if several else "the design"
    marks = points(named, 0, across, up, texts, [key for *_, key in found])
    if several:
        numbers = [name.removeprefix("Part ") for name, *_ in found]
        marks |= {"mode": "markers+text", "text": _beside(numbers, across, up)}
        marks |= {"textposition": "bottom center"}
    ridge = roofs.operations_per_s / roofs.bytes_per_s
    left, right = min([ridge / 12, *across]) / 2, max([ridge * 6, *across]) * 2
    low = min([roofs.operations_per_s / 50, *up]) / 2
    slope, flat = [left, ridge], [ridge, right]
    gaps = np.full(len(found), np.nan)  # between one way up and the next
    ways = np.stack([up, np.array([roofs.at(x) for x in across]), gaps], axis=-1)
    data = [
        _roof(f"memory: {prefixed(roofs.bytes_per_s)}B/s", slope, roofs, 2),
        _roof(f"DSP slices: {prefixed(roofs.operations_per_s)}op/s", flat, roofs, 3),
        line("what the board would allow more", across.repeat(3), ways.ravel(), dash="dot"),
        marks,
    ]
    layout = {
        "xaxis": _logarithmic("operations per byte of memory traffic", left, right),
        "yaxis": _logarithmic("operations per second", low, 2 * roofs.operations_per_s),
        "showlegend": True,
    }
    return Plot("What is computed, and what the board would allow", data, layout, _NOTE)


_NOTE = (
    "A multiplication and an addition are two operations. Roofs: all DSP slices of the board "
    "multiplying in every cycle, and its memory's peak bandwidth. Points are over a whole batch. "
    "Point at one for its figures, click to see its layers."
)


_NEAR = 0.1  # powers of ten: numbers of points that are closer would lie on each other


def _beside(numbers: Sequence[str], across: Array, up: Array) -> list[str]:
    """Return what stands beside each point: of points near each other, at the first."""
    places = np.log10(np.stack([across, up], axis=-1))  # (points, 2)
    said: dict[int, list[str]] = {}
    for at, number in enumerate(numbers):
        near = (one for one in said if np.abs(places[one] - places[at]).max() < _NEAR)
        said.setdefault(next(near, at), []).append(number)
    return ["<br>".join(said.get(at, [])) for at in range(len(numbers))]


def _roof(name: str, across: Sequence[float], roofs: Roofs, place: int) -> dict[str, Any]:
    return line(name, across, [roofs.at(x) for x in across], place, width=2)


def _logarithmic(title: str, low: float, high: float) -> dict[str, Any]:
    bounds = [math.log10(low), math.log10(high)]
    return axis(title, type="log", range=bounds, exponentformat="SI", dtick=1)
