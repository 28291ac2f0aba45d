"""What is known of a metric by its name being that of a cost: it is positive, and empties show."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["COST_PREFIXES", "is_positive", "not_empty"]

COST_PREFIXES = ("latency_", "energy_")
"""How the names of what networks cost on a device start."""

_SIZES = re.compile(r"(params|macs|flops)(_[kmg](_.+)?)?|model_bytes")
_EMPTY = 0.02


def is_positive(metric: str) -> bool:
    """Tell whether all values of a metric are above zero, by its name.

    Latencies and energies are, and sizes: ``params``, ``macs``, ``flops`` (also in thousands,
    millions or billions: ``params_m``, and of what: ``params_m_cifar10``) and ``model_bytes``.
    """
    return metric.startswith(COST_PREFIXES) or _SIZES.fullmatch(metric) is not None


def not_empty(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which networks are no empty ones by what they cost, shape (n,).

    One that costs below 2% of the median has no path from input to output: its cost is the
    overhead of measuring. If the median is not positive, there are none to be known by it.

    Args:
        costs: of n networks in any unit, shape (n,). NaN where missing, which counts as empty.
    """
    present = ~np.isnan(costs)
    middle = np.median(costs[present]) if present.any() else 0.0
    return costs >= _EMPTY * middle if middle > 0 else present
