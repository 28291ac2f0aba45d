"""In what words and units pages and plots tell of an FPGA design."""

from __future__ import annotations

import math

from brpnas.devices.fpga.mapping import Part
from brpnas.report.fpga_layers import bottleneck
from brpnas.values import readable

__all__ = ["count", "duration", "percent", "prefixed", "set_by"]


def set_by(part: Part) -> str:
    """Return what sets a part's interval: a layer's name, or what else in words."""
    return {
        "layers": part.costs.bound_by,
        "memory": "the bandwidth of the board's memory",
        "input": "the port that words enter through",
        "output": "the port that words leave through",
    }[bottleneck(part)]


def count(value: float) -> str:
    """Return a count of things, of which there may be halves where there are few."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}".removesuffix(".0")


def percent(share: float) -> str:
    """Return a share in percent; one decimal below ten and close to all."""
    hundredths = 100 * share
    if 0 < hundredths < 0.1:
        return "<0.1%"
    if hundredths < 9.95 or 99 < hundredths < 100:
        return f"{math.floor(10 * hundredths) / 10:.1f}%".replace(".0%", "%")
    return f"{hundredths:.0f}%"


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{readable(seconds * factor)} {unit}"
    return f"{readable(seconds * 1e9)} ns"


def prefixed(value: float) -> str:
    """Return a number with the prefix of its power of a thousand: ``360 G``."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 0.9995 * 10**power:
            return f"{value / 10**power:.4g} {prefix}"
    return f"{value:.4g} "
