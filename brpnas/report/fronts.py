"""Which of many networks the plots and tables of a front show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brpnas.search import on_front

__all__ = ["unbeaten"]


def unbeaten(costs: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of the networks that no other one beats, the cheapest first.

    Args:
        costs: lower is better, shape (n,); networks without a finite one are left out.
        values: higher is better, shape (n,); likewise.
    """
    known = np.flatnonzero(np.isfinite(costs) & np.isfinite(values))
    rows = known[on_front(costs[known], values[known])] if len(known) else known
    return rows[np.argsort(costs[rows])]  # no two of a front cost the same
