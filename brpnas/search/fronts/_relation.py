"""How much the damage of each layer weighs, learnt from which networks are better than others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

__all__ = ["layer_weights"]

Values = NDArray[np.float64]

_NOISE = 0.05
"""Of the logarithm of a damage: networks that differ by less are as good as each other."""
_SPREAD = 0.7
"""Standard deviation that the logarithm of a weight is expected to have."""


def layer_weights(damages: Values, objectives: Values) -> Values:
    """Return what to multiply damages by, so that their sums order networks as objectives do.

    The chance that one of two networks is better is taken to be the logistic function of the
    difference of the logarithms of their weighted sums (Bradley and Terry, "Rank analysis of
    incomplete block designs", Biometrika 1952): no unit of the objective is needed. Weights are
    the most likely ones if their logarithms are normally distributed about 0, so that they stay
    near 1 where little is known.

    Args:
        damages: of each layer of networks, shape (n, layers), 0 or more.
        objectives: the greater the better, shape (n,).

    Returns:
        Shape (layers,).
    """
    rows = damages.sum(1) > 0
    logs = np.log(np.maximum(damages[rows], 1e-30))
    values = objectives[rows]
    better, worse = np.nonzero(values[:, None] > values)
    if not len(better):
        return np.ones(damages.shape[1])
    pairs = 2 / len(values)  # so that a network counts about once, however many there are

    def loss(theta: Values) -> tuple[float, Values]:
        weighted = logs + theta
        total = logsumexp(weighted, axis=1)
        slope = np.exp(weighted - total[:, None])  # of the totals by theta
        margin = (total[worse] - total[better]) / _NOISE
        push = expit(-margin) * pairs / _NOISE
        each = np.bincount(better, push, len(total)) - np.bincount(worse, push, len(total))
        value = pairs * np.logaddexp(0, -margin).sum() + np.square(theta / _SPREAD).sum() / 2
        return float(value), np.asarray(each @ slope + theta / _SPREAD**2)

    found = minimize(loss, np.zeros(damages.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(np.exp(found.x))
