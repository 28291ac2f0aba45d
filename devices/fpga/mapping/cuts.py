"""Where to cut a network: a shortest path over the places where it can be cut."""

from __future__ import annotations

import math
from collections.abc import Mapping

from brpnas.devices.fpga.problem import Problem

__all__ = ["Span", "shortest_path"]

Span = tuple[int, int]
"""A part: from which place to which."""


def shortest_path(problem: Problem, places: int, cycles: Mapping[Span, float]) -> list[Span] | None:
    """Return the parts with which a batch is done first; None: there is no way.

    Args:
        problem: with the time that it takes to load the board with a part.
        places: how many there are, the first and the last included.
        cycles: of a batch, for each part; infinite where there is none.
    """
    clock = problem.platform.clock_mhz * 1e6
    load = problem.platform.reconfiguration_s * clock
    # The reference counts the first part's load as well, if there is another part.
    first_load = load if problem.reference_exact else 0.0
    time, before = [math.inf] * places, [0] * places
    time[0] = 0.0
    for other in range(1, places):
        for one in range(other):
            extra = load if one else first_load * (other < places - 1)
            new = time[one] + cycles[one, other] + extra
            if new < time[other]:
                time[other], before[other] = new, one
    if not math.isfinite(time[-1]):
        return None
    path: list[Span] = []
    at = places - 1
    while at:
        path.append((before[at], at))
        at = before[at]
    return path[::-1]
