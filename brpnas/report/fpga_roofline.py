"""Roofline: what the parts of a design compute per second, and what the board would allow.

After Williams, Waterman & Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from brpnas.devices.fpga import evaluate_layers
from brpnas.devices.fpga.mapping import Design, Part
from brpnas.devices.fpga.problem import Problem

__all__ = ["Point", "Roofs", "point_of", "roofline_svg", "roofs_of"]

_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 26, 44
_LABEL = 15  # pixels that labels are apart at least


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


def roofline_svg(design: Design) -> str:
    """Draw roofs and parts, both axes logarithmic; colours are of the page's classes."""
    roofs = roofs_of(design.problem)
    found = [(at, point_of(part)) for at, part in enumerate(design.parts, start=1)]
    points = [(at, point) for at, point in found if point]
    ridge = roofs.operations_per_s / roofs.bytes_per_s
    across = [point.operations_per_byte for _, point in points]
    x = _Axis(min([ridge / 12, *across]) / 2, max([ridge * 6, *across]) * 2.5, _LEFT, _across())
    up = [point.operations_per_s for _, point in points]
    low = min([roofs.operations_per_s / 50, *up]) / 2
    y = _Axis(low, roofs.operations_per_s * 2, _HEIGHT - _BOTTOM, _TOP)
    start = max(x.low, low / roofs.bytes_per_s)
    roof = [(start, roofs.at(start)), (ridge, roofs.operations_per_s)]
    roof.append((x.high, roofs.operations_per_s))
    line = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in roof)
    floor = f"{x(x.high):.1f},{y(low):.1f} {x(start):.1f},{y(low):.1f}"
    tilt = math.degrees(math.atan2(y(roof[1][1]) - y(roof[0][1]), x(roof[1][0]) - x(roof[0][0])))
    middle = [(x(roof[0][0]) + x(ridge)) / 2, (y(roof[0][1]) + y(roof[1][1])) / 2]
    drawn = [
        f'<polygon class="under" points="{line} {floor}"/>',
        *(_grid(value, x, y) for value in x.ticks()),
        *(_grid(value, x, y, upright=False) for value in y.ticks()),
        f'<polyline class="roof" points="{line}"/>',
        f'<text x="{_across()}" y="{y(roofs.operations_per_s) - 7:.1f}" text-anchor="end">'
        f"DSP slices: {_si(roofs.operations_per_s)}op/s</text>",
        f'<text text-anchor="middle" transform="translate({middle[0]:.1f} {middle[1]:.1f}) '
        f'rotate({tilt:.1f}) translate(0 -7)">memory: {_si(roofs.bytes_per_s)}B/s</text>',
        f'<text x="{(_LEFT + _across()) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
        "operations per byte of memory traffic</text>",
        '<text x="4" y="12">operations per second</text>',
        *_marks(points, x, y, roofs),
    ]
    return (
        f'<svg class="roofline" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Roofline of the design">{"".join(drawn)}</svg>'
    )


def _across() -> int:
    return _WIDTH - _RIGHT


@dataclass(frozen=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        return [10.0**power for power in powers]


def _grid(value: float, x: _Axis, y: _Axis, upright: bool = True) -> str:
    if upright:
        at = f"{x(value):.1f}"
        line = f'x1="{at}" x2="{at}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"'
        text = f'x="{at}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle"'
        return f'<line class="grid" {line}/><text class="tick" {text}>{_si(value).strip()}</text>'
    at = f"{y(value):.1f}"
    line = f'x1="{_LEFT}" x2="{_across()}" y1="{at}" y2="{at}"'
    text = f'x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end"'
    return f'<line class="grid" {line}/><text class="tick" {text}>{_si(value).strip()}</text>'


def _marks(points: list[tuple[int, Point]], x: _Axis, y: _Axis, roofs: Roofs) -> list[str]:
    """Draw the parts, the way from each to the roof, and their numbers beside each other."""
    drawn: list[str] = []
    taken: list[tuple[float, float]] = []
    for _, point in points:
        left, top = x(point.operations_per_byte), y(point.operations_per_s)
        roof = y(roofs.at(point.operations_per_byte))
        drawn.append(
            f'<line class="way" x1="{left:.1f}" x2="{left:.1f}" y1="{top:.1f}" y2="{roof:.1f}"/>'
        )
    for number, point in points:
        left, top = x(point.operations_per_byte), y(point.operations_per_s)
        label = [left + 9, top + 4]
        while any(abs(label[0] - a) < _LABEL and abs(label[1] - b) < _LABEL for a, b in taken):
            label[0] += _LABEL
        taken.append((label[0], label[1]))
        name = number if len(points) > 1 else ""
        drawn.append(
            f'<circle class="part" cx="{left:.1f}" cy="{top:.1f}" r="5"/>'
            f'<text class="number" x="{label[0]:.1f}" y="{label[1]:.1f}">{name}</text>'
        )
    return drawn


def _si(value: float) -> str:
    """Return a number with the prefix of its power of a thousand: ``360 G``."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 0.9995 * 10**power:
            return f"{value / 10**power:.4g} {prefix}"
    return f"{value:.4g} "
