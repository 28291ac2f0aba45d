"""From what sums say to what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import IsotonicRegression

__all__ = ["Calibration"]

_STEP = 1e-9
"""By which a greater sum means more in any case: orders stay what they are."""


class Calibration:
    """A rising function from sums of costs to costs; without measurements they are the same.

    Isotonic regression (Barlow et al., 1972), linear between what was measured, in proportion
    beyond it.

    Args:
        sums: of networks, shape (n,), above 0.
        costs: of the same networks as they were measured, shape (n,).
        weights: how much each counts, shape (n,); by default all the same.
    """

    def __init__(
        self,
        sums: Sequence[float] = (),
        costs: Sequence[float] = (),
        weights: Sequence[float] | None = None,
    ) -> None:
        self._sums, self._costs = np.array([0.0, 1.0]), np.array([0.0, 1.0])
        if len(sums):
            fitted = IsotonicRegression().fit(sums, costs, weights)
            x, y = fitted.X_thresholds_, fitted.y_thresholds_
            self._sums = np.array([0.0, *x, 2 * x[-1]])
            self._costs = np.array([0.0, *y, 2 * y[-1]]) + _STEP * np.arange(len(self._sums))

    def costs(self, sums: ArrayLike) -> NDArray[np.float64]:
        """Return what sums mean, in their shape."""
        return self._mapped(np.asarray(sums), self._sums, self._costs)

    def sum_for(self, cost: float) -> float:
        """Return the sum that means this cost."""
        return float(self._mapped(np.array(cost), self._costs, self._sums))

    @staticmethod
    def _mapped(
        values: NDArray[np.float64], known: NDArray[np.float64], mapped: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        beyond = values > known[-1]
        inside = np.interp(values, known, mapped)
        return np.where(beyond, values * (mapped[-1] / known[-1]), inside)
