"""What it takes to pass words from one number of streams to another, between neighbours."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from brpnas.devices.fpga.foldings import RESOURCES
from brpnas.devices.fpga.layers import LAYERS
from brpnas.devices.fpga.logic import count_logic

__all__ = ["squeeze_costs", "squeeze_table"]


@lru_cache(maxsize=65536)
def squeeze_costs(streams_in: int, streams_out: int, width: int) -> tuple[float, ...]:
    """Return the resources of a squeeze, in the order of ``RESOURCES``; nothing for equal ones."""
    if streams_in == streams_out:
        return (0.0,) * len(RESOURCES)
    one = {"rows": 1, "cols": 1, "channels": math.lcm(streams_in, streams_out)}
    x = {**one, "coarse_in": streams_in, "coarse_out": streams_out, "data_width": width}
    costs = LAYERS["squeeze"].cost({name: np.array([float(n)]) for name, n in x.items()}, True)
    logic = count_logic(costs.modules, 1)
    return (0.0, float(costs.bram[0]), float(logic["LUT"][0]), float(logic["FF"][0]), 0.0)


@lru_cache(maxsize=16384)
def squeeze_table(
    ones: tuple[int, ...], others: tuple[int, ...], width: int
) -> NDArray[np.float64]:
    """Return the resources of squeezes from each number of streams to each, (from, to, 5).

    Args:
        ones: streams that enter.
        others: streams that leave.
        width: bits of a word.
    """
    return np.array([[squeeze_costs(one, other, width) for other in others] for one in ones])
